"""Double-double arithmetic against exact rationals and ball arithmetic (python-flint)."""

import operator
import sys
from collections.abc import Callable, Iterator
from typing import Any

import flint
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specs.arithmetic import elementary
from specs.arithmetic.double_double import (
    DoubleDouble,
    broadcast_to,
    concat,
    ignore_float_errors,
    lift,
    two_product,
    two_sum,
    where,
)
from specs.arithmetic.matrix_product import matmul

pytestmark = pytest.mark.filterwarnings("error")
Exact = flint.fmpq
SPECIAL = np.array([0.0, -0.0, 1.5, -2.0, np.inf, -np.inf, np.nan, sys.float_info.max])
SMALLEST = Exact(1, 2**1074)
any_float = st.floats(allow_nan=False, allow_infinity=False)
moderate = st.floats(-(2.0**300), 2.0**300).filter(lambda x: x == 0 or abs(x) > 2.0**-300)


@pytest.fixture(autouse=True)
def bits() -> Iterator[None]:
    before, flint.ctx.prec = flint.ctx.prec, 400
    yield
    flint.ctx.prec = before


def exact(value: Any) -> np.ndarray:
    """The exact value of every element, as an array of rationals."""
    value = lift(value)
    pairs = zip(value.hi.ravel().tolist(), value.lo.ravel().tolist(), strict=True)
    rationals = [Exact(*hi.as_integer_ratio()) + Exact(*lo.as_integer_ratio()) for hi, lo in pairs]
    return np.array([*rationals, None], dtype=object)[:-1].reshape(value.shape)


def random(shape: Any, exponents: tuple[int, int] = (-2, 2), seed: int = 0) -> DoubleDouble:
    generator = np.random.default_rng(seed)
    hi = generator.standard_normal(shape) * 2.0 ** generator.integers(*exponents, shape)
    gap = 2.0 ** -generator.integers(1, 12, shape)
    return DoubleDouble(hi, np.spacing(np.abs(hi)) * gap * generator.uniform(-1, 1, shape))


def assert_close(got: DoubleDouble, expected: np.ndarray, bits: int) -> None:
    """Relative error at most 2**-bits, and `hi` is the rounded value."""
    assert (got.hi + got.lo == got.hi).all()
    for ours, true in zip(exact(got).ravel(), expected.ravel(), strict=True):
        true = flint.arb(true)
        assert abs(flint.arb(ours) - true) <= abs(true) / 2**bits, (ours, true)


@given(any_float, any_float)
@ignore_float_errors
def test_two_sum_is_exact(a: float, b: float) -> None:
    total, error = two_sum(np.array(a), np.array(b))
    assert total == a + b
    if np.isfinite(total):
        assert exact(total) + exact(error) == exact(a) + exact(b)


@given(any_float, any_float)
@ignore_float_errors
def test_two_product_is_exact_down_to_the_smallest_number(a: float, b: float) -> None:
    product, error = two_product(np.array(a), np.array(b))
    assert product == a * b
    if np.isfinite(product):
        true = exact(a) * exact(b)
        difference = abs(exact(product) + exact(error) - true)
        assert difference <= SMALLEST / 2
        assert difference == 0 or (true / SMALLEST).q > 1  # unless a bit is below the smallest


@pytest.mark.parametrize("operation", [operator.add, operator.sub, operator.mul, operator.truediv])
@given(x=moderate, y=moderate, z=moderate)
@settings(max_examples=60)
def test_operators(operation: Callable[..., Any], x: float, y: float, z: float) -> None:
    pair = lift(np.array([x, y])) + 2.0**-60 * x
    for left, right in ((pair, z), (z, pair), (pair, np.array([[z], [1.0]])), (pair, pair[::-1])):
        if operation is operator.truediv and not exact(right).all():
            continue
        assert_close(operation(left, right), operation(exact(left), exact(right)), bits=103)


def test_sum_under_cancellation_of_all_but_the_last_bits() -> None:
    left, other = random(500), random(500, seed=1)
    right = DoubleDouble(-left.hi, left.lo * np.abs(other.hi) / 64)
    assert_close(left + right, exact(left) + exact(right), bits=103)


@given(moderate, moderate)
def test_comparisons(x: float, y: float) -> None:
    pair = lift(np.array([x, x])) + 2.0**-70 * y
    for compare in (operator.lt, operator.le, operator.gt, operator.ge):
        for other in (x, np.array([y, x]), pair):
            assert (compare(pair, other) == compare(exact(pair), exact(other))).all()


@pytest.mark.parametrize("operation", [operator.add, operator.sub, operator.mul, operator.truediv])
def test_operators_at_special_values(operation: Callable[..., Any]) -> None:
    left, right = SPECIAL[:, None], SPECIAL
    with np.errstate(all="ignore"):
        expected = operation(left, right)
    for got in (operation(lift(left), lift(right)), operation(left, lift(right))):
        np.testing.assert_array_equal(got.hi, expected)
        number = ~np.isnan(expected)
        np.testing.assert_array_equal(np.signbit(got.hi)[number], np.signbit(expected)[number])
        assert not got.lo[~np.isfinite(got.hi)].any()


@pytest.mark.parametrize("name", ["exp", "tanh", "sqrt", "absolute"])
def test_functions_at_special_values(name: str) -> None:
    values = np.concatenate([SPECIAL, [1e5, -1e5, -1e300, 5e-324]])
    function = getattr(elementary, name)
    with np.errstate(all="ignore"):
        expected = function(values)
    np.testing.assert_allclose(function(lift(values)).hi, expected, rtol=2.0**-52)


@pytest.mark.parametrize("exponents", [(-900, -60), (-58, -48), (-12, 1), (0, 6), (7, 9)])
@pytest.mark.parametrize("name", ["exp", "tanh", "sqrt"])
def test_functions_against_ball_arithmetic(name: str, exponents: tuple[int, int]) -> None:
    values = random(200, exponents)
    values = abs(values) if name == "sqrt" else values[np.abs(values.hi) < 640]
    expected = np.array([getattr(flint.arb(x), name)() for x in exact(values)])
    assert_close(getattr(elementary, name)(values), expected, bits=102)


def test_exp_underflows_gradually() -> None:
    values = np.linspace(-760, -700, 500)
    for ours, x in zip(exact(elementary.exp(lift(values))), exact(values), strict=True):
        true = flint.arb(x).exp()
        assert abs(ours - true) < SMALLEST + true / 2**100


def test_shapes_and_selection() -> None:
    value = random((2, 3, 4))
    rows = exact(value)
    mask = rows > 0
    for got, expected in [
        (value[1, ..., ::2], rows[1, ..., ::2]),
        (value.reshape(6, -1), rows.reshape(6, -1)),
        (value.transpose((2, 0, 1)), rows.transpose((2, 0, 1))),
        (value.swapaxes(0, -1), rows.swapaxes(0, -1)),
        (where(mask, value, -1.0), np.where(mask, rows, Exact(-1))),
        (concat([value, -value], axis=1), np.concatenate([rows, -rows], axis=1)),
        (broadcast_to(value[:, :1], (5, 2, 3, 4)), np.broadcast_to(rows[:, :1], (5, 2, 3, 4))),
    ]:
        assert got.shape == expected.shape
        assert (exact(got) == expected).all()
    with pytest.raises(TypeError):
        lift(np.array([1j]))


@pytest.mark.parametrize("axis", [0, -1, (0, 2), (-1, 1), (0, 1, 2)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_sum_and_max(axis: Any, keepdims: bool) -> None:
    value = random((3, 4, 5), exponents=(-30, 30))
    rows = exact(value)
    for got, true, size in [
        (value.sum(axis, keepdims), rows.sum(axis, keepdims=keepdims), abs(rows).sum(axis)),
        (value.max(axis, keepdims), rows.max(axis, keepdims=keepdims), 0 * rows.sum(axis)),
    ]:
        assert got.shape == np.shape(true)
        assert np.all(np.ravel(abs(exact(got) - true)) * 2**100 <= np.ravel(size))
    tied = DoubleDouble([1.0, 1.0, 1.0], [-1e-20, 1e-20, 0.0])
    assert tied.max(0).lo == 1e-20
    assert np.isnan(lift(SPECIAL).max(0).hi)
    assert np.isnan(lift(SPECIAL).sum(0).hi)
    assert value[:, :0].sum((1,)).shape == (3, 5)
    assert not value[:, :0].sum((1,)).hi.any()


@pytest.mark.parametrize("exponents", [(0, 1), (-40, 40), (-400, 400)])
def test_matmul_has_a_small_relative_error_even_under_cancellation(exponents: tuple[int, int]) -> None:
    a, b = random((2, 1, 3, 7), exponents), random((5, 7, 4), exponents, seed=1)
    assert_close(matmul(a, b), exact(a) @ exact(b), bits=105)
    assert_close(matmul(a, b.hi), exact(a) @ exact(b.hi), bits=105)
    b = concat([b, -b, b[:, :1] * 2.0**-200], axis=1)
    a = concat([a, a, a[..., :1]], axis=-1)
    assert_close(matmul(a.hi, b), exact(a.hi) @ exact(b), bits=105)


def test_matmul_of_long_rows_and_extreme_sizes() -> None:
    a, b = random((1, 2**15)), random((2**15, 1), seed=1)
    assert_close(matmul(a, b), exact(a) @ exact(b), bits=105)
    for scales in ((2.0**1000, 2.0**-900), (2.0**-480, 2.0**-480), (2.0**505, 2.0**505)):
        scaled = matmul(a * scales[0], b * scales[1])
        assert_close(scaled, exact(a) @ exact(b) * (exact(scales[0]) * exact(scales[1])), bits=100)
    big = lift(np.full((1, 2), sys.float_info.max))
    assert exact(matmul(big, np.array([[1.0], [-1.0]])))[0, 0] == 0
    assert matmul(big, np.ones((2, 1))).hi == np.inf


def test_matmul_of_empty_operands_and_of_float64() -> None:
    assert not matmul(lift(np.ones((2, 3, 0))), np.ones((0, 4))).hi.any()
    assert matmul(lift(np.ones((0, 3))), np.ones((3, 4))).shape == (0, 4)
    assert isinstance(matmul(np.ones((2, 2)), np.ones((2, 2))), np.ndarray)
    with pytest.raises(ValueError, match="two axes"):
        matmul(lift(np.ones(3)), np.ones((3, 1)))


def test_matmul_confines_special_values() -> None:
    a, b = random((4, 3, 5)).hi, random((5, 6), seed=1).hi
    a[0, 1, 2], a[1, 0, :2], a[2, 2, 3], b[0, 1], b[4, 2] = np.inf, (np.inf, -np.inf), np.nan, 0, 0
    a[3, 0, 4], b[4, 3] = -np.inf, np.inf
    with np.errstate(all="ignore"):
        expected = np.sum(a[..., None] * b, axis=-2)
    got, finite = matmul(lift(a), b), np.isfinite(expected)
    np.testing.assert_array_equal(got.hi[~finite], expected[~finite])
    np.testing.assert_allclose(got.hi[finite], expected[finite], rtol=1e-12)


def test_matmul_takes_a_few_whole_matrix_products_whatever_the_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """This makes it fast enough for a reference."""
    shapes: list[tuple[int, ...]] = []
    product = np.matmul

    def counted(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        shapes.append(product(a, b).shape)
        return product(a, b)

    monkeypatch.setattr(np, "matmul", counted)
    counts = []
    for size in (4, 64):
        shapes.clear()
        matmul(random((8, size, size)), random((8, size, size), seed=1))
        assert set(shapes) == {(8, size, size)}
        counts.append(len(shapes))
    assert counts[1] <= counts[0] + 4  # longer sums need narrower slices
    assert counts[1] < 20
