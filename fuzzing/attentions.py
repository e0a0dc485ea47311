"""Strategies of attention cases, made from the fields of `AttentionConfig` itself.

What a field can be is read off the model: the words of a Literal, true and false, the fields of a model within.
Numbers and text say too little of themselves, and have an entry in `VALUES`.  So a field of words that the model gains
is fuzzed without a change here; one of numbers is missed by a test until it has its line.

A case says few things at a time beyond its sizes, so that many of them go together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from hypothesis import reject
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from fuzzing.equations import sometimes
from specs.case.attention import AttentionConfig
from specs.case.common import Expect, Recipe

RARITY = 5  # a field is said by one case in so many
SIZES = ("batch", "q_len", "kv_len", "num_heads", "num_kv_heads", "head_dim", "value_dim")

# Not fuzzed, and why
LEFT_OUT = {
    "about": "says nothing of the computation",
    "source": "says nothing of the computation",
    "weak": "says nothing of the computation",
    "dtypes": "chosen from those of the session",
    "gradient": "the session chooses directions",
    "modes": "the session chooses modes",
    "implementations": "the session chooses implementations",
    "expect": "follows from the other fields",
    "probe": "its operands need sizes of their own",
    "unseen": "it needs a key that no query sees, which a case says by itself",
    "query": "literal values have recipes instead",
    "key": "literal values have recipes instead",
    "value": "literal values have recipes instead",
}

# What numbers and text can be, by field; functions of the sizes where it depends on them
VALUES: Mapping[str, Any] = {
    # nonfinite is left out: what a masked infinity does depends on how a mask is applied, and a case says so by itself
    "data": st.sampled_from([recipe for recipe in get_args(Recipe) if recipe != "nonfinite"]),
    "seed": st.integers(0, 2**16),
    "batch": st.sampled_from((1, 2, 3)),
    "q_len": st.integers(1, 9),
    "kv_len": st.integers(1, 9),
    "num_heads": st.sampled_from((1, 2, 3, 4, 6)),
    "num_kv_heads": lambda sizes: st.sampled_from([n for n in range(1, 7) if sizes["num_heads"] % n == 0]),
    "head_dim": st.sampled_from((1, 2, 3, 4, 5, 8, 16)),
    "value_dim": st.sampled_from((1, 2, 3, 4, 5, 8, 16)),
    "scale": st.sampled_from((1.0, 0.5, 0.3, 2.0, 0.0, -1.0)),
    "softcap": st.sampled_from((1.0, 5.0, 0.7, 50.0)),
    "kv_lengths": lambda sizes: st.lists(
        st.integers(0, sizes["kv_len"]), min_size=sizes["batch"], max_size=sizes["batch"]
    ),
    "past": lambda sizes: st.integers(0, sizes["kv_len"]),
    "rotary.dims": st.sampled_from((2, 4, 8)),
    "rotary.base": st.sampled_from((10.0, 10000.0)),
    "window.left": st.integers(0, 9),
    "window.right": st.integers(0, 9),
    "mask.shape": st.sampled_from(("qk", "k", "1k", "q1", "1qk", "hqk", "b1qk", "bhqk", "b11k", "11qk", "1hqk")),
    "mask.fill": st.sampled_from((0.0, -1.0, -1e4, -1e9, float("-inf"), "lowest")),
    "projections.input_dim": st.sampled_from((1, 2, 3, 8)),
}


def fuzzed() -> set[str]:
    """Fields that an example can state."""
    return set(AttentionConfig.model_fields) - set(LEFT_OUT)


@st.composite
def configs(draw: st.DrawFn, dtypes: Sequence[str]) -> AttentionConfig:
    """An attention case of one of the floating dtypes; about one in twenty is to be refused."""
    sizes = draw(_sizes())
    optional = [name for name in AttentionConfig.model_fields if name in fuzzed() - {*SIZES, "seed"}]
    said = {}
    for name in optional:
        if sometimes(draw, RARITY):
            said[name] = draw(values(AttentionConfig.model_fields[name].annotation, name, sizes))
    said |= {"seed": draw(VALUES["seed"]), "dtypes": [draw(st.sampled_from(dtypes))]}
    settled = _settled(sizes, said)
    heads = settled.get("num_heads", 1)
    if heads % settled.get("num_kv_heads", heads):
        settled["expect"] = Expect(error="head_mismatch")
    try:
        config = AttentionConfig(**settled)
    except ValidationError:
        reject()  # fields that do not go together
    unsaid = {name for name in optional if getattr(config, name) == _default(name)}
    return AttentionConfig(**config.model_dump(exclude_unset=True, exclude=unsaid))


@st.composite
def _sizes(draw: st.DrawFn) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for name in SIZES:
        strategy = VALUES[name](sizes) if callable(VALUES[name]) else VALUES[name]
        sizes[name] = draw(strategy)
    if not sometimes(draw, 3):  # most often they are equal, and not said
        sizes["value_dim"] = sizes["head_dim"]
    if not sometimes(draw, 2):
        sizes["kv_len"] = sizes["q_len"]
    if sometimes(draw, 20):
        sizes["num_kv_heads"] = sizes["num_heads"] + 1
    if sometimes(draw, 30):
        sizes[draw(st.sampled_from(("kv_len", "q_len", "batch")))] = 0
    return sizes


def values(annotation: Any, path: str, sizes: Mapping[str, int]) -> st.SearchStrategy[Any]:
    """Values of a field of this type; of an optional one, values that are not None.  LookupError for an unknown one."""
    if path in VALUES:
        known = VALUES[path]
        return known(sizes) if callable(known) else known
    (annotation,) = _choices(annotation) or (None,)
    if get_origin(annotation) is Literal:
        return st.sampled_from(get_args(annotation))
    if annotation is bool:
        return st.booleans()
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _model(annotation, path, sizes)
    raise LookupError(f"{path} is not fuzzed: say in fuzzing.attentions.VALUES what it can be")


@st.composite
def _model(draw: st.DrawFn, model: type[BaseModel], path: str, sizes: Mapping[str, int]) -> BaseModel:
    said = {}
    for name, field in model.model_fields.items():
        if field.is_required() or draw(st.booleans()):
            said[name] = draw(values(field.annotation, f"{path}.{name}", sizes))
    try:
        return model(**said)
    except ValidationError:
        reject()


def _choices(annotation: Any) -> list[Any]:
    """The members of a union, or the one type, without None and what only annotates."""
    if get_origin(annotation) in (Union, UnionType):
        return [each for member in get_args(annotation) for each in _choices(member)]
    if get_origin(annotation) is Annotated:
        return _choices(get_args(annotation)[0])
    return [] if annotation is NoneType else [annotation]


def _default(name: str) -> Any:
    return AttentionConfig.model_fields[name].get_default()


def _settled(sizes: dict[str, int], said: dict[str, Any]) -> dict[str, Any]:
    """Fields changed so that more of them go together than the model would take; sizes that are defaults left out."""
    sizes, said = dict(sizes), dict(said)
    projections = said.get("projections")
    if said.get("self_attention"):
        sizes["kv_len"] = sizes["q_len"] + said.get("past", 0)
    if said.get("data") == "cancelling" and (said.get("self_attention") or sizes["kv_len"] - said.get("past", 0) < 2):
        del said["data"]  # it pairs keys off
    if said.get("layout") == "ds":
        sizes |= {"batch": 1, "num_heads": 1, "num_kv_heads": 1}
    elif projections and (projections.kind == "linear" or projections.output):
        said["layout"] = "bsd"
    if "kv_lengths" in said:
        said["kv_lengths"] = [min(length, sizes["kv_len"]) for length in said["kv_lengths"][: sizes["batch"]]]
    if said.get("scale_at") == "weights":
        said.setdefault("scale", 0.5)
    usual = {
        "batch": 1,
        "num_heads": 1,
        "kv_len": sizes["q_len"],
        "num_kv_heads": sizes["num_heads"],
        "value_dim": sizes["head_dim"],
    }
    return {name: size for name, size in sizes.items() if usual.get(name) != size} | said
