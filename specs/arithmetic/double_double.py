"""Arithmetic with about 106 bits, for the reference of float64 and complex128.

A reference has to be better than the format it judges, and the same on every platform, which rules
out `numpy.longdouble`. A double-double number is the unevaluated sum of two float64 numbers; each
operation here is a fixed sequence of correctly rounded float64 operations. Functions of it are in
`elementary`, its matrix product in `matrix_product`.

Sources, by the names used below:
  Dekker 1971, "A floating-point technique for extending the available precision";
  Knuth, "The Art of Computer Programming" vol. 2, section 4.2.2;
  Shewchuk 1997, "Adaptive precision floating-point arithmetic";
  Hida, Li & Bailey 2001, "Algorithms for quad-double precision floating point arithmetic";
  Joldes, Muller & Popescu 2017, "Tight and rigorous error bounds for basic building blocks of
  double-word arithmetic".

Range: that of float64. Infinity and NaN appear where float64 would have them, with `lo` 0. `lo` is
a multiple of 2**-1074 like any float64, so a result below 2**-968 has fewer than 106 bits, and all
operations are accurate to a few units of 2**-1074 there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from math import prod
from typing import Any, ParamSpec, TypeAlias, TypeVar, final, overload

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Operand: TypeAlias = "DoubleDouble | Array | float"
Real = TypeVar("Real", Array, "DoubleDouble")

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def quietly(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
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
        total = normalised(lead, error + tail)
        return normalised(total.hi, total.lo + tail_error)

    def __neg__(self) -> DoubleDouble:
        return DoubleDouble(-self.hi, -self.lo)

    def __sub__(self, other: Operand) -> DoubleDouble:
        return self + (-lift(other))

    def __rsub__(self, other: Operand) -> DoubleDouble:
        return lift(other) - self

    @quietly
    def __mul__(self, other: Operand) -> DoubleDouble:
        """Dekker 1971: the product of the two `lo` is below the last bit and left out."""
        other = lift(other)
        lead, error = two_product(self.hi, other.hi)
        return normalised(lead, error + (self.hi * other.lo + self.lo * other.hi))

    @quietly
    def __truediv__(self, other: Operand) -> DoubleDouble:
        """Long division with two digits of 53 bits (Hida, Li & Bailey 2001, section 3.4)."""
        other = lift(other)
        # Between fractions in [1/2, 1) neither digit nor remainder can over- or underflow.
        exponent, other_exponent = np.frexp(self.hi)[1], np.frexp(other.hi)[1]
        numerator = times_power_of_two(self, -exponent)
        denominator = times_power_of_two(other, -other_exponent)
        digit = numerator.hi / denominator.hi
        remainder = numerator - denominator * digit
        quotient = normalised(digit, remainder.hi / denominator.hi)
        return times_power_of_two(quotient, exponent - other_exponent)

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
        return normalised(largest.reshape(tail.shape), tail)


@quietly
def two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """`s, e` with s = a + b rounded and s + e = a + b exactly (Knuth); 0 for e where s overflows.

    Sums do not underflow, so this holds over the whole range.
    """
    total = a + b
    b_part = total - a
    error = (a - (total - b_part)) + (b - b_part)
    return total, np.where(np.isfinite(error), error, 0.0)


@quietly
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


@quietly
def normalised(lead: Array, tail: Array) -> DoubleDouble:
    """The sum of two numbers, |tail| <= |lead| (Dekker's fast two-sum), or lead if not finite."""
    # A tail that is not finite beside a finite lead comes from a step such as 0 * inf on the way.
    tail = np.where(np.isfinite(lead) & np.isfinite(tail), tail, 0.0)
    hi = np.where(tail == 0, lead, lead + tail)  # -0.0 + 0.0 would lose its sign
    lo = tail - (hi - lead)
    return DoubleDouble(hi, np.where(np.isfinite(hi), lo, 0.0))


@quietly
def times_power_of_two(value: DoubleDouble, exponent: npt.NDArray[np.intc] | int) -> DoubleDouble:
    hi = np.ldexp(value.hi, exponent)
    return DoubleDouble(hi, np.where(np.isfinite(hi), np.ldexp(value.lo, exponent), 0.0))


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


def rounded(value: npt.NDArray[Any] | DoubleDouble) -> Array:
    """The value as float64."""
    return value.rounded if isinstance(value, DoubleDouble) else np.asarray(value, np.float64)
