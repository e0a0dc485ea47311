"""One result against its reference: what counts as right, and the report of what does not."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from specs.arithmetic.double_double import DoubleDouble
from specs.arithmetic.formats import DTYPES, Array, cast, round_to
from specs.arithmetic.precision import declared_precision
from specs.bound import einsum
from specs.case.einsum import EinsumConfig
from specs.reference.reference import Reference
from specs.verdict.comparison import Comparison, compare, digest

FLOATS = ["float64", "float32", "float16", "bfloat16"]
floats = pytest.mark.parametrize("dtype", FLOATS)


def reference(value: Any, error: Any = 0.0, dtype: str = "float32", **formats: Any) -> Reference:
    dtype_info = DTYPES[dtype]
    if not isinstance(value, DoubleDouble):
        value = np.asarray(value, np.float64)
    return Reference(
        dtype_info, value, np.broadcast_to(np.float64(error), value.shape), declared_precision(dtype_info, **formats)
    )


def compare_numbers(result: Any, value: Any, error: Any = 0.0, dtype: str = "float32", **formats: Any) -> Comparison:
    return compare(cast(np.asarray(result, np.float64), DTYPES[dtype]), reference(value, error, dtype, **formats))


def ulp(dtype: str) -> float:
    """Distance from 1 to the next number."""
    return 2 * DTYPES[dtype].format.unit_roundoff


# What must agree before values are looked at ------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (3,), (1, 2), (2, 1), (0,)], ids=str)
def test_another_shape_is_wrong(shape: tuple[int, ...]) -> None:
    comparison = compare(np.zeros(shape, np.float32), reference([0.0, 0.0]))
    assert comparison.problem == f"shape is {shape}, expected (2,)"
    assert comparison.measurement.error_ratio is None
    assert comparison.measurement.output_shape == shape


@pytest.mark.parametrize("other", ["float64", "float16", "bfloat16", "complex64", "int32", "bool"])
def test_another_dtype_is_wrong_though_the_values_are_right(other: str) -> None:
    comparison = compare(np.zeros(2, DTYPES[other].numpy), reference([0.0, 0.0]))
    assert comparison.problem == f"dtype is {other}, expected float32"
    assert comparison.measurement.output_dtype == other


@pytest.mark.parametrize(
    ("got", "expected", "problem"),
    [
        (np.nan, np.nan, ""),
        (np.inf, np.inf, ""),
        (-np.inf, -np.inf, ""),
        (np.nan, 1.0, "1 of 2 values are NaN on one side only"),
        (1.0, np.nan, "1 of 2 values are NaN on one side only"),
        (np.nan, np.inf, "1 of 2 values are NaN on one side only"),
        (np.inf, 1.0, "1 of 2 values are infinite on one side only"),
        (1.0, -np.inf, "1 of 2 values are infinite on one side only"),
        (-np.inf, np.inf, "1 of 2 values are outside the error bound"),
        (0.0, 1.0, "1 of 2 values are outside the error bound"),
    ],
)
@floats
def test_nan_and_infinities_must_be_where_they_are_expected(
    got: float, expected: float, problem: str, dtype: str
) -> None:
    comparison = compare_numbers([got, 2.0], [expected, 2.0], 0.1, dtype)
    assert comparison.problem == problem
    assert (comparison.measurement.error_ratio <= 1) == (problem == "")


@floats
def test_an_infinite_bound_allows_anything_there_and_nothing_elsewhere(dtype: str) -> None:
    assert compare_numbers([np.inf, 1.0], [5.0, 1.0], [np.inf, 0.0], dtype).problem == ""
    assert compare_numbers([np.nan, 1.0], [5.0, 1.0], [np.inf, 0.0], dtype).problem == ""
    assert compare_numbers([5.0, 2.0], [5.0, 1.0], [np.inf, 0.0], dtype).problem


# Values -------------------------------------------------------------------------------------------------------------


@floats
@pytest.mark.parametrize("error", [0.0, 1e-30, 1e-3])
def test_a_correctly_rounded_result_has_ratio_zero(dtype: str, error: float) -> None:
    numbers = np.random.default_rng(0).standard_normal(200) * 2.0 ** np.arange(-13, 7).repeat(10)
    lower = 0 if dtype != "float64" else np.spacing(numbers) / 4
    value = DoubleDouble(numbers, lower) if dtype == "float64" else numbers
    comparison = compare_numbers(numbers, value, error, dtype)
    assert comparison.problem == ""
    assert comparison.measurement.error_ratio == 0.0


@floats
@pytest.mark.parametrize("value", [1.0, -1.0, 1.5, 2.0, 0.75, -4.0])
@pytest.mark.parametrize("step", [1, -1])
def test_one_ulp_off_is_refused_with_a_bound_of_zero_and_accepted_with_one_that_explains_it(
    dtype: str, value: float, step: int
) -> None:
    format = DTYPES[dtype].format
    away = np.nextafter(value, np.inf * step)
    off = float(round_to(away, format, "up" if step > 0 else "down"))
    gap = abs(off - value)
    assert compare_numbers([off], [value], 0.0, dtype).measurement.error_ratio == np.inf
    assert compare_numbers([off], [value], 0.49 * gap, dtype).problem
    assert compare_numbers([off], [value], 0.51 * gap, dtype).problem == ""
    assert compare_numbers([off], [value], 0.25 * gap, dtype).measurement.error_ratio == pytest.approx(2.0)


@floats
def test_the_ratio_is_the_smallest_error_that_explains_the_result_over_the_bound(dtype: str) -> None:
    one = ulp(dtype)
    comparison = compare_numbers([1 + 3 * one], [1.0], 10 * one, dtype)
    assert comparison.measurement.error_ratio == pytest.approx(0.25)  # from 1 to the middle below the result: 2.5 ulps
    assert comparison.measurement.max_ulp == pytest.approx(3.0)
    assert comparison.measurement.max_abs == pytest.approx(3 * one)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("sign", [1, -1])
def test_below_a_power_of_two_half_a_gap_is_a_quarter_of_an_ulp(dtype: str, sign: int) -> None:
    one = ulp(dtype)
    value = sign * (1 - 0.4 * one)  # nearest is 1 - one / 2; 1 is explained from 1 - one / 4 on
    assert compare_numbers([sign], [value], 0.14 * one, dtype).problem
    assert compare_numbers([sign], [value], 0.16 * one, dtype).problem == ""


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_tie_must_round_to_the_even_neighbour(dtype: str) -> None:
    one = ulp(dtype)
    for even, odd in [(1.0, 1 + one), (1 + 2 * one, 1 + one), (-1.0, -1 - one)]:
        tie = (even + odd) / 2
        assert compare_numbers([even], [tie], 0.0, dtype).problem == ""
        assert compare_numbers([odd], [tie], 0.0, dtype).problem
        assert compare_numbers([odd], [tie], 1e-30, dtype).problem == ""


@pytest.mark.parametrize("value", [1e-9, 2.0**-30, -1e-5, 1e-30])
def test_zero_is_no_substitute_for_a_small_number(value: float) -> None:
    assert compare_numbers([0.0], [value], 0.0).problem
    assert compare_numbers([0.0], [value], abs(value) / 100).problem
    assert compare_numbers([0.0], [value], abs(value) * 1.01).problem == ""
    assert compare_numbers([value], [0.0], abs(value) / 100).problem


def test_a_subnormal_result_is_held_to_its_own_spacing() -> None:
    smallest = DTYPES["float32"].format.smallest
    assert compare_numbers([smallest], [smallest * 1.4]).problem == ""
    assert compare_numbers([2 * smallest], [smallest * 1.4]).problem
    assert compare_numbers([0.0], [smallest * 0.4]).problem == ""
    assert compare_numbers([0.0], [smallest * 0.6]).problem
    assert compare_numbers([0.0], [smallest * 1000], flushes=True).problem == ""


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("sign", [1, -1])
def test_overflow_to_infinity_is_right_exactly_where_the_value_rounds_to_it(dtype: str, sign: int) -> None:
    format = DTYPES[dtype].format
    boundary = sign * (format.max + 2.0 ** (format.emax - format.precision))
    inside = np.nextafter(boundary, 0)
    largest, infinite = sign * format.max, sign * np.inf
    assert compare_numbers([infinite], [boundary], 0.0, dtype).problem == ""
    assert compare_numbers([largest], [boundary], 0.0, dtype).problem
    assert compare_numbers([largest], [inside], 0.0, dtype).problem == ""
    assert compare_numbers([infinite], [inside], 0.0, dtype).problem
    assert compare_numbers([infinite], [inside], abs(boundary - inside) * 2, dtype).problem == ""
    assert compare_numbers([-infinite], [boundary], 0.0, dtype).problem


def test_truncating_hardware_may_round_to_either_neighbour() -> None:
    value = 1 + 0.9 * ulp("float32")
    assert compare_numbers([1.0], [value]).problem
    assert compare_numbers([1.0], [value], truncates=True).problem == ""
    assert compare_numbers([1 + 2 * ulp("float32")], [value], 0.0, truncates=True).problem


def test_float64_is_judged_by_the_digits_beyond_float64() -> None:
    half = ulp("float64") / 2
    value = DoubleDouble(np.array([1.0]), np.array([half * 0.75]))  # above 1 by three quarters of half an ulp
    assert compare_numbers([1.0], value, 0.0, "float64").problem == ""
    needed = float(Fraction(half) * Fraction(1, 4))
    assert compare_numbers([1 + 2 * half], value, needed * 1.01, "float64").problem == ""
    assert compare_numbers([1 + 2 * half], value, needed * 0.99, "float64").problem


# Signs of zeros -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [*FLOATS, "complex64", "complex128"])
@pytest.mark.parametrize("equation", ["ij->ji", "ii->i", "...->..."])
def test_a_copied_zero_keeps_its_sign(equation: str, dtype: str) -> None:
    expected = reference_of_zeros(equation, dtype)
    right = np.full(expected.shape, -0.0, DTYPES[dtype].numpy)  # of a complex number, both parts have a sign
    if right.dtype.kind == "c":
        right.imag = 0.0
    assert compare(right, expected).problem == ""
    wrong = right.copy()
    wrong.flat[0] = 0.0
    assert compare(wrong, expected).problem.endswith("values are zeros of the other sign")
    assert compare(wrong, expected).measurement.error_ratio == np.inf


@pytest.mark.parametrize("equation", ["ij->i", "ij,ij->ij", "ij,kl->ijkl"])
@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_a_zero_that_is_a_sum_or_a_product_has_either_sign(equation: str, zero: float) -> None:
    expected = reference_of_zeros(equation, "float32")
    assert compare(np.full(expected.shape, zero, np.float32), expected).problem == ""


def reference_of_zeros(equation: str, dtype: str) -> Reference:
    """The reference of a contraction of negative zeros; imaginary parts are positive zeros."""
    dtype_info, operands = DTYPES[dtype], equation.count(",") + 1
    config = EinsumConfig(equation=equation, shapes=[[2, 2]] * operands)
    zeros = np.full((2, 2), -0.0, dtype_info.numpy)
    if dtype_info.kind == "complex":
        zeros.imag = 0.0
    return einsum.reference(config, dtype_info, [zeros] * operands, declared_precision(dtype_info), False)


# Report of the worst element ----------------------------------------------------------------------------------------


def test_the_worst_element_is_named_with_what_was_expected() -> None:
    comparison = compare_numbers(
        [[1.0, 2.5, 3.0], [4.0, 5.0, 6.5]], [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], [[1, 0.1, 1], [1, 1, 1]]
    )
    worst = comparison.measurement.worst
    assert (worst.index, worst.expected, worst.got, worst.bound) == ((0, 1), "2.0", "2.5", "0.1")
    assert comparison.problem == "1 of 6 values are outside the error bound"


@pytest.mark.parametrize("part", ["real", "imag"])
@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_the_worst_complex_element_is_named_by_the_arrays_own_index(part: str, dtype: str) -> None:
    result = np.ones((2, 3), dtype)
    expected = np.stack([np.ones((2, 3)), np.zeros((2, 3))], axis=-1)
    getattr(result, part)[1, 2] = 9.0
    comparison = compare(result, reference(expected, 0.5, dtype))
    assert comparison.problem == "1 of 12 values are outside the error bound"
    assert comparison.measurement.worst.index == (1, 2)
    assert comparison.measurement.output_shape == (2, 3)
    assert compare(np.ones((2, 3), dtype), reference(expected, 0.0, dtype)).problem == ""


def test_a_scalar_has_the_empty_index() -> None:
    assert compare_numbers(3.0, 2.0).measurement.worst.index == ()
    assert compare_numbers(2.0, 2.0).problem == ""


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex64", "int32", "bool"])
def test_an_empty_result_is_right(dtype: str) -> None:
    dtype_info = DTYPES[dtype]
    value: Array = np.zeros((0, 3, 2) if dtype_info.kind == "complex" else (0, 3))
    expected = (
        reference(value, 0.0, dtype) if dtype_info.inexact else Reference(dtype_info, value.astype(dtype_info.numpy))
    )
    comparison = compare(np.zeros((0, 3), dtype_info.numpy), expected)
    assert (comparison.problem, comparison.measurement.error_ratio) == ("", 0.0)


# Exact dtypes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "uint64", "bool"])
def test_exact_dtypes_must_be_equal(dtype: str) -> None:
    dtype_info = DTYPES[dtype]
    expected = Reference(dtype_info, np.array([[0, 1], [1, 0]]).astype(dtype_info.numpy))
    right = np.array([[0, 1], [1, 0]]).astype(dtype_info.numpy)
    assert compare(right, expected).problem == ""
    assert compare(right, expected).measurement.error_ratio == 0.0
    wrong = np.array([[0, 1], [0, 0]]).astype(dtype_info.numpy)
    comparison = compare(wrong, expected)
    assert comparison.problem == "1 of 4 exact values differ"
    assert comparison.measurement.error_ratio == np.inf
    assert comparison.measurement.worst.index == (1, 0)
    assert comparison.measurement.max_abs == 1.0


def test_integers_that_are_equal_in_float64_are_distinguished() -> None:
    expected = Reference(DTYPES["int64"], np.array([2**60]))
    assert compare(np.array([2**60 + 1]), expected).problem


def test_what_is_stored_as_neither_0_nor_1_is_no_truth_value() -> None:
    expected = Reference(DTYPES["bool"], np.array([True, False, True]))
    strange = np.array([2, 0, 1], np.uint8).view(np.bool_)
    assert compare(strange, expected).problem == "1 of 3 values are stored as neither 0 nor 1"


# Digest -------------------------------------------------------------------------------------------------------------


def test_digest_is_of_the_bits() -> None:
    values = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert digest(values) == digest(values.copy()) == digest(np.asfortranarray(values))
    assert digest(np.array([0.0])) != digest(np.array([-0.0]))
    payloads = np.array([0x7FC00000, 0x7FC00001], np.uint32).view(np.float32)
    assert digest(payloads[:1]) != digest(payloads[1:])
    assert compare(np.array([-0.0], np.float32), reference([0.0])).problem == ""
