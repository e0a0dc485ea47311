"""A reference value with the largest error that correct arithmetic can make on it, and the terms such bounds share.

Sources: Higham, Accuracy and Stability of Numerical Algorithms, ch. 3 (gamma, any order of summation); Higham & Mary
2019 (rounding errors of random data average out); ARM TOSA's dot-product compliance (a bound from the sum of
magnitudes).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from specs.case import CaseError
from specs.double_double import DoubleDouble
from specs.formats import Array, DType
from specs.precision import Precision

Float64 = npt.NDArray[np.float64]

# The reference's own arithmetic: float64 for narrower dtypes, double-double (with margin) for float64.
U_REFERENCE = {False: 2.0**-53, True: 2.0**-100}

# How many standard deviations an error of random data may have (see `deviations`), and the standard deviation of one
# rounding over u (at most 1/sqrt(3) over the ulp's half width; 0.5 leaves a margin).
DEVIATIONS = 8.0
TAIL = 1.5  # a result of e times as many elements may have one error that is larger by 1 / TAIL
ROUNDING_DEVIATION = 0.5
HOPELESS = 700.0  # of a growth's exponent, the largest that float64 holds: so many roundings leave nothing right


@dataclass(frozen=True)
class Reference:
    """What a check is compared with.

    value      float64 or DoubleDouble for inexact dtypes (a trailing axis of 2 for complex ones); of the dtype itself
               for exact ones
    error      per element, the largest error before the output is rounded; inf: no limit (a sum may overflow).
               None for exact dtypes
    precision  what was declared; None for exact dtypes
    facts      how the bound came about, for the record
    signed     whether the sign of a zero is implied and compared: nothing is computed, only copied
    deviation  per element, the standard deviation of the error of correct arithmetic before the output is rounded; inf
               where the form does not hold.  None where errors are not known to average out: data that are not random,
               exact dtypes, accumulators below float32, truncation
    shared     per element, what may be added to such an error and does not average out (of a scale, of underflow)
    coherent   of how many elements one rounding may enter, because they share what was rounded; 1: none
    direction  per element, how a relative change of a scale within the computation moves the result; None: as the
               result itself
    """

    dtype: DType
    value: Array | DoubleDouble
    error: Float64 | None = None
    precision: Precision | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    signed: bool = False
    deviation: Float64 | None = None
    shared: Float64 | None = None
    coherent: float = 1.0
    direction: Float64 | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape[:-1] if self.dtype.kind == "complex" else self.value.shape


def gamma(*roundings: tuple[float, float]) -> float:
    """Largest relative error of (count, unit roundoff) roundings in all: prod((1 + u) ** count) - 1."""
    exponent = sum(count * math.log1p(unit) for count, unit in roundings)
    return math.expm1(min(exponent, HOPELESS))


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


def high(values: Array, dtype: DType) -> Any:
    """Operand values in the arithmetic of the dtype's reference (for complex ones call with a component).

    Raises CaseError for integers whose digits double-double would hold, and float64 does not.
    """
    wide = np.asarray(values).astype(np.float64)
    if not uses_double_double(dtype):
        return wide
    if values.dtype.kind in "iu" and largest(values) > 2**53:
        raise CaseError(
            "dtype", f"an integer beyond 2**53 in a sum of {dtype.name} is more than the reference can hold"
        )
    return DoubleDouble(wide)


def largest(integers: Array) -> int:
    """The largest magnitude; 0 of none."""
    return max(-int(integers.min()), int(integers.max())) if integers.size else 0


def uses_double_double(dtype: DType) -> bool:
    return dtype.name in ("float64", "complex128")


def rounded(value: Array | DoubleDouble) -> Float64:
    """The value as float64."""
    return value.rounded if isinstance(value, DoubleDouble) else np.asarray(value, np.float64)
