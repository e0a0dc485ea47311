"""Double-double arithmetic (about 106 bits), used for the float64 and complex128 references.

A reference must be more accurate than the format it judges and identical on every platform, which
rules out `numpy.longdouble`. A double-double number is the unevaluated sum of two float64 numbers;
each operation is a fixed sequence of correctly rounded float64 operations. Elementary functions are
in `elementary`, the matrix product is in `matrix_product`.

References, as cited below:
  Dekker 1971, "A floating-point technique for extending the available precision";
  Knuth, "The Art of Computer Programming" vol. 2, section 4.2.2;
  Shewchuk 1997, "Adaptive precision floating-point arithmetic";
  Hida, Li & Bailey 2001, "Algorithms for quad-double precision floating point arithmetic";
  Joldes, Muller & Popescu 2017, "Tight and rigorous error bounds for basic building blocks of
  double-word arithmetic".

The range is that of float64. Infinity and NaN appear where float64 would produce them, with `lo` = 0.
Like any float64, `lo` is a multiple of 2**-1074, so a result below 2**-968 has fewer than 106 bits;
there, all operations are accurate to a few units of 2**-1074.
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


def ignore_float_errors(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Decorator: overflow, 0/0 and the like raise nothing, whatever error state the caller has set."""

    @wraps(function)
    def wrapper(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        with np.errstate(all="ignore"):
            return function(*args, **kwargs)

    return wrapper


@final
class DoubleDouble:
    """An array of unevaluated sums `hi + lo`, where `hi` is the value rounded to float64.

    Operators accept DoubleDouble, float64 arrays and Python numbers on either side and broadcast as
    NumPy does. Relative error: at most 2**-104 for + and -, 2**-103 for * and /.
    The constructor does not check that |lo| <= ulp(hi) / 2; use `lift` for other values.
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

    @ignore_float_errors
    def __add__(self, other: Operand) -> DoubleDouble:
        """Joldes, Muller & Popescu 2017, algorithm 6: accurate even under cancellation."""
        other = lift(other)
        lead, error = two_sum(self.hi, other.hi)
        tail, tail_error = two_sum(self.lo, other.lo)
        total = renormalise(lead, error + tail)
        return renormalise(total.hi, total.lo + tail_error)

    def __neg__(self) -> DoubleDouble:
        return DoubleDouble(-self.hi, -self.lo)

    def __sub__(self, other: Operand) -> DoubleDouble:
        return self + (-lift(other))

    def __rsub__(self, other: Operand) -> DoubleDouble:
        return lift(other) - self

    @ignore_float_errors
    def __mul__(self, other: Operand) -> DoubleDouble:
        """Dekker 1971: the product of the two `lo` is below the last bit and is omitted."""
        other = lift(other)
        lead, error = two_product(self.hi, other.hi)
        return renormalise(lead, error + (self.hi * other.lo + self.lo * other.hi))

    @ignore_float_errors
    def __truediv__(self, other: Operand) -> DoubleDouble:
        """Long division with two digits of 53 bits (Hida, Li & Bailey 2001, section 3.4)."""
        other = lift(other)
        # With both operands scaled to [1/2, 1), neither digit nor remainder can overflow or underflow.
        exponent, other_exponent = np.frexp(self.hi)[1], np.frexp(other.hi)[1]
        numerator = ldexp(self, -exponent)
        denominator = ldexp(other, -other_exponent)
        digit = numerator.hi / denominator.hi
        remainder = numerator - denominator * digit
        quotient = renormalise(digit, remainder.hi / denominator.hi)
        return ldexp(quotient, exponent - other_exponent)

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
        """Pairwise sum over one or more axes; an empty sum is 0.

        Error: at most ceil(log2(n)) * 2**-104 times the sum of the n magnitudes.
        """
        axes = (axis,) if isinstance(axis, int) else axis
        front = tuple(range(len(axes)))
        hi, lo = np.moveaxis(self.hi, axes, front), np.moveaxis(self.lo, axes, front)
        count, outer_shape = prod(hi.shape[: len(axes)]), hi.shape[len(axes) :]
        terms = DoubleDouble(hi, lo).reshape(count, *outer_shape)
        if count == 0:
            terms = DoubleDouble(np.zeros((1, *outer_shape)))
        while (length := terms.shape[0]) > 1:
            half = length // 2
            pairs = terms[:half] + terms[half : 2 * half]
            terms = concat([pairs, terms[2 * half :]], axis=0) if length % 2 else pairs
        if not keepdims:
            return terms[0]
        summed_axes = {axis % self.ndim for axis in axes}
        return terms.reshape([1 if axis in summed_axes else size for axis, size in enumerate(self.shape)])

    @ignore_float_errors
    def max(self, axis: int | tuple[int, ...], keepdims: bool = False) -> DoubleDouble:
        """The largest element, or NaN if any element is NaN; like NumPy, raises ValueError over no elements."""
        largest = self.hi.max(axis=axis, keepdims=True)
        candidates = np.where(self.hi == largest, self.lo, -np.inf)
        tail = candidates.max(axis=axis, keepdims=keepdims)
        return renormalise(largest.reshape(tail.shape), tail)


# --- Steps of the operations, which ignore floating-point errors for all their steps together ---


def two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """`s, e` with s = fl(a + b) and s + e = a + b exactly (Knuth); e = 0 where s overflows.

    Addition does not underflow, so this holds over the whole range.
    """
    total, error = two_sum_in_range(a, b)
    return total, np.where(np.isfinite(error), error, 0.0)


def two_sum_in_range(a: Array, b: Array) -> tuple[Array, Array]:
    """`two_sum` of finite numbers whose sum does not overflow."""
    total = a + b
    b_part = total - a
    return total, (a - (total - b_part)) + (b - b_part)


def two_product(a: Array, b: Array) -> tuple[Array, Array]:
    """`p, e` with p = fl(a * b) and p + e = a * b exactly (Dekker); e = 0 where p overflows.

    Where a * b has bits below 2**-1074, e is rounded to a multiple of that.
    """
    product = a * b
    # The error is computed from fractions in [1/2, 1), where no step can overflow or underflow.
    (a_fraction, a_exponent), (b_fraction, b_exponent) = np.frexp(a), np.frexp(b)
    a_upper, b_upper = _upper_half(a_fraction), _upper_half(b_fraction)
    a_lower, b_lower = a_fraction - a_upper, b_fraction - b_upper
    error = a_upper * b_upper - a_fraction * b_fraction
    error = ((error + a_upper * b_lower) + a_lower * b_upper) + a_lower * b_lower
    error = np.ldexp(error, a_exponent + b_exponent)
    return product, np.where(np.isfinite(product), error, 0.0)


def _upper_half(fraction: Array) -> Array:
    """A fraction rounded to a multiple of 2**-26; the remainder has 26 bits and a sign."""
    return (fraction + 1.5 * 2.0**26) - 1.5 * 2.0**26


def renormalise(lead: Array, tail: Array) -> DoubleDouble:
    """lead + tail as DoubleDouble, for |tail| <= |lead| (Dekker's fast two-sum); lead alone if it is not finite."""
    total = lead + tail
    if not (are_finite := bool(np.isfinite(total).all())):
        # A non-finite tail with a finite lead comes from an intermediate step such as 0 * inf.
        tail = np.where(np.isfinite(lead) & np.isfinite(tail), tail, 0.0)
        total = lead + tail
    hi = np.where(tail == 0, lead, total)  # -0.0 + 0.0 would lose its sign
    lo = tail - (hi - lead)
    return DoubleDouble(hi, lo if are_finite else np.where(np.isfinite(hi), lo, 0.0))


def ldexp(value: DoubleDouble, exponent: npt.NDArray[np.intc] | int) -> DoubleDouble:
    """value * 2**exponent, exact except for overflow and underflow."""
    hi = np.ldexp(value.hi, exponent)
    return DoubleDouble(hi, np.where(np.isfinite(hi), np.ldexp(value.lo, exponent), 0.0))


# --- Functions of DoubleDouble, or of float64 arrays, for which they call NumPy's ---


def lift(value: Operand) -> DoubleDouble:
    """Convert to DoubleDouble; raises TypeError for complex and long double, rounds integers beyond 2**53."""
    if isinstance(value, DoubleDouble):
        return value
    return DoubleDouble(np.asarray(value).astype(np.float64, casting="safe", copy=False))


def absolute(value: Real) -> Real:
    return abs(value)


def broadcast_to(value: Real, shape: tuple[int, ...]) -> Real:
    if value.shape == shape:
        return value
    if isinstance(value, DoubleDouble):
        return DoubleDouble(np.broadcast_to(value.hi, shape), np.broadcast_to(value.lo, shape))
    return np.broadcast_to(value, shape)


@overload
def concat(values: Sequence[Array], axis: int) -> Array: ...
@overload
def concat(values: Sequence[DoubleDouble], axis: int) -> DoubleDouble: ...
def concat(values: Sequence[Array | DoubleDouble], axis: int) -> Array | DoubleDouble:
    arrays = [value for value in values if not isinstance(value, DoubleDouble)]
    if len(arrays) == len(values):
        return np.concatenate(arrays, axis=axis)
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


def to_float64(value: npt.NDArray[Any] | DoubleDouble) -> Array:
    """The value rounded to float64."""
    return value.rounded if isinstance(value, DoubleDouble) else np.asarray(value, np.float64)
