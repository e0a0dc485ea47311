"""Rounding to a number format, against exact rationals."""

from fractions import Fraction
from itertools import pairwise

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from specs.arithmetic.formats import (
    BFLOAT16,
    DTYPES,
    FLOAT16,
    FLOAT32,
    FLOAT64,
    FORMATS,
    TF32,
    Format,
    cast,
    round_to,
    spacing,
)

NARROW = [FLOAT32, TF32, FLOAT16, BFLOAT16]
narrow = pytest.mark.parametrize("format", NARROW, ids=lambda f: f.name)
directions = pytest.mark.parametrize("direction", ["nearest", "down", "up"])


def neighbours(x: Fraction, format: Format) -> tuple[Fraction, Fraction]:
    """The nearest multiples of the format's quantum below and above x, as if its range had no upper end."""
    exponent = format.emin
    while abs(x) >= Fraction(2) ** (exponent + 1):
        exponent += 1
    quantum = Fraction(2) ** (exponent - format.precision + 1)
    below = x // quantum * quantum
    return below, below if below == x else below + quantum


def oracle(value: float, format: Format, direction: str) -> float:
    """IEEE 754 rounding, by its definition."""
    x, largest = Fraction(value), Fraction(format.max)
    below, above = neighbours(x, format)
    rounded = {"down": below, "up": above}.get(direction)
    if rounded is None:
        quantum = above - below
        even = below if quantum == 0 or (below / quantum) % 2 == 0 else above
        rounded = even if x - below == above - x else (below if x - below < above - x else above)
    if rounded > largest:
        return format.max if direction == "down" else np.inf
    if rounded < -largest:
        return -format.max if direction == "up" else -np.inf
    return float(rounded)


def boundary_values(format: Format) -> list[float]:
    """Values at, between and half way between neighbouring numbers, near every boundary of the format."""
    low, high, one = format.smallest, format.max, 2 * format.unit_roundoff
    bases = [low, 3 * low, format.tiny, format.tiny - low, 1.0, 1 + one, 2 - one, 1.5, high, high * (1 - one)]
    steps = [low, low, low, low, one, one, one, one, 2.0 ** (format.emax - format.precision + 1)]
    shares = [-1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0]
    values = [base + share * step for base, step in zip(bases, [*steps, steps[-1]], strict=True) for share in shares]
    with np.errstate(over="ignore"):
        values += [float(np.nextafter(v, s)) for v in values for s in (0.0, np.inf)]
    values += [low * 0.4999, low / 2, 0.3, 1e-300, 1e300]
    return [sign * v for v in values if v > 0 for sign in (1, -1)]


@narrow
@directions
def test_rounding_is_ieee_at_ties_subnormals_and_the_overflow_boundary(format: Format, direction: str) -> None:
    values = boundary_values(format)
    got = round_to(values, format, direction)
    assert got.tolist() == [oracle(v, format, direction) for v in values]


@narrow
@directions
@given(value=st.floats(allow_nan=False, allow_infinity=False), scale=st.integers(-40, 20))
def test_rounding_is_ieee_for_any_float64(format: Format, direction: str, value: float, scale: int) -> None:
    near = float(np.ldexp(np.frexp(value)[0], scale))
    for x in (value, near):
        assert round_to(x, format, direction) == oracle(x, format, direction)


@narrow
def test_overflow_begins_at_the_maximum_plus_half_an_ulp(format: Format) -> None:
    boundary = format.max + 2.0 ** (format.emax - format.precision)
    inside = np.nextafter(boundary, 0)
    assert round_to([inside, boundary, -inside, -boundary], format).tolist() == [
        format.max, np.inf, -format.max, -np.inf,
    ]  # fmt: skip


@narrow
@directions
def test_zero_and_underflowed_values_keep_their_sign(format: Format, direction: str) -> None:
    got = round_to([0.0, -0.0, 1e-300, -1e-300], format, direction)
    assert np.signbit(got).tolist() == [False, True, False, True]
    assert (got[:2] == 0).all()


@narrow
@directions
def test_nan_and_infinities_are_unchanged(format: Format, direction: str) -> None:
    np.testing.assert_array_equal(round_to([np.nan, np.inf, -np.inf], format, direction), [np.nan, np.inf, -np.inf])


@pytest.mark.parametrize("format", FORMATS.values(), ids=lambda f: f.name)
@directions
def test_rounding_twice_changes_nothing(format: Format, direction: str) -> None:
    once = round_to(boundary_values(format), format, direction)
    np.testing.assert_array_equal(round_to(once, format, direction), once)


def test_float64_is_unchanged() -> None:
    values = np.array([np.pi, 5e-324, -0.0, np.finfo(float).max])
    assert round_to(values, FLOAT64).tobytes() == values.tobytes()


@pytest.mark.parametrize(
    ("format", "numpy"),
    [(FLOAT32, np.float32), (FLOAT16, np.float16), (BFLOAT16, ml_dtypes.bfloat16), (FLOAT64, np.float64)],
    ids=lambda x: getattr(x, "name", ""),
)
def test_constants_are_those_of_the_numpy_dtype(format: Format, numpy: type) -> None:
    info = ml_dtypes.finfo(numpy)
    assert (format.max, format.tiny, format.smallest) == (
        float(info.max), float(info.smallest_normal), float(info.smallest_subnormal),
    )  # fmt: skip
    assert format.unit_roundoff == float(info.eps) / 2


@narrow
def test_spacing_is_the_distance_to_the_next_number(format: Format) -> None:
    numbers = [0.0, format.smallest, format.tiny - format.smallest, format.tiny, 1.0, 1.5, 2.0]
    for number, step in zip(numbers, spacing(np.array(numbers), format), strict=True):
        above = round_to(np.nextafter(number, np.inf), format, "up")
        assert above - number == step
    assert spacing(np.array([-3.0]), format) == spacing(np.array([3.0]), format)


def test_every_float16_value_is_a_fixed_point_and_every_midpoint_goes_to_the_even_one() -> None:
    numbers = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float64)
    assert (round_to(numbers, FLOAT16) == numbers).all()
    middle = (numbers[1:] + numbers[:-1]) / 2
    even = [pair[i % 2] for i, pair in enumerate(pairwise(numbers))]
    assert round_to(middle, FLOAT16).tolist() == even


# Just above a midpoint of the narrow format, by less than float32 can represent: float32 rounds it to the midpoint
TWICE = {"bfloat16": 1 + 2.0**-8 + 2.0**-30, "float16": 1 + 2.0**-11 + 2.0**-30}


@pytest.mark.parametrize("name", TWICE)
def test_cast_rounds_once_where_going_through_float32_would_round_twice(name: str) -> None:
    dtype = DTYPES[name]
    value = TWICE[name]
    above = 1 + 2 * dtype.format.unit_roundoff
    assert np.float32(value).astype(dtype.numpy).astype(float) == 1.0  # through float32
    assert cast([value, -value], dtype).astype(float).tolist() == [above, -above]


@pytest.mark.parametrize("name", ["bfloat16", "float16", "float32", "float64"])
def test_cast_returns_the_dtype_and_exactly_the_rounded_value(name: str) -> None:
    dtype = DTYPES[name]
    values = np.array([v for v in boundary_values(dtype.format) if np.isfinite(v)])
    got = cast(values, dtype)
    assert got.dtype == dtype.numpy
    np.testing.assert_array_equal(got.astype(np.float64), round_to(values, dtype.format))


def test_cast_rounds_both_parts_of_complex_numbers() -> None:
    value = complex(1 + 2.0**-30, -(1 + 2.0**-24 + 2.0**-40))
    got = cast([value], DTYPES["complex64"])
    assert got.dtype == np.complex64
    assert got.tolist() == [complex(1, -(1 + 2.0**-23))]


def test_cast_wraps_integers_and_converts_any_nonzero_to_true() -> None:
    assert cast(np.array([127, 128, -129, 256]), DTYPES["int8"]).tolist() == [127, -128, 127, 0]
    assert cast(np.array([-1, 256]), DTYPES["uint8"]).tolist() == [255, 0]
    assert cast(np.array([0, 2, -1]), DTYPES["bool"]).tolist() == [False, True, True]
