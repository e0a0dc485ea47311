"""Strategies for attention cases, derived from the fields of `AttentionConfig`.

The values of a field follow from the model: its examples, the members of a Literal, booleans, the fields of a nested
model.  Only values that depend on the sizes need an entry in `VALUES`.  So a new field is usually fuzzed without a
change here; a test fails for one that is not.

Beyond its sizes a case states few fields at a time, because many of them would often contradict each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from hypothesis import reject
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from fuzzing.equations import one_in
from specs.case.attention import AttentionConfig
from specs.case.common import Expect, Recipe

RARITY = 5  # one case in RARITY states a given field
SIZES = ("batch", "q_len", "kv_len", "num_heads", "num_kv_heads", "head_dim", "value_dim")

# Fields that are not fuzzed, and why
EXCLUDED = {
    "about": "does not affect the computation",
    "source": "does not affect the computation",
    "weak": "does not affect the computation",
    "dtypes": "chosen from those of the session",
    "gradient": "the session chooses directions",
    "modes": "the session chooses modes",
    "implementations": "the session chooses implementations",
    "expect": "follows from the other fields",
    "probe": "its operands need sizes of their own",
    "unseen": "it needs a key that no query sees",
    "query": "literal values have recipes instead",
    "key": "literal values have recipes instead",
    "value": "literal values have recipes instead",
}

# Strategies by field, where its examples do not suffice; functions of the sizes where the values depend on them
VALUES: Mapping[str, Any] = {
    # nonfinite is left out: the effect of a masked infinity depends on how a mask is applied
    "data": st.sampled_from([recipe for recipe in get_args(Recipe) if recipe != "nonfinite"]),
    "seed": st.integers(0, 2**16),
    "batch": st.sampled_from((1, 2, 3)),
    "q_len": st.integers(1, 9),
    "kv_len": st.integers(1, 9),
    "num_heads": st.sampled_from((1, 2, 3, 4, 6)),
    "num_kv_heads": lambda sizes: st.sampled_from([n for n in range(1, 7) if sizes["num_heads"] % n == 0]),
    "head_dim": st.sampled_from((1, 2, 3, 4, 5, 8, 16)),
    "value_dim": st.sampled_from((1, 2, 3, 4, 5, 8, 16)),
    "kv_lengths": lambda sizes: st.lists(
        st.integers(0, sizes["kv_len"]), min_size=sizes["batch"], max_size=sizes["batch"]
    ),
    "past": lambda sizes: st.integers(0, sizes["kv_len"]),
    "window.left": st.integers(0, 9),
    "window.right": st.integers(0, 9),
    "mask.fill": st.sampled_from((0.0, -1.0, -1e4, -1e9, float("-inf"), "lowest")),
}


def fuzzed_fields() -> set[str]:
    """Fields that an example can state."""
    return set(AttentionConfig.model_fields) - set(EXCLUDED)


@st.composite
def configs(draw: st.DrawFn, dtypes: Sequence[str]) -> AttentionConfig:
    """An attention case of one of the floating-point dtypes; about one in twenty must be refused."""
    sizes = draw(_sizes())
    optional = [name for name in AttentionConfig.model_fields if name in fuzzed_fields() - {*SIZES, "seed"}]
    fields = {}
    for name in optional:
        if one_in(draw, RARITY):
            fields[name] = draw(strategy_for(AttentionConfig.model_fields[name], name, sizes))
    fields |= {"seed": draw(VALUES["seed"]), "dtypes": [draw(st.sampled_from(dtypes))]}
    fields = _make_compatible(sizes, fields)
    heads = fields.get("num_heads", 1)
    if heads % fields.get("num_kv_heads", heads):
        fields["expect"] = Expect(error="head_mismatch")
    try:
        config = AttentionConfig(**fields)
    except ValidationError:
        reject()  # fields that contradict each other
    defaults = {name for name in optional if getattr(config, name) == _default(name)}
    return AttentionConfig(**config.model_dump(exclude_unset=True, exclude=defaults))


@st.composite
def _sizes(draw: st.DrawFn) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for name in SIZES:
        strategy = VALUES[name](sizes) if callable(VALUES[name]) else VALUES[name]
        sizes[name] = draw(strategy)
    if not one_in(draw, 3):  # usually they are equal, and not stated
        sizes["value_dim"] = sizes["head_dim"]
    if not one_in(draw, 2):
        sizes["kv_len"] = sizes["q_len"]
    if one_in(draw, 20):
        sizes["num_kv_heads"] = sizes["num_heads"] + 1
    if one_in(draw, 30):
        sizes[draw(st.sampled_from(("kv_len", "q_len", "batch")))] = 0
    return sizes


def strategy_for(field: FieldInfo, path: str, sizes: Mapping[str, int]) -> st.SearchStrategy[Any]:
    """Values of a field, other than None; raises LookupError where neither its type nor its examples suggest any."""
    if path in VALUES:
        strategy = VALUES[path]
        return strategy(sizes) if callable(strategy) else strategy
    if field.examples:
        return st.sampled_from(field.examples)
    (annotation,) = _union_members(field.annotation) or (None,)
    if get_origin(annotation) is Literal:
        return st.sampled_from(get_args(annotation))
    if annotation is bool:
        return st.booleans()
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _model(annotation, path, sizes)
    raise LookupError(f"{path} is not fuzzed: give it examples, or a strategy in fuzzing.attentions.VALUES")


@st.composite
def _model(draw: st.DrawFn, model: type[BaseModel], path: str, sizes: Mapping[str, int]) -> BaseModel:
    fields = {}
    for name, field in model.model_fields.items():
        if field.is_required() or draw(st.booleans()):
            fields[name] = draw(strategy_for(field, f"{path}.{name}", sizes))
    try:
        return model(**fields)
    except ValidationError:
        reject()


def _union_members(annotation: Any) -> list[Any]:
    """The members of a union, or the one type, without None and without the metadata of Annotated."""
    if get_origin(annotation) in (Union, UnionType):
        return [inner for member in get_args(annotation) for inner in _union_members(member)]
    if get_origin(annotation) is Annotated:
        return _union_members(get_args(annotation)[0])
    return [] if annotation is NoneType else [annotation]


def _default(name: str) -> Any:
    return AttentionConfig.model_fields[name].get_default()


def _make_compatible(sizes: dict[str, int], fields: dict[str, Any]) -> dict[str, Any]:
    """Change fields so that fewer configs are rejected by the model, and join the sizes that are not defaults."""
    sizes, fields = dict(sizes), dict(fields)
    projections = fields.get("projections")
    if fields.get("self_attention"):
        sizes["kv_len"] = sizes["q_len"] + fields.get("past", 0)
    new_keys = sizes["kv_len"] - fields.get("past", 0)
    if fields.get("data") == "cancelling" and (fields.get("self_attention") or new_keys < 2):
        del fields["data"]  # this recipe needs pairs of keys
    if fields.get("layout") == "ds":
        sizes |= {"batch": 1, "num_heads": 1, "num_kv_heads": 1}
    elif projections and (projections.kind == "linear" or projections.output):
        fields["layout"] = "bsd"
    if "kv_lengths" in fields:
        fields["kv_lengths"] = [min(length, sizes["kv_len"]) for length in fields["kv_lengths"][: sizes["batch"]]]
    if fields.get("scale_at") == "weights":
        fields.setdefault("scale", 0.5)
    defaults = {
        "batch": 1,
        "num_heads": 1,
        "kv_len": sizes["q_len"],
        "num_kv_heads": sizes["num_heads"],
        "value_dim": sizes["head_dim"],
    }
    return {name: size for name, size in sizes.items() if defaults.get(name) != size} | fields
