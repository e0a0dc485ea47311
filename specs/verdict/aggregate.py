"""Statistical tests over all errors of a result: they detect a loss of precision, or a slightly wrong scale, that stays
within the bound of every single element.

The bound of one element is eight standard deviations or more, and any smaller error passes it.  A systematic mistake
makes all errors larger, or shifts them in one direction, and becomes visible in their sum long before it does in one
element.
Symbols, per element:
    e       error of the result, less the part of correct arithmetic that does not average out (`Reference.shared`)
    s       standard deviation: s^2 = `Reference.deviation`^2 + ulp^2 / 12, the latter for rounding the output
    z       e / s          T   number of elements tested          m = T / c   effective number of independent elements

RMS.  For correct arithmetic the mean of z^2 is at most 1 (`ROUNDING_DEVIATION` has a margin), with standard deviation
sqrt(2 / m).  More than
    1.2 (1 + 8 sqrt(2 / m))
means coarser arithmetic than was declared.  Correlated errors change the variance of a mean but not its expectation:
where one rounding affects a whole group of elements, only the groups are independent, and m is their number (with
covariance matrix C the mean's variance is 2 |C|^2 / T^2, and a group of c elements adds at most c^2 to |C|^2).  Hence
c = `Reference.correlated_elements`, the features of a query in attention; elements with equal reference values have
equal errors and count as one.

Matched filter.  The best estimate of how far the result moved along a direction d is
    beta = sum(e d / s^2) / sum(d^2 / s^2),  with standard error sqrt(c / sum(d^2 / s^2))
(generalised least squares; c by the Cauchy-Schwarz inequality within each group).  An estimate that exceeds the shared
part,  sum(shared |d| / s^2) / sum(d^2 / s^2) + u^2,  by more than eight standard errors is a bias.  d is the result
itself, so that beta is the relative error of a scale, or its derivative by the logarithm of an inner scale
(`Reference.direction`).  The term u^2 allows for the small bias of rounding to nearest: the error is uncorrelated with
the rounded value, and so has covariance -ulp^2 / 12 with the value before rounding.

Neither test is made where errors do not average out (`Reference.deviation` is None), nor for fewer than 16 independent
elements.  Elements that are exact, zero, subnormal, not finite, or unbounded are left out; for them the bound is the
only test.  Sources: Higham & Mary 2019, for errors that average out; Turin 1960, An introduction to matched filters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from specs.arithmetic.double_double import to_float64
from specs.arithmetic.formats import Float64, spacing
from specs.bound.rounding import DEVIATIONS
from specs.reference.reference import Reference

MIN_INDEPENDENT = 16  # independent elements: with fewer, the mean of squares is too uncertain
SLACK = 1.2  # on the mean of squares, which is exactly 1 where rounding the output is the only error


TOGETHER = "values are each within the bound, but together"


@dataclass(frozen=True)
class Aggregate:
    """Root mean square of z, and the bias beta, each with the largest value that correct arithmetic can reach.

    `residual_rms` is the root mean square of what beta does not explain; `inner_scale` is True where beta belongs to a
    scale within the computation instead of the result itself.
    """

    rms: float
    rms_limit: float
    bias: float
    bias_limit: float
    residual_rms: float
    inner_scale: bool

    @property
    def problem(self) -> str:
        """Empty where both are within what correct arithmetic can reach."""
        if abs(self.bias) > self.bias_limit and self.residual_rms <= self.rms_limit:
            effect = "as if a scale within were multiplied" if self.inner_scale else "as if scaled"
            finding = f"{effect} by {1 + self.bias:.8g} (chance: 1 ± {self.bias_limit:.2g})"
        elif self.rms > self.rms_limit:
            finding = f"{self.rms:.3g} times as far off as correct arithmetic is (RMS; chance: {self.rms_limit:.3g})"
        else:
            return ""
        return f"{TOGETHER} {finding}"


def aggregate(difference: Float64, got: Float64, reference: Reference) -> Aggregate | None:
    """Test all errors together, or return None where no test applies.

    `got` holds the components of the result, `difference` the reference minus these.
    """
    if reference.deviation is None or reference.shared is None or reference.error is None:
        return None
    assert reference.precision is not None
    format, value = reference.precision.storage, to_float64(reference.value)
    deviation, shared, error = (
        np.broadcast_to(x, value.shape) for x in (reference.deviation, reference.shared, reference.error)
    )
    with np.errstate(all="ignore"):
        largest = np.abs(value) + error
        used = np.isfinite(got) & (np.abs(value) >= format.tiny) & (largest < format.max) & (error > 0)
        used &= (deviation > 0) & np.isfinite(deviation) & np.isfinite(shared)
    tested = int(np.count_nonzero(used))
    if tested < MIN_INDEPENDENT:
        return None
    y, errors, shared = value[used], -difference[used], shared[used]
    repetitions = tested / np.unique(np.abs(y)).size
    independent = tested / (reference.correlated_elements + repetitions - 1)
    if independent < MIN_INDEPENDENT:
        return None
    weight = 1 / (deviation[used] ** 2 + spacing(y, format) ** 2 / 12)
    squares = np.maximum(np.abs(errors) - shared, 0.0) ** 2 * weight
    rms_limit = math.sqrt(SLACK * (1 + DEVIATIONS * math.sqrt(2 / independent)))

    direction = y if reference.direction is None else np.broadcast_to(reference.direction, value.shape)[used]
    information = float(np.sum(direction**2 * weight))
    bias, bias_limit = 0.0, math.inf
    if information > 0 and math.isfinite(information):
        bias = float(np.sum(errors * direction * weight)) / information
        systematic = float(np.sum(shared * np.abs(direction) * weight)) / information + format.unit_roundoff**2
        bias_limit = systematic + DEVIATIONS * math.sqrt(tested / independent / information)
    mean_square = float(np.mean(squares))
    residual_rms = math.sqrt(max(mean_square - bias**2 * information / tested, 0.0))
    return Aggregate(math.sqrt(mean_square), rms_limit, bias, bias_limit, residual_rms, reference.direction is not None)
