"""Arithmetic with about 106 bits, for the reference of float64 and complex128.

A reference has to be better than the format it judges, and the same on every platform, which rules
out `numpy.longdouble`. A double-double number is the unevaluated sum of two float64 numbers; each
operation here is a fixed sequence of correctly rounded float64 operations.

Sources, by the names used below:
  Dekker 1971, "A floating-point technique for extending the available precision";
  Knuth, "The Art of Computer Programming" vol. 2, section 4.2.2;
  Shewchuk 1997, "Adaptive precision floating-point arithmetic";
  Hida, Li & Bailey 2001, "Algorithms for quad-double precision floating point arithmetic";
  Ogita, Rump & Oishi 2005, "Accurate sum and dot product";
  Ozaki, Ogita, Oishi & Rump 2012, "Error-free transformations of matrix multiplication";
  Joldes, Muller & Popescu 2017, "Tight and rigorous error bounds for basic building blocks of
  double-word arithmetic".

Range: that of float64. Infinity and NaN appear where float64 would have them, with `lo` 0. `lo` is
a multiple of 2**-1074 like any float64, so a result below 2**-968 has fewer than 106 bits, and all
operations are accurate to a few units of 2**-1074 there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import wraps
from math import factorial, prod
from typing import Any, ParamSpec, TypeAlias, TypeVar, final, overload

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Operand: TypeAlias = "DoubleDouble | Array | float"
Real = TypeVar("Real", Array, "DoubleDouble")

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def _quietly(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Overflow, 0/0 and the like are results here, whatever error state the caller has set."""

    @wraps(function)
    def quiet(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        with np.errstate(all="ignore"):
            return function(*args, **kwargs)

    return quiet


@final
class DoubleDouble:
    """An array of sums `hi + lo`, where `hi` is the value rounded to float64.

    Operators take DoubleDouble, float64 arrays and Python numbers on either side and broadcast as
    NumPy does. Relative error: at most 2**-104 for + and -, 2**-103 for * and /.
    The constructor trusts that |lo| <= ulp(hi) / 2; `lift` is for anything else.
    """

    __array_ufunc__ = None  # ndarray + DoubleDouble defers to DoubleDouble.__radd__

    def __init__(self, hi: npt.ArrayLike, lo: npt.ArrayLike | None = None) -> None:
        self.hi: Array = np.asarray(hi, dtype=np.float64)
        self.lo: Array = np.zeros_like(self.hi) if lo is None else np.asarray(lo, dtype=np.float64)
        if self.hi.shape != self.lo.shape:
            raise ValueError(f"hi has shape {self.hi.shape}, lo has shape {self.lo.shape}")

    def __repr__(self) -> str:
        return f"DoubleDouble(hi={self.hi!r}, lo={self.lo!r})"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.hi.shape

    @property
    def ndim(self) -> int:
        return self.hi.ndim

    @property
    def size(self) -> int:
        return self.hi.size

    @property
    def rounded(self) -> Array:
        """The value rounded to float64."""
        return self.hi

    def __add__(self, other: Operand) -> DoubleDouble:
        """Joldes, Muller & Popescu 2017, algorithm 6: accurate also when the operands cancel."""
        other = lift(other)
        lead, error = two_sum(self.hi, other.hi)
        tail, tail_error = two_sum(self.lo, other.lo)
        total = _normalised(lead, error + tail)
        return _normalised(total.hi, total.lo + tail_error)

    def __neg__(self) -> DoubleDouble:
        return DoubleDouble(-self.hi, -self.lo)

    def __sub__(self, other: Operand) -> DoubleDouble:
        return self + (-lift(other))

    def __rsub__(self, other: Operand) -> DoubleDouble:
        return lift(other) - self

    @_quietly
    def __mul__(self, other: Operand) -> DoubleDouble:
        """Dekker 1971: the product of the two `lo` is below the last bit and left out."""
        other = lift(other)
        lead, error = two_product(self.hi, other.hi)
        return _normalised(lead, error + (self.hi * other.lo + self.lo * other.hi))

    @_quietly
    def __truediv__(self, other: Operand) -> DoubleDouble:
        """Long division with two digits of 53 bits (Hida, Li & Bailey 2001, section 3.4)."""
        other = lift(other)
        # Between fractions in [1/2, 1) neither digit nor remainder can over- or underflow.
        exponent, other_exponent = np.frexp(self.hi)[1], np.frexp(other.hi)[1]
        numerator = _times_power_of_two(self, -exponent)
        denominator = _times_power_of_two(other, -other_exponent)
        digit = numerator.hi / denominator.hi
        remainder = numerator - denominator * digit
        quotient = _normalised(digit, remainder.hi / denominator.hi)
        return _times_power_of_two(quotient, exponent - other_exponent)

    def __rtruediv__(self, other: Operand) -> DoubleDouble:
        return lift(other) / self

    __radd__ = __add__
    __rmul__ = __mul__

    def __abs__(self) -> DoubleDouble:
        return where(np.signbit(self.hi), -self, self)

    def __lt__(self, other: Operand) -> Mask:
        other = lift(other)
        return np.asarray((self.hi < other.hi) | ((self.hi == other.hi) & (self.lo < other.lo)))

    def __le__(self, other: Operand) -> Mask:
        other = lift(other)
        return np.asarray((self.hi < other.hi) | ((self.hi == other.hi) & (self.lo <= other.lo)))

    def __gt__(self, other: Operand) -> Mask:
        return lift(other) < self

    def __ge__(self, other: Operand) -> Mask:
        return lift(other) <= self

    def __getitem__(self, index: Any) -> DoubleDouble:
        return DoubleDouble(self.hi[index], self.lo[index])

    def reshape(self, *shape: Any) -> DoubleDouble:
        return DoubleDouble(self.hi.reshape(*shape), self.lo.reshape(*shape))

    def transpose(self, *axes: Any) -> DoubleDouble:
        return DoubleDouble(self.hi.transpose(*axes), self.lo.transpose(*axes))

    def swapaxes(self, first: int, second: int) -> DoubleDouble:
        return DoubleDouble(self.hi.swapaxes(first, second), self.lo.swapaxes(first, second))

    def sum(self, axis: int | tuple[int, ...], keepdims: bool = False) -> DoubleDouble:
        """Sum over one or several axes by halving; over nothing it is 0.

        Error: at most ceil(log2(n)) * 2**-104 times the sum of the n magnitudes.
        """
        axes = (axis,) if isinstance(axis, int) else axis
        front = tuple(range(len(axes)))
        hi, lo = np.moveaxis(self.hi, axes, front), np.moveaxis(self.lo, axes, front)
        count, kept_shape = prod(hi.shape[: len(axes)]), hi.shape[len(axes) :]
        terms = DoubleDouble(hi, lo).reshape(count, *kept_shape)
        if count == 0:
            terms = DoubleDouble(np.zeros((1, *kept_shape)))
        while (length := terms.shape[0]) > 1:
            half = length // 2
            pairs = terms[:half] + terms[half : 2 * half]
            terms = concatenate([pairs, terms[2 * half :]], axis=0) if length % 2 else pairs
        if not keepdims:
            return terms[0]
        summed = {one % self.ndim for one in axes}
        return terms.reshape([1 if at in summed else n for at, n in enumerate(self.shape)])

    def max(self, axis: int | tuple[int, ...], keepdims: bool = False) -> DoubleDouble:
        """The largest element, NaN if there is one; as in NumPy, over nothing it is an error."""
        largest = self.hi.max(axis=axis, keepdims=True)
        rivals = np.where(self.hi == largest, self.lo, -np.inf)
        tail = rivals.max(axis=axis, keepdims=keepdims)
        return _normalised(largest.reshape(tail.shape), tail)


@_quietly
def two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """`s, e` with s = a + b rounded and s + e = a + b exactly (Knuth); 0 for e where s overflows.

    Sums do not underflow, so this holds over the whole range.
    """
    total = a + b
    b_part = total - a
    error = (a - (total - b_part)) + (b - b_part)
    return total, np.where(np.isfinite(error), error, 0.0)


@_quietly
def two_product(a: Array, b: Array) -> tuple[Array, Array]:
    """`p, e` with p = a * b rounded and p + e = a * b exactly (Dekker); 0 for e where p overflows.

    Where a * b has bits below 2**-1074, e is rounded to a multiple of that.
    """
    product = a * b
    # The error is found between fractions in [1/2, 1): there no step can over- or underflow.
    (a_fraction, a_exponent), (b_fraction, b_exponent) = np.frexp(a), np.frexp(b)
    a_upper, b_upper = _upper_half(a_fraction), _upper_half(b_fraction)
    a_lower, b_lower = a_fraction - a_upper, b_fraction - b_upper
    error = a_upper * b_upper - a_fraction * b_fraction
    error = ((error + a_upper * b_lower) + a_lower * b_upper) + a_lower * b_lower
    error = np.ldexp(error, a_exponent + b_exponent)
    return product, np.where(np.isfinite(product), error, 0.0)


def _upper_half(fraction: Array) -> Array:
    """A fraction rounded to a multiple of 2**-26; what it leaves has 26 bits too, and a sign."""
    return (fraction + 1.5 * 2.0**26) - 1.5 * 2.0**26


@_quietly
def _normalised(lead: Array, tail: Array) -> DoubleDouble:
    """The sum of two numbers, |tail| <= |lead| (Dekker's fast two-sum), or lead if not finite."""
    # A tail that is not finite beside a finite lead comes from a step such as 0 * inf on the way.
    tail = np.where(np.isfinite(lead) & np.isfinite(tail), tail, 0.0)
    hi = np.where(tail == 0, lead, lead + tail)  # -0.0 + 0.0 would lose its sign
    lo = tail - (hi - lead)
    return DoubleDouble(hi, np.where(np.isfinite(hi), lo, 0.0))


@_quietly
def _times_power_of_two(value: DoubleDouble, exponent: npt.NDArray[np.intc] | int) -> DoubleDouble:
    hi = np.ldexp(value.hi, exponent)
    return DoubleDouble(hi, np.where(np.isfinite(hi), np.ldexp(value.lo, exponent), 0.0))


def _constant(value: Fraction) -> DoubleDouble:
    hi = float(value)
    return DoubleDouble(hi, float(value - Fraction(hi)))


# --- Functions that take float64 arrays (and then are NumPy's) or DoubleDouble ---


def lift(value: Operand) -> DoubleDouble:
    """As DoubleDouble; refuses complex and long double, integers beyond 2**53 are rounded."""
    if isinstance(value, DoubleDouble):
        return value
    return DoubleDouble(np.asarray(value).astype(np.float64, casting="safe", copy=False))


def absolute(value: Real) -> Real:
    return abs(value)


def broadcast_to(value: Real, shape: tuple[int, ...]) -> Real:
    if isinstance(value, DoubleDouble):
        return DoubleDouble(np.broadcast_to(value.hi, shape), np.broadcast_to(value.lo, shape))
    return np.broadcast_to(value, shape)


@overload
def concatenate(values: Sequence[Array], axis: int) -> Array: ...
@overload
def concatenate(values: Sequence[DoubleDouble], axis: int) -> DoubleDouble: ...
def concatenate(values: Sequence[Array | DoubleDouble], axis: int) -> Array | DoubleDouble:
    plain = [value for value in values if not isinstance(value, DoubleDouble)]
    if len(plain) == len(values):
        return np.concatenate(plain, axis=axis)
    lifted = [lift(value) for value in values]
    return DoubleDouble(
        np.concatenate([value.hi for value in lifted], axis=axis),
        np.concatenate([value.lo for value in lifted], axis=axis),
    )


@overload
def where(condition: npt.ArrayLike, a: DoubleDouble, b: Operand) -> DoubleDouble: ...
@overload
def where(condition: npt.ArrayLike, a: Array | float, b: DoubleDouble) -> DoubleDouble: ...
@overload
def where(condition: npt.ArrayLike, a: Array | float, b: Array | float) -> Array: ...
def where(condition: npt.ArrayLike, a: Operand, b: Operand) -> Array | DoubleDouble:
    if not isinstance(a, DoubleDouble) and not isinstance(b, DoubleDouble):
        return np.where(condition, a, b)
    a, b = lift(a), lift(b)
    return DoubleDouble(np.where(condition, a.hi, b.hi), np.where(condition, a.lo, b.lo))


@_quietly
def sqrt(value: Real) -> Real:
    """One Newton step from the float64 root (Hida, Li & Bailey 2001); relative error 2**-103."""
    if not isinstance(value, DoubleDouble):
        return np.sqrt(value)
    half_exponent = np.frexp(value.hi)[1] // 2  # the rest is in [1/2, 2): its square is safe
    value = _times_power_of_two(value, -2 * half_exponent)
    root = np.sqrt(value.hi)
    remainder = value - DoubleDouble(*two_product(root, root))
    return _times_power_of_two(_normalised(root, remainder.hi / (2 * root)), half_exponent)


@_quietly
def exp(value: Real) -> Real:
    """The exponential, relative error at most 2**-100 while it is normal, and 0 at -infinity."""
    if not isinstance(value, DoubleDouble):
        return np.exp(value)
    # Beyond 800 the result is 0 or infinite; clipped, its exponent stays a small integer.
    clipped = where(np.abs(value.hi) > 800, np.copysign(800.0, value.hi), value)
    exponent, excess = _exp_parts(clipped)
    return _times_power_of_two(excess + 1.0, exponent)


@_quietly
def tanh(value: Real) -> Real:
    """The hyperbolic tangent, relative error at most 2**-99 also near 0; 1 at infinity."""
    if not isinstance(value, DoubleDouble):
        return np.tanh(value)
    size = np.abs(value.hi)
    # tanh(x) = d / (d + 2) with d = exp(2x) - 1. Beyond 40 it differs from 1 by less than 2**-114.
    exponent, excess = _exp_parts(where(size > 40, 40.0, absolute(value)) * 2.0)
    difference = _times_power_of_two(excess + 1.0, exponent) - 1.0
    difference = where(exponent == 0, excess, difference)  # no cancellation for a small argument
    result = where(size > 40, 1.0, difference / (difference + 2.0))
    result = where(value.hi < 0, -result, result)
    return where(size < 2.0**-55, value, result)  # x - x**3 / 3 is x, and its square may underflow


# The logarithm of 2 in pieces, the first two of 42 bits: multiplied by an exponent they are exact.
_LOG_2 = Fraction(0xB17217F7D1CF79ABC9E3B39803F2F6AF40F34326, 2**160)
_LOG_2_PIECES = (
    float(Fraction(int(_LOG_2 * 2**42), 2**42)),
    float(Fraction(int(_LOG_2 * 2**84) % 2**42, 2**84)),
    float(_LOG_2 * 2**84 % 1 / 2**84),
)
# exp(r) - 1 = r + r**2 * (1/2! + r/3! + ...): the terms up to r**6 in double-double, from there to
# r**11, each below 2**-57 of the whole, in float64.
_SERIES = tuple(_constant(Fraction(1, factorial(n))) for n in (6, 5, 4, 3, 2))
_SERIES_END = tuple(1 / factorial(n) for n in (11, 10, 9, 8, 7))
_HALVINGS = 6


def _exp_parts(value: DoubleDouble) -> tuple[npt.NDArray[np.intc], DoubleDouble]:
    """`k, d` with exp(value) = 2**k * (1 + d), |value| <= 800, and d relatively accurate.

    Reduction by log 2 and halving, a Taylor series, then exp(2r) - 1 = d * (d + 2) once for each
    halving (after Hida, Li & Bailey 2001, section 4.3, but on exp - 1, so that nothing cancels).
    """
    multiple = np.where(np.isfinite(value.hi), np.rint(value.hi / _LOG_2_PIECES[0]), 0.0)
    for piece in _LOG_2_PIECES:
        value = value - multiple * piece
    reduced = _times_power_of_two(value, -_HALVINGS)
    series = DoubleDouble(np.polyval(_SERIES_END, reduced.hi))
    for coefficient in _SERIES:
        series = series * reduced + coefficient
    excess = reduced + reduced * reduced * series
    for _ in range(_HALVINGS):
        excess = excess * (excess + 2.0)
    return multiple.astype(np.intc), excess


# --- Matrix product ---

# Rows and columns are scaled to this largest exponent: products are then far from overflow, and
# entries are kept whole down to 2**-1574 times the largest of their row or column.
_TOP = 500
# As many products of slices as this are added inside one float64 product.
_GROUP = 4


@overload
def matmul(a: DoubleDouble, b: Array | DoubleDouble) -> DoubleDouble: ...
@overload
def matmul(a: Array, b: DoubleDouble) -> DoubleDouble: ...
@overload
def matmul(a: Array, b: Array) -> Array: ...
@_quietly
def matmul(a: Array | DoubleDouble, b: Array | DoubleDouble) -> Array | DoubleDouble:
    """Matrix product, batched as by `numpy.matmul`, of two operands with at least two axes.

    float64 operands alone give NumPy's product. Otherwise the exact product of what `hi + lo` says,
    rounded: relative error 2**-105 of the result itself, however much cancels, and no error where
    the result is a double-double number. Products of entries so small that they are below 2**-1500
    of (the row's largest) * (the column's largest) may be lost.

    Ozaki et al. 2012: operands are cut into slices so narrow that float64 products of slices are
    exact in any order of summation; those are then added exactly. The time grows with the square of
    the bits that a row spans, from its largest entry to the last bit of its smallest.
    """
    if not isinstance(a, DoubleDouble) and not isinstance(b, DoubleDouble):
        plain: Array = np.matmul(a, b)
        return plain
    a, b = lift(a), lift(b)
    if a.ndim < 2 or b.ndim < 2:
        raise ValueError(f"matmul needs two axes or more, got shapes {a.shape} and {b.shape}")
    length = a.shape[-1]
    # _GROUP * length products of integers up to 2**(width - 1) are at most 2**53 in all.
    width = (53 - max(length - 1, 0).bit_length()) // 2
    a_slices, a_exponent = _slices(a, width, axis=-1)
    b_slices, b_exponent = _slices(b, width, axis=-2)
    rows = np.concatenate(a_slices, axis=-1)
    # In opposite order, the slices whose product has the same unit lie side by side on both sides.
    columns = np.concatenate(b_slices[::-1], axis=-2)
    terms = []
    for order in reversed(range(len(a_slices) + len(b_slices) - 1)):  # from small to large
        shift = len(b_slices) - 1 - order
        first, end = max(0, -shift), min(len(a_slices), order + 1)
        for start in range(first, end, _GROUP):
            stop = min(start + _GROUP, end)
            left = rows[..., start * length : stop * length]
            right = columns[..., (start + shift) * length : (stop + shift) * length, :]
            terms.append(np.matmul(left, right))
    product = _times_power_of_two(_exact_sum(terms), a_exponent + b_exponent)
    if np.isfinite(a.hi).all() and np.isfinite(b.hi).all():
        return product
    # Signs tell where the sum of products is infinite or NaN. No BLAS: it may skip zeros.
    pattern = np.einsum("...ik,...kj->...ij", _signs(a.hi), _signs(b.hi))
    return where(np.isfinite(pattern), product, pattern)


def _signs(values: Array) -> Array:
    return np.where(np.isfinite(values), np.sign(values), values)


def _slices(value: DoubleDouble, width: int, axis: int) -> tuple[list[Array], npt.NDArray[np.intc]]:
    """Cuts the finite entries into slices along `axis`, and the exponents e that scale them.

    The sum of the slices is value * 2**-e. Slice number s = 0, 1, ... holds multiples of a unit
    2**(_TOP + 1 - (s + 1) * width), at most 2**(width - 1) of them; there are as many as it takes.
    """
    finite = where(np.isfinite(value.hi), value, 0.0)
    largest = np.abs(finite.hi).max(axis=axis, keepdims=True, initial=0.0)
    exponent = np.frexp(largest)[1] - np.intc(_TOP)
    scaled = _times_power_of_two(finite, -exponent)
    hi, lo = scaled.hi, scaled.lo
    plain = not lo.any()
    slices: list[Array] = []
    while not slices or hi.any():
        # Adding this rounds to a multiple of the slice's unit, which is its last bit.
        rounder = 1.5 * 2.0 ** (52 + _TOP + 1 - (len(slices) + 1) * width)
        slices.append((hi + rounder) - rounder)
        hi = hi - slices[-1]
        if not plain:
            hi, lo = two_sum(hi, lo)  # so that the next slice is rounded from all that is left
    return slices, exponent


def _exact_sum(terms: list[Array]) -> DoubleDouble:
    """The sum of arrays, from small to large, rounded once (Ogita, Rump & Oishi 2005, VecSum).

    Each sweep leaves the sum unchanged and moves it to the end of the list; when nothing moves any
    more no two neighbours overlap, and the last two are the sum. Seldom more than three sweeps.
    """
    terms = [np.zeros_like(terms[0]), *terms]
    for _ in terms:
        moved = False
        for at in range(len(terms) - 1):
            total, error = two_sum(terms[at + 1], terms[at])
            moved = moved or not np.array_equal(total, terms[at + 1])
            terms[at + 1], terms[at] = total, error
        if not moved:
            break
    return DoubleDouble(terms[-1], terms[-2])
