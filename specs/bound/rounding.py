"""Terms that all bounds share: how far so many roundings carry, at most and for random data.

    gamma(c u, ...)   = prod((1 + u)^c) - 1            the largest relative error of c roundings each, ...
    scatter(c u, ...) = sum(c u^2) / 4                 and their relative variance: one rounding deviates by u / 2
    sum_variance      = u^2 n (y^2 / 3 + T2 / 6) / 4   of n additions: partial sums of random terms are a random walk
                                                       that ends in y; T2 is the sum of the terms' squares

Sources: Higham, Accuracy and Stability of Numerical Algorithms, ch. 3 (gamma, any order of summation); Higham & Mary
2019 (rounding errors of random data average out).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from specs.arithmetic.formats import Float64

# How many standard deviations an error of random data may have (see `deviations`), and the standard deviation of one
# rounding over u (at most 1/sqrt(3) over the ulp's half width; 0.5 leaves a margin).
DEVIATIONS = 8.0
TAIL = 1.5  # a result of e times as many elements may have one error that is larger by 1 / TAIL
ROUNDING_DEVIATION = 0.5
HOPELESS = 700.0  # of a growth's exponent, the largest that float64 holds: so many roundings leave nothing right

Size = Float64 | float


def gamma(*roundings: tuple[float, float]) -> float:
    """Largest relative error of (count, unit roundoff) roundings in all: prod((1 + u) ** count) - 1."""
    exponent = sum(count * math.log1p(unit) for count, unit in roundings)
    return math.expm1(min(exponent, HOPELESS))


def grown(additions: Float64, unit: float, *roundings: tuple[float, Size]) -> Float64:
    """Of as many additions, which differ from element to element, and in first order a few roundings more."""
    growth = np.expm1(additions * np.log1p(unit))
    for count, each in roundings:
        growth = growth + count * each
    return np.asarray(growth)


def scatter(*roundings: tuple[Size, Size]) -> Any:
    """Relative variance of (count, unit roundoff) independent roundings in all; an array if one of them is."""
    return ROUNDING_DEVIATION**2 * sum(count * unit**2 for count, unit in roundings)


def sum_variance(unit: float, additions: Size, squared: Float64, squares: Float64, rounded: int = 0) -> Float64:
    """Of a sum in any order; `squared` is y^2, `squares` T2, and each term was rounded so often before."""
    walk = additions * (squared / 3 + squares / 6)
    return np.asarray(scatter((1, unit)) * (walk + rounded * squares if rounded else walk))


def deviations(count: int) -> float:
    """How many standard deviations the largest of `count` errors may have: what one in a million results exceeds.

    The error of a long sum has no normal distribution.  Given the partial sums it has, with a variance that is the sum
    of their squares; but they are a random walk between 0 and the result, and the integral of a Brownian bridge's
    square has a heavy tail: its moment generating function, sqrt(x / sin x) with x = sqrt(2 s), ends at x = pi.  So
    P(|e| > t) falls like exp(-pi t / r) where r is one rounding's standard deviation times sqrt(K T2), the variance is
    r^2 / 6 on average, and the margin of `ROUNDING_DEVIATION` leaves exp(-1.5 t) in standard deviations.  Of three
    million sequential sums in float32, of 400 terms each, one in a million had more than 7.9.
    """
    return DEVIATIONS + math.log(max(count, 1)) / TAIL
