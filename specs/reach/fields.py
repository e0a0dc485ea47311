"""Every field of a case, and every property of its config, has a row in the table of reach, or a reason why not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from specs.case.loading import CONFIGS
from specs.case.model import Model
from specs.reach.attention import ATTENTION
from specs.reach.einsum import EINSUM
from specs.reach.feature import Feature
from specs.verdict.properties import PROPERTIES

FEATURES: Mapping[str, tuple[Feature, ...]] = {"attention": ATTENTION, "einsum": EINSUM}

WORDS = "it says something of the case"
VIEW = "it is a view of the table"
INPUTS = "it changes the numbers in operands"
OUTCOME = "it states the outcome"
SPELLING = "it is another way to write an equation, and computes the same"
# Names, as `names_of_fields` and `specs.verdict.properties` have them, without a row
REASONS: Mapping[str, str] = {
    "about": WORDS,
    "source": WORDS,
    "weak": WORDS,
    "dtypes": VIEW,
    "gradient": VIEW,
    "seed": INPUTS,
    "data": INPUTS,
    "query": INPUTS,
    "key": INPUTS,
    "value": INPUTS,
    "operands": INPUTS,
    "not_finite": INPUTS,
    "rotary.base": INPUTS,
    "mask.pattern=padding": INPUTS,
    "expect": OUTCOME,
    "fully_masked": OUTCOME,
    "masked_values": OUTCOME,
    "not_letters": SPELLING,
    "split_by_spaces": SPELLING,
    "two_ellipses_in_output": SPELLING,
    "two_ellipses_in_a_row": SPELLING,
    "ellipsis_of_output_alone": SPELLING,
    "ellipsis_shared_and_no_arrow": SPELLING,
    "probe": "the result is not compared",
    "modes": "it narrows what runs",
    "implementations": "it narrows what runs",
    "empty": "an empty result shows nothing of a feature",
    "one_head_and_item": "it is the absence of two features",
    "causal_and_scale_not_positive": "it is a pair of features",
    "diagonal_of_size_one": "it is a pair of features",
    "nothing_summed_in_pairs": "it is the absence of a feature",
}


def missing_rows() -> Iterator[str]:
    """A sentence for each field and property that has neither a row nor a reason."""
    for kind, config in CONFIGS.items():
        rows = _rows(FEATURES[kind])
        for name in names_of_fields(config):
            if not {name, name.partition("=")[0]} & (rows | REASONS.keys()):
                yield f"{kind}: the field {name} has no row: {_where_to_add(kind)}"
    rows = _rows(feature for features in FEATURES.values() for feature in features)
    for name in PROPERTIES:
        if name not in rows | REASONS.keys():
            yield f"the property {name} has no row: {_where_to_add('einsum')}"


def names_of_fields(model: type[Model], prefix: str = "") -> Iterator[str]:
    """The fields of a model: nested ones with their parent, `window.left`, choices with each value, `causal=top_left`.

    The value that a field has by default is no choice.
    """
    for field, info in model.model_fields.items():
        name = f"{prefix}{field}"
        types = _types_of(info)
        nested = [x for x in types if isinstance(x, type) and issubclass(x, Model) and field != "expect"]
        values = [value for x in types if get_origin(x) is Literal for value in get_args(x) if value != info.default]
        for part in nested:
            yield from names_of_fields(part, f"{name}.")
        yield from (f"{name}={value}" for value in values)
        if not nested and not values:
            yield name


def _types_of(info: FieldInfo) -> tuple[Any, ...]:
    """The types of which a value has one."""
    return get_args(info.annotation) if get_origin(info.annotation) is not Literal else (info.annotation,)


def _rows(features: Any) -> set[str]:
    return {name for feature in features for name in feature.fields}


def _where_to_add(kind: str) -> str:
    return f"add a Feature to specs/reach/{kind}.py that names it in `fields`, or a reason to specs/reach/fields.py"
