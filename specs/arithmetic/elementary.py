"""Square root, exponential and hyperbolic tangent of `DoubleDouble`, and of float64 arrays by NumPy.

Source: Hida, Li & Bailey 2001, "Algorithms for quad-double precision floating point arithmetic".
"""

from __future__ import annotations

from fractions import Fraction
from math import factorial

import numpy as np
import numpy.typing as npt

from specs.arithmetic.double_double import (
    DoubleDouble,
    Real,
    absolute,
    ignore_float_errors,
    ldexp,
    renormalise,
    two_product,
    where,
)


def _constant(value: Fraction) -> DoubleDouble:
    hi = float(value)
    return DoubleDouble(hi, float(value - Fraction(hi)))


@ignore_float_errors
def sqrt(value: Real) -> Real:
    """One Newton step from the float64 root (Hida, Li & Bailey 2001); relative error at most 2**-103."""
    if not isinstance(value, DoubleDouble):
        return np.sqrt(value)
    half_exponent = np.frexp(value.hi)[1] // 2  # the scaled value is in [1/2, 2): its square is safe
    value = ldexp(value, -2 * half_exponent)
    root = np.sqrt(value.hi)
    remainder = value - DoubleDouble(*two_product(root, root))
    return ldexp(renormalise(root, remainder.hi / (2 * root)), half_exponent)


@ignore_float_errors
def exp(value: Real) -> Real:
    """The exponential, with relative error at most 2**-100 for normal results; 0 at -infinity."""
    if not isinstance(value, DoubleDouble):
        return np.exp(value)
    # Beyond 800 the result is 0 or infinite; clipping keeps its exponent a small integer.
    clipped = where(np.abs(value.hi) > 800, np.copysign(800.0, value.hi), value)
    exponent, excess = _exp_parts(clipped)
    return ldexp(excess + 1.0, exponent)


@ignore_float_errors
def tanh(value: Real) -> Real:
    """The hyperbolic tangent, with relative error at most 2**-99, also near 0; 1 at infinity."""
    if not isinstance(value, DoubleDouble):
        return np.tanh(value)
    magnitude = np.abs(value.hi)
    # tanh(x) = d / (d + 2) with d = exp(2x) - 1. Beyond 40 it differs from 1 by less than 2**-114.
    exponent, excess = _exp_parts(where(magnitude > 40, 40.0, absolute(value)) * 2.0)
    difference = ldexp(excess + 1.0, exponent) - 1.0
    difference = where(exponent == 0, excess, difference)  # no cancellation for a small argument
    result = where(magnitude > 40, 1.0, difference / (difference + 2.0))
    result = where(value.hi < 0, -result, result)
    return where(magnitude < 2.0**-55, value, result)  # x - x**3 / 3 is x, and its square may underflow


# log 2 in pieces, the first two of 42 bits, so that their products with an exponent are exact.
_LOG_2 = Fraction(0xB17217F7D1CF79ABC9E3B39803F2F6AF40F34326, 2**160)
_LOG_2_PIECES = (
    float(Fraction(int(_LOG_2 * 2**42), 2**42)),
    float(Fraction(int(_LOG_2 * 2**84) % 2**42, 2**84)),
    float(_LOG_2 * 2**84 % 1 / 2**84),
)
# exp(r) - 1 = r + r**2 * (1/2! + r/3! + ...): terms up to r**6 in double-double; those from r**7 to
# r**11, each below 2**-57 of the total, in float64.
_SERIES = tuple(_constant(Fraction(1, factorial(n))) for n in (6, 5, 4, 3, 2))
_SERIES_END = tuple(1 / factorial(n) for n in (11, 10, 9, 8, 7))
_HALVINGS = 6


def _exp_parts(value: DoubleDouble) -> tuple[npt.NDArray[np.intc], DoubleDouble]:
    """`k, d` with exp(value) = 2**k * (1 + d), for |value| <= 800; d has a small relative error.

    Reduction by log 2 and halving, a Taylor series, then exp(2r) - 1 = d * (d + 2) once for each
    halving (after Hida, Li & Bailey 2001, section 4.3, but on exp - 1, so that nothing cancels).
    """
    multiple = np.where(np.isfinite(value.hi), np.rint(value.hi / _LOG_2_PIECES[0]), 0.0)
    for piece in _LOG_2_PIECES:
        value = value - multiple * piece
    reduced = ldexp(value, -_HALVINGS)
    series = DoubleDouble(np.polyval(_SERIES_END, reduced.hi))
    for coefficient in _SERIES:
        series = series * reduced + coefficient
    excess = reduced + reduced * reduced * series
    for _ in range(_HALVINGS):
        excess = excess * (excess + 2.0)
    return multiple.astype(np.intc), excess
