"""Generated cases are what they claim to be: valid equations bind, invalid ones have the error that they state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from pydantic.fields import FieldInfo

from fuzzing import attentions, equations, search
from fuzzing.examples import make_example
from fuzzing.writing import make_case
from specs.arithmetic.formats import DTYPES
from specs.case.attention import AttentionConfig
from specs.case.einsum import EinsumConfig
from specs.case.equation import ELLIPSIS, bind, parse
from specs.case.semantics import find_contradiction
from specs.inputs import inputs

EXAMPLES = 1000  # einsum and attention alternately
ALL_DTYPES = search.weighted_dtypes([])


@cache
def examples() -> list[EinsumConfig | AttentionConfig]:
    return [make_example(11, index, ALL_DTYPES) for index in range(EXAMPLES)]


def einsum_examples() -> list[EinsumConfig]:
    return [config for config in examples() if isinstance(config, EinsumConfig)]


def attention_examples() -> list[AttentionConfig]:
    return [config for config in examples() if isinstance(config, AttentionConfig)]


def test_no_example_contradicts_itself() -> None:
    assert [problem for config in examples() if (problem := find_contradiction(make_case(config, Path("x"))))] == []


def test_inputs_can_be_made_for_every_example() -> None:
    for config in examples():
        if not config.expected_error:
            assert inputs.operands(make_case(config, Path("x")), config.dtypes[0])


def test_examples_differ() -> None:
    assert len({make_case(config, Path("x")).name for config in examples()}) > 0.9 * EXAMPLES


def test_attention_has_floating_dtypes_only() -> None:
    assert {DTYPES[config.dtypes[0]].kind for config in attention_examples()} == {"float"}


def _axes(config: EinsumConfig) -> list[int]:
    return [size for shape in config.shapes or [] for size in shape]


def _terms(config: EinsumConfig) -> tuple[tuple[str, ...], ...]:
    return parse(config.equation)[0]


def _labels(config: EinsumConfig) -> set[str]:
    return {label for term in _terms(config) for label in term} - {ELLIPSIS}


def _broadcasts(config: EinsumConfig) -> bool:
    bound = bind(config.equation, [tuple(shape) for shape in config.shapes or []])
    pairs = zip(bound.operands, config.shapes or [], strict=True)
    return any(
        size == 1 and bound.sizes[label] > 1 for term, shape in pairs for label, size in zip(term, shape, strict=True)
    )


FEATURES: dict[str, Callable[[EinsumConfig], bool]] = {
    "one operand": lambda c: len(_terms(c)) == 1,
    "eight operands": lambda c: len(_terms(c)) == 8,
    "a scalar": lambda c: () in _terms(c),
    "a repeated label": lambda c: any(len(set(term)) < len(term) for term in _terms(c)),
    "an ellipsis": lambda c: any(ELLIPSIS in term for term in _terms(c)),
    "an ellipsis left out": lambda c: (
        any(ELLIPSIS in term for term in _terms(c)) and ELLIPSIS not in (parse(c.equation)[1] or (ELLIPSIS,))
    ),
    "an implicit output": lambda c: "->" not in c.equation,
    "an explicit output": lambda c: "->" in c.equation,
    "spaces": lambda c: " " in c.equation,
    "size zero": lambda c: 0 in _axes(c),
    "a long axis": lambda c: max(_axes(c), default=0) > 16,
    "a size of 1 that broadcasts": _broadcasts,
    "more than 26 labels": lambda c: len(_labels(c)) > 26,
    "capitals": lambda c: any(label.isupper() for label in _labels(c)),
}


@pytest.mark.parametrize("feature", FEATURES)
def test_five_hundred_equations_have_every_feature(feature: str) -> None:
    assert any(FEATURES[feature](config) for config in einsum_examples() if not config.expected_error)


def test_every_defect_and_recipe_and_dtype_is_drawn() -> None:
    assert {config.expected_error for config in einsum_examples()} == {None, *equations.DEFECTS}
    assert {config.data for config in einsum_examples()} == set(equations.RECIPES)
    assert {config.dtypes[0] for config in einsum_examples()} == set(DTYPES)
    refused = Counter(bool(config.expected_error) for config in examples())
    assert 0.03 < refused[True] / EXAMPLES < 0.2


def test_every_field_of_attention_is_fuzzed_or_left_out_for_a_reason() -> None:
    counts = Counter(name for config in attention_examples() for name in config.model_fields_set)
    for name in AttentionConfig.model_fields:
        assert counts[name] or name in attentions.EXCLUDED, f"field {name} of AttentionConfig is not fuzzed"
    assert set(AttentionConfig.model_fields) >= set(attentions.EXCLUDED)


DESIGNED = {"nonfinite", "ramp", "equal", "pairs"}  # the first is left out, the others are run for every example


def test_every_literal_of_every_field_of_attention_is_drawn() -> None:
    for name, field in AttentionConfig.model_fields.items():
        members = attentions._union_members(field.annotation)
        literals = {literal for member in members for literal in getattr(member, "__args__", ())}
        if name in attentions.fuzzed_fields() and all(isinstance(literal, str) for literal in literals):
            assert {getattr(config, name) for config in attention_examples()} >= literals - DESIGNED, name


def test_a_field_without_a_strategy_raises() -> None:
    with pytest.raises(LookupError, match=r"window\.size is not fuzzed"):
        attentions.strategy_for(FieldInfo(annotation=int | None), "window.size", {})


def test_only_the_requested_dtypes_are_drawn() -> None:
    assert set(search.weighted_dtypes(["int8", "float16"])) == {"int8", "float16"}
    assert set(search.weighted_dtypes([])) == set(DTYPES)
    assert isinstance(make_example(0, 1, ("int8",)), EinsumConfig)  # attention has no integers
