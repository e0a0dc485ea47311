"""Whether the outcome of a check is the observation that a deviation records."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specs.arithmetic.double_double import to_float64
from specs.arithmetic.formats import BFLOAT16, DTYPES, FLOAT16, Array, cast, round_to
from specs.arithmetic.precision import Precision, declared_precision
from specs.case.attention import AttentionConfig
from specs.case.case import Case, Config
from specs.case.einsum import EinsumConfig
from specs.inputs import inputs
from specs.reference.attention import attention
from specs.reference.reference import Reference
from specs.verdict.check import Check
from specs.verdict.deviation import Observation
from specs.verdict.direction import DIRECTIONS
from specs.verdict.observation import is_observed


def check(config: Config | None = None, **fields: str) -> Check:
    config = config or EinsumConfig(equation="ij,jk->ik", shapes=[[4, 300], [300, 4]])
    case = Case(id="folder/file::name/1", name="name/1", file=Path("file.yaml"), line=1, config=config)
    defaults = {"backend": "b", "device": "cuda:0", "implementation": "einsum-optimized", "mode": "jit"}
    return Check(case, **(defaults | {"dtype": "float32"} | fields))  # type: ignore[arg-type]


def has_observation(fields: dict[str, Any], outcome: Array | Exception, c: Check, valid: bool = True) -> bool:
    """Whether `shows` accepts these fields, with a real reference, as in a verdict."""
    operands = inputs.operands(c.case, c.dtype)

    def evaluate(precision: Precision | None = None, config: Config | None = None, dtype: str = c.dtype) -> Reference:
        case = c.case if config is None else Case("again", "again", c.case.file, 1, config)
        inexact = DTYPES[dtype].inexact
        precision = precision or (declared_precision(DTYPES[dtype]) if inexact else None)
        return DIRECTIONS["forward"].reference(case, dtype, operands, precision)

    return is_observed(Observation.model_validate(fields), c, outcome, evaluate() if valid else None, evaluate)


def right_result(c: Check) -> Array:
    a, b = (x.astype(np.float64) for x in inputs.operands(c.case, c.dtype).values())
    return cast(a @ b, DTYPES[c.dtype])


ERROR = ValueError("shape mismatch: 3 != 4")


@pytest.mark.parametrize("text", [True, "ValueError", "mismatch: 3 != 4", "ValueError: shape"], ids=str)
def test_an_error_is_any_error_or_one_that_contains_the_text(text: Any) -> None:
    assert has_observation({"error": text}, ERROR, check())


def test_another_error_or_a_result_is_not_the_recorded_error() -> None:
    assert not has_observation({"error": "TypeError"}, ERROR, check())
    assert not has_observation({"error": True}, right_result(check()), check())


def test_refusing_what_must_be_refused_is_no_deviation() -> None:
    assert not has_observation({"error": True}, ERROR, check(), valid=False)


def test_accepting_is_any_result_where_a_refusal_was_due() -> None:
    assert has_observation({"accepts": True}, np.zeros(3), check(), valid=False)
    assert not has_observation({"accepts": True}, ERROR, check(), valid=False)
    assert not has_observation({"accepts": True}, right_result(check()), check())


def test_a_dtype_is_that_of_the_result_and_not_the_cases_own() -> None:
    wide = check(dtype="float64")
    assert has_observation({"dtype": "float32"}, right_result(wide).astype(np.float32), wide)
    assert not has_observation({"dtype": "float32"}, right_result(wide).astype(np.float16), wide)
    assert not has_observation({"dtype": "float64"}, right_result(wide), wide)


def test_a_result_of_another_dtype_must_be_right_for_that() -> None:
    wide = check(dtype="float64")
    assert not has_observation({"dtype": "float32"}, right_result(wide).astype(np.float32) * np.float32(1.001), wide)
    assert not has_observation(
        {"dtype": "float64"}, right_result(check()).astype(np.float64), check()
    )  # of float32 accuracy
    bytes_ = check(dtype="int8")
    a, b = (x.astype(np.int64) for x in inputs.operands(bytes_.case, "int8").values())
    assert has_observation({"dtype": "int32"}, (a @ b).astype(np.int32), bytes_)
    assert not has_observation(
        {"dtype": "int32"}, right_result(bytes_).astype(np.int32), bytes_
    )  # summed in int8: wrapped around
    assert not has_observation({"dtype": "int64"}, np.zeros((4, 4), np.int64), bytes_)


@pytest.mark.parametrize(("value", "number"), [("nan", np.nan), ("zeros", 0.0)])
def test_a_value_is_observed_where_all_wrong_elements_have_it(value: str, number: float) -> None:
    result = right_result(check())
    assert not has_observation({"value": value}, result, check())
    result[1, 2] = number
    result[3] = number
    assert has_observation({"value": value}, result, check())
    result[0, 0] += 1
    assert not has_observation({"value": value}, result, check())
    assert not has_observation({"value": value}, result[1:], check())


def test_signs_of_zeros_are_observed_where_nothing_else_differs() -> None:
    copied = check(EinsumConfig(equation="ij->ji", operands=[[[0.0, -0.0], [1, 2]]]))
    transposed = np.array([[0, 1], [-0.0, 2]], np.float32)
    assert not has_observation({"value": "zero_signs"}, transposed, copied)
    assert has_observation({"value": "zero_signs"}, np.abs(transposed), copied)
    assert not has_observation({"value": "zero_signs"}, np.abs(transposed) + 1, copied)
    assert not has_observation({"value": "zero_signs"}, np.array([[0, 1], [0, 3]], np.float32), copied)


@pytest.mark.parametrize("fields", [{"error": True}, {"fully_masked": "mean"}, {"causal": "none"}], ids=str)
def test_a_wrong_einsum_is_neither_an_error_nor_another_reading_of_attention(fields: dict[str, Any]) -> None:
    assert not has_observation(fields, right_result(check()) + 1, check())


def narrow_accumulator(c: Check) -> Array:
    a, b = (x.astype(np.float64) for x in inputs.operands(c.case, c.dtype).values())
    total = np.zeros((4, 4))
    for i in range(a.shape[1]):
        total = round_to(total + round_to(a[:, i, None] * b[i], FLOAT16), FLOAT16)
    return cast(total, DTYPES[c.dtype])


def test_a_precision_is_one_under_which_the_result_is_right() -> None:
    result = narrow_accumulator(check())
    assert has_observation({"precision": {"accumulate": "float16"}}, result, check())
    assert not has_observation({"precision": {"multiply": "tf32"}}, result, check())
    result[0, 0] += 100
    assert not has_observation({"precision": {"accumulate": "float16"}}, result, check())
    assert not has_observation({"precision": {"accumulate": "float16"}}, np.full_like(result, np.nan), check())


def compute_attention(config: AttentionConfig, c: Check) -> Array:
    output = attention(config, inputs.operands(c.case, c.dtype), DTYPES[c.dtype]).output
    return cast(to_float64(output), DTYPES[c.dtype])


BASE = {"q_len": 4, "kv_len": 6, "head_dim": 8}
CHOICES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "fully_masked": ({"mask": {"type": "bool", "pattern": "masked_row"}}, ["zeros", "mean", "unmasked", "nan"]),
    "causal": ({}, ["none", "top_left", "bottom_right"]),
}


@pytest.mark.parametrize(
    ("field", "case", "actual", "reading"),
    [
        (field, *readings)
        for field, (_, choices) in CHOICES.items()
        for readings in itertools.product(choices, repeat=3)
        if readings[0] != "unmasked"  # which no case can expect
    ],
)
def test_another_reading_of_the_case_is_observed_if_the_result_is_right_for_it(
    field: str, case: str, actual: str, reading: str
) -> None:
    config = AttentionConfig.model_validate(BASE | CHOICES[field][0] | {field: case})
    c = check(config)
    result = compute_attention(config.model_copy(update={field: actual}), c)
    assert has_observation({field: reading}, result, c) is (actual == reading)


def test_floats_are_not_computed_in_another_format_as_integers_are() -> None:
    c = check(AttentionConfig.model_validate(BASE))
    assert not has_observation({"computed_in": "float32"}, compute_attention(c.case.config, c) * 2, c)


def test_masked_values_that_spread_are_observed_where_they_are_garbage() -> None:
    config = AttentionConfig.model_validate(BASE | {"kv_lengths": [4], "unseen": "nan"})
    c = check(config)
    spread = compute_attention(config.model_copy(update={"masked_values": "spread"}), c)
    assert np.isnan(spread).all()
    assert has_observation({"masked_values": "spread"}, spread, c)
    assert not has_observation({"masked_values": "spread"}, compute_attention(config, c), c)


def test_readings_and_precisions_can_be_observed_together() -> None:
    config = AttentionConfig.model_validate(BASE | {"causal": "none"})
    c = check(config)
    rounded_scale = float(round_to(config.score_scale, BFLOAT16))
    other = config.model_copy(update={"causal": "top_left", "scale": rounded_scale})
    assert has_observation({"causal": "top_left", "scale_rounded_to": "bfloat16"}, compute_attention(other, c), c)
    assert not has_observation({"causal": "top_left"}, compute_attention(other, c), c)
    assert not has_observation({"scale_rounded_to": "bfloat16"}, compute_attention(other, c), c)
    assert has_observation(
        {"causal": "top_left", "precision": {"multiply": "bfloat16"}}, compute_attention(other, c), c
    )


def test_attention_of_another_dtype_must_be_right_for_that_and_for_the_reading() -> None:
    config = AttentionConfig.model_validate(BASE | CHOICES["fully_masked"][0])
    wide = check(config, dtype="float64")
    zeros, mean = (
        compute_attention(config.model_copy(update={"fully_masked": row}), wide) for row in ("zeros", "mean")
    )
    fields = {"dtype": "float32", "fully_masked": "mean"}
    assert has_observation(fields, mean.astype(np.float32), wide)
    assert not has_observation(fields, mean.astype(np.float32) * np.float32(1.001), wide)
    assert not has_observation(fields, zeros.astype(np.float32), wide)
    assert not has_observation(fields, mean, wide)


OBSERVATIONS: list[dict[str, Any]] = [{"value": "nan"}, {"precision": {"multiply": "tf32"}}]


@pytest.mark.parametrize("fields", OBSERVATIONS, ids=str)
@pytest.mark.parametrize("change", [lambda r: r[:2], lambda r: r.astype(np.float64)], ids=["shape", "dtype"])
def test_a_result_of_another_shape_or_dtype_is_no_other_observation(
    fields: dict, change: Callable[[Array], Array]
) -> None:
    assert not has_observation(fields, change(np.full((4, 4), np.nan, np.float32)), check())
