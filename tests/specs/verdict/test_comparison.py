"""One result against its reference: what counts as right, and what is told about what is not."""

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
    known = DTYPES[dtype]
    if not isinstance(value, DoubleDouble):
        value = np.asarray(value, np.float64)
    return Reference(
        known, value, np.broadcast_to(np.float64(error), value.shape), declared_precision(known, **formats)
    )


def compared(result: Any, value: Any, error: Any = 0.0, dtype: str = "float32", **formats: Any) -> Comparison:
    return compare(cast(np.asarray(result, np.float64), DTYPES[dtype]), reference(value, error, dtype, **formats))


def ulp(dtype: str) -> float:
    """Distance from 1 to the next number."""
    return 2 * DTYPES[dtype].format.unit_roundoff


# What must agree before values are looked at ------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (3,), (1, 2), (2, 1), (0,)], ids=str)
def test_another_shape_is_wrong(shape: tuple[int, ...]) -> None:
    found = compare(np.zeros(shape, np.float32), reference([0.0, 0.0]))
    assert found.problem == f"shape is {shape}, expected (2,)"
    assert found.measurement.error_ratio is None
    assert found.measurement.output_shape == shape


@pytest.mark.parametrize("other", ["float64", "float16", "bfloat16", "complex64", "int32", "bool"])
def test_another_dtype_is_wrong_though_the_values_are_right(other: str) -> None:
    found = compare(np.zeros(2, DTYPES[other].numpy), reference([0.0, 0.0]))
    assert found.problem == f"dtype is {other}, expected float32"
    assert found.measurement.output_dtype == other


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
def test_nan_and_infinities_must_stand_where_they_are_expected(
    got: float, expected: float, problem: str, dtype: str
) -> None:
    found = compared([got, 2.0], [expected, 2.0], 0.1, dtype)
    assert found.problem == problem
    assert (found.measurement.error_ratio <= 1) == (problem == "")


@floats
def test_an_infinite_bound_allows_anything_there_and_nothing_elsewhere(dtype: str) -> None:
    assert compared([np.inf, 1.0], [5.0, 1.0], [np.inf, 0.0], dtype).problem == ""
    assert compared([np.nan, 1.0], [5.0, 1.0], [np.inf, 0.0], dtype).problem == ""
    assert compared([5.0, 2.0], [5.0, 1.0], [np.inf, 0.0], dtype).problem


# Values -------------------------------------------------------------------------------------------------------------


@floats
@pytest.mark.parametrize("error", [0.0, 1e-30, 1e-3])
def test_a_correctly_rounded_result_has_ratio_zero(dtype: str, error: float) -> None:
    numbers = np.random.default_rng(0).standard_normal(200) * 2.0 ** np.arange(-13, 7).repeat(10)
    lower = 0 if dtype != "float64" else np.spacing(numbers) / 4
    value = DoubleDouble(numbers, lower) if dtype == "float64" else numbers
    found = compared(numbers, value, error, dtype)
    assert found.problem == ""
    assert found.measurement.error_ratio == 0.0


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
    assert compared([off], [value], 0.0, dtype).measurement.error_ratio == np.inf
    assert compared([off], [value], 0.49 * gap, dtype).problem
    assert compared([off], [value], 0.51 * gap, dtype).problem == ""
    assert compared([off], [value], 0.25 * gap, dtype).measurement.error_ratio == pytest.approx(2.0)


@floats
def test_the_ratio_is_the_smallest_error_that_explains_the_result_over_the_bound(dtype: str) -> None:
    one = ulp(dtype)
    found = compared([1 + 3 * one], [1.0], 10 * one, dtype)
    assert found.measurement.error_ratio == pytest.approx(0.25)  # from 1 to the middle below the result: 2.5 ulps
    assert found.measurement.max_ulp == pytest.approx(3.0)
    assert found.measurement.max_abs == pytest.approx(3 * one)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("sign", [1, -1])
def test_below_a_power_of_two_half_a_gap_is_a_quarter_of_an_ulp(dtype: str, sign: int) -> None:
    one = ulp(dtype)
    value = sign * (1 - 0.4 * one)  # nearest is 1 - one / 2; 1 is explained from 1 - one / 4 on
    assert compared([sign], [value], 0.14 * one, dtype).problem
    assert compared([sign], [value], 0.16 * one, dtype).problem == ""


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_tie_goes_to_the_even_neighbour_alone(dtype: str) -> None:
    one = ulp(dtype)
    for even, odd in [(1.0, 1 + one), (1 + 2 * one, 1 + one), (-1.0, -1 - one)]:
        tie = (even + odd) / 2
        assert compared([even], [tie], 0.0, dtype).problem == ""
        assert compared([odd], [tie], 0.0, dtype).problem
        assert compared([odd], [tie], 1e-30, dtype).problem == ""


@pytest.mark.parametrize("value", [1e-9, 2.0**-30, -1e-5, 1e-30])
def test_zero_is_no_substitute_for_a_small_number(value: float) -> None:
    assert compared([0.0], [value], 0.0).problem
    assert compared([0.0], [value], abs(value) / 100).problem
    assert compared([0.0], [value], abs(value) * 1.01).problem == ""
    assert compared([value], [0.0], abs(value) / 100).problem


def test_a_subnormal_result_is_held_to_its_own_spacing() -> None:
    smallest = DTYPES["float32"].format.smallest
    assert compared([smallest], [smallest * 1.4]).problem == ""
    assert compared([2 * smallest], [smallest * 1.4]).problem
    assert compared([0.0], [smallest * 0.4]).problem == ""
    assert compared([0.0], [smallest * 0.6]).problem
    assert compared([0.0], [smallest * 1000], flushes=True).problem == ""


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("sign", [1, -1])
def test_overflow_to_infinity_is_right_exactly_where_rounding_says_so(dtype: str, sign: int) -> None:
    format = DTYPES[dtype].format
    boundary = sign * (format.max + 2.0 ** (format.emax - format.precision))
    inside = np.nextafter(boundary, 0)
    largest, infinite = sign * format.max, sign * np.inf
    assert compared([infinite], [boundary], 0.0, dtype).problem == ""
    assert compared([largest], [boundary], 0.0, dtype).problem
    assert compared([largest], [inside], 0.0, dtype).problem == ""
    assert compared([infinite], [inside], 0.0, dtype).problem
    assert compared([infinite], [inside], abs(boundary - inside) * 2, dtype).problem == ""
    assert compared([-infinite], [boundary], 0.0, dtype).problem


def test_truncating_hardware_may_round_to_either_neighbour() -> None:
    value = 1 + 0.9 * ulp("float32")
    assert compared([1.0], [value]).problem
    assert compared([1.0], [value], truncates=True).problem == ""
    assert compared([1 + 2 * ulp("float32")], [value], 0.0, truncates=True).problem


def test_float64_is_judged_by_the_digits_beyond_float64() -> None:
    half = ulp("float64") / 2
    value = DoubleDouble(np.array([1.0]), np.array([half * 0.75]))  # above 1 by three quarters of half an ulp
    assert compared([1.0], value, 0.0, "float64").problem == ""
    needed = float(Fraction(half) * Fraction(1, 4))
    assert compared([1 + 2 * half], value, needed * 1.01, "float64").problem == ""
    assert compared([1 + 2 * half], value, needed * 0.99, "float64").problem


# Signs of zeros -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [*FLOATS, "complex64", "complex128"])
@pytest.mark.parametrize("equation", ["ij->ji", "ii->i", "...->..."])
def test_a_copied_zero_keeps_its_sign(equation: str, dtype: str) -> None:
    expected = expected_of_zeros(equation, dtype)
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
    expected = expected_of_zeros(equation, "float32")
    assert compare(np.full(expected.shape, zero, np.float32), expected).problem == ""


def expected_of_zeros(equation: str, dtype: str) -> Reference:
    """Of a contraction of negative zeros, the imaginary part of complex ones positive."""
    known, operands = DTYPES[dtype], equation.count(",") + 1
    config = EinsumConfig(equation=equation, shapes=[[2, 2]] * operands)
    zeros = np.full((2, 2), -0.0, known.numpy)
    if known.kind == "complex":
        zeros.imag = 0.0
    return einsum.reference(config, known, [zeros] * operands, declared_precision(known), False)


# What is told about it ----------------------------------------------------------------------------------------------


def test_the_worst_element_is_named_with_what_was_expected() -> None:
    found = compared([[1.0, 2.5, 3.0], [4.0, 5.0, 6.5]], [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], [[1, 0.1, 1], [1, 1, 1]])
    worst = found.measurement.worst
    assert (worst.index, worst.expected, worst.got, worst.bound) == ((0, 1), "2.0", "2.5", "0.1")
    assert found.problem == "1 of 6 values are outside the error bound"


@pytest.mark.parametrize("part", ["real", "imag"])
@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_the_worst_complex_element_is_named_by_the_arrays_own_index(part: str, dtype: str) -> None:
    result = np.ones((2, 3), dtype)
    expected = np.stack([np.ones((2, 3)), np.zeros((2, 3))], axis=-1)
    getattr(result, part)[1, 2] = 9.0
    found = compare(result, reference(expected, 0.5, dtype))
    assert found.problem == "1 of 12 values are outside the error bound"
    assert found.measurement.worst.index == (1, 2)
    assert found.measurement.output_shape == (2, 3)
    assert compare(np.ones((2, 3), dtype), reference(expected, 0.0, dtype)).problem == ""


def test_a_scalar_has_the_empty_index() -> None:
    assert compared(3.0, 2.0).measurement.worst.index == ()
    assert compared(2.0, 2.0).problem == ""


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex64", "int32", "bool"])
def test_an_empty_result_is_right(dtype: str) -> None:
    known = DTYPES[dtype]
    value: Array = np.zeros((0, 3, 2) if known.kind == "complex" else (0, 3))
    expected = reference(value, 0.0, dtype) if known.inexact else Reference(known, value.astype(known.numpy))
    found = compare(np.zeros((0, 3), known.numpy), expected)
    assert (found.problem, found.measurement.error_ratio) == ("", 0.0)


# Exact dtypes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "uint64", "bool"])
def test_exact_dtypes_must_be_equal(dtype: str) -> None:
    known = DTYPES[dtype]
    expected = Reference(known, np.array([[0, 1], [1, 0]]).astype(known.numpy))
    right = np.array([[0, 1], [1, 0]]).astype(known.numpy)
    assert compare(right, expected).problem == ""
    assert compare(right, expected).measurement.error_ratio == 0.0
    wrong = np.array([[0, 1], [0, 0]]).astype(known.numpy)
    found = compare(wrong, expected)
    assert found.problem == "1 of 4 exact values differ"
    assert found.measurement.error_ratio == np.inf
    assert found.measurement.worst.index == (1, 0)
    assert found.measurement.max_abs == 1.0


def test_integers_that_float64_cannot_tell_apart_are_told_apart() -> None:
    expected = Reference(DTYPES["int64"], np.array([2**60]))
    assert compare(np.array([2**60 + 1]), expected).problem


# Digest -------------------------------------------------------------------------------------------------------------


def test_digest_is_of_the_bits() -> None:
    values = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert digest(values) == digest(values.copy()) == digest(np.asfortranarray(values))
    assert digest(np.array([0.0])) != digest(np.array([-0.0]))
    payloads = np.array([0x7FC00000, 0x7FC00001], np.uint32).view(np.float32)
    assert digest(payloads[:1]) != digest(payloads[1:])
    assert compare(np.array([-0.0], np.float32), reference([0.0])).problem == ""
