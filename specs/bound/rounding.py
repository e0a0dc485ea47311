"""The rounding errors that all bounds are made of, for any data and for random data.

    gamma(c u, ...)             = prod((1 + u)^c) - 1           largest relative error of c roundings of unit roundoff u
    relative_variance(c u, ...) = sum(c u^2) / 4                of the same, independent: each deviates by u / 2
    storage_error               = min(u (|x| + e) + underflow, e + |x - RN(x)|) of a number within e of x, stored:
                                  it is rounded to the nearest number of the format, which is no farther than RN(x); so
                                  what the format holds, as a product with a power of two, is stored without an error
    sum_variance                = u^2 n (y^2 / 3 + T2 / 6) / 4  of n additions: the partial sums of random terms are a
                                                                random walk that ends in y; T2 is the sum of the
                                                                squared terms

Sources: Higham, Accuracy and Stability of Numerical Algorithms, ch. 3 (gamma, any order of summation); Higham & Mary
2019 (rounding errors of random data average out).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from specs.arithmetic.formats import FLOAT32, Float64, Format, round_to
from specs.arithmetic.precision import Precision

# The limit of an error of random data in standard deviations (see `max_deviations`), and the standard deviation of one
# rounding over u (at most 1/sqrt(3) over the ulp's half width; 0.5 leaves a margin).
DEVIATIONS = 8.0
TAIL_RATE = 1.5  # the limit grows by 1 / TAIL_RATE deviations when the number of elements grows by a factor of e
ROUNDING_DEVIATION = 0.5
BLOCKS = 64  # of an online softmax, each of which rescales the sums once
MAX_EXPONENT = 700.0  # of gamma, so that it does not overflow float64: no digit is certain after so many roundings

FORMS = {False: "any data", True: "random data"}  # of a bound, by whether it relies on errors that average out

Size = Float64 | float


def errors_average_out(precision: Precision, *sums: Format) -> bool:
    """Whether rounding errors of random data average out in a computation that sums in these formats.

    They do not in a format below float32, where long sums stagnate, nor with truncation, which is biased.
    """
    return min(format.precision for format in sums) >= FLOAT32.precision and not precision.truncates


def gamma(*roundings: tuple[float, float]) -> float:
    """Largest relative error of all (count, unit roundoff) roundings together: prod((1 + u) ** count) - 1."""
    exponent = sum(count * math.log1p(unit) for count, unit in roundings)
    return math.expm1(min(exponent, MAX_EXPONENT))


def elementwise_gamma(additions: Float64, unit: float, *roundings: tuple[float, Size]) -> Float64:
    """gamma of a number of additions that differs per element, plus a few more roundings in first order."""
    growth = np.expm1(additions * np.log1p(unit))
    for count, unit_roundoff in roundings:
        growth = growth + count * unit_roundoff
    return np.asarray(growth)


def storage_error(p: Precision, format: Format, value: Float64, error: Size = 0.0) -> Float64:
    """Largest error of storing what is within `error` of `value`; 0 where sums are no finer than the format."""
    if format.precision >= p.accumulate.precision:
        return np.zeros(())
    underflow = format.tiny if p.flushes else format.smallest
    any_number = np.asarray(format.unit_roundoff * (np.abs(value) + error) + np.where(value == 0, 0.0, underflow))
    if p.truncates or format.precision >= FLOAT32.precision:
        return any_number
    distance = np.abs(value - round_to(value, format))
    if p.flushes:
        distance = np.where(np.abs(value) < format.tiny, np.abs(value), distance)
    return np.minimum(any_number, error + distance)


def relative_variance(*roundings: tuple[Size, Size]) -> Any:
    """Relative variance of all (count, unit roundoff) independent roundings together; an array if any of them is."""
    return ROUNDING_DEVIATION**2 * sum(count * unit**2 for count, unit in roundings)


def sum_variance(unit: float, additions: Size, squared: Float64, squares: Float64, rounded: int = 0) -> Float64:
    """Variance of a sum in any order: `squared` is y^2, `squares` T2, `rounded` the earlier roundings per term."""
    walk = additions * (squared / 3 + squares / 6)
    return np.asarray(relative_variance((1, unit)) * (walk + rounded * squares if rounded else walk))


def max_deviations(count: int) -> float:
    """The limit of the largest of `count` errors, in standard deviations: one in a million results exceeds it.

    The error of a long sum is not normally distributed.  Given the partial sums it is, with the sum of their squares as
    variance; but they are a random walk between 0 and the result, and the integral of a Brownian bridge's
    square has a heavy tail: its moment generating function, sqrt(x / sin x) with x = sqrt(2 s), ends at x = pi.  So
    P(|e| > t) falls like exp(-pi t / r) where r is one rounding's standard deviation times sqrt(K T2), the variance is
    r^2 / 6 on average, which with the margin of `ROUNDING_DEVIATION` is exp(-1.5 t) for t in standard deviations.  Of
    three million sequential sums in float32, of 400 terms each, one in a million had more than 7.9.
    """
    return DEVIATIONS + math.log(max(count, 1)) / TAIL_RATE
