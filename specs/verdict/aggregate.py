"""All errors of a result together: a loss of precision, or a scale a little off, that no single element shows.

The bound of one element leaves eight standard deviations and more, which every error below them fits into.  A
systematic mistake makes all errors larger, or leans them in one direction, and shows in their sum long before it shows
in one of them.
Symbols, per element:
    e       error of the result, less what correct arithmetic may add that does not average out (`Reference.shared`)
    s       standard deviation: s^2 = `Reference.deviation`^2 + ulp^2 / 12, of the rounding of the output to nearest
    z       e / s          T   how many elements are tested          m = T / c   how many of these are independent

RMS.  Of correct arithmetic the mean of z^2 is at most 1 (`ROUNDING_DEVIATION` has a margin), and it strays by
sqrt(2 / m).  More than
    1.2 (1 + 8 sqrt(2 / m))
is coarser arithmetic than was declared.  Correlated errors change how far a mean strays and not what it is: where one
rounding enters a whole group of elements, the groups are what is independent, and m is their number (of covariances C
the mean's variance is 2 |C|^2 / T^2, and a group of c adds at most c^2 to |C|^2).  Hence c =
`Reference.correlated_elements`, a query's features in attention; elements with equal reference values, which have
equal errors, count as one.

Matched filter.  The best estimate of how far the result moved along a direction d is
    beta = sum(e d / s^2) / sum(d^2 / s^2),  of standard error sqrt(c / sum(d^2 / s^2))
(generalised least squares; c by the inequality of Cauchy and Schwarz in each group).  More than eight of these beyond
what is shared,  sum(shared |d| / s^2) / sum(d^2 / s^2) + u^2,  is a bias.  d is the result itself, so that beta is the
relative error of a scale, or its derivative by the logarithm of a scale within (`Reference.direction`).  The u^2 is
there because rounding to nearest is not quite without bias: the error is uncorrelated with what it rounds to, and so
has the correlation -ulp^2 / 12 with what it rounds.

Neither is done where errors do not average out (`Reference.deviation` is None), nor for fewer than 16 independent
elements.  Elements that are exact, zero, subnormal, not finite, or without a limit are left out; their bound is all
that can be asked.  Sources: Higham & Mary 2019, for errors that average out; Turin 1960, An introduction to matched
filters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from specs.arithmetic.double_double import to_float64
from specs.arithmetic.formats import Float64, spacing
from specs.bound.rounding import DEVIATIONS
from specs.reference.reference import Reference

FEWEST = 16  # independent elements: of fewer, a mean of squares tells too little
SLACK = 1.2  # of the mean of squares: it may be 1 exactly, where the rounding of the output is all that there is


TOGETHER = "values are each within the bound, but together"


@dataclass(frozen=True)
class Aggregate:
    """What all errors are together: root mean square of z and beta, each with the largest that correct arithmetic has.

    `rest` is the root mean square of what beta does not explain; `within` says whether beta is that of a scale within
    the computation and not of the result itself.
    """

    rms: float
    rms_limit: float
    bias: float
    bias_limit: float
    rest: float
    within: bool

    @property
    def problem(self) -> str:
        """Empty where this is what correct arithmetic does."""
        if abs(self.bias) > self.bias_limit and self.rest <= self.rms_limit:
            what = "as if a scale within were multiplied" if self.within else "as if scaled"
            found = f"{what} by {1 + self.bias:.8g} (chance: 1 ± {self.bias_limit:.2g})"
        elif self.rms > self.rms_limit:
            found = f"{self.rms:.3g} times as far off as correct arithmetic is (RMS; chance: {self.rms_limit:.3g})"
        else:
            return ""
        return f"{TOGETHER} {found}"


def aggregate(difference: Float64, got: Float64, reference: Reference) -> Aggregate | None:
    """Of a result's components `got`, and `difference`, the reference less these; None where nothing can be said."""
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
    if not tested:
        return None
    y, off, shared = value[used], -difference[used], shared[used]
    repeated = tested / np.unique(np.abs(y)).size
    independent = tested / (reference.correlated_elements + repeated - 1)
    if independent < FEWEST:
        return None
    weight = 1 / (deviation[used] ** 2 + spacing(y, format) ** 2 / 12)
    squares = np.maximum(np.abs(off) - shared, 0.0) ** 2 * weight
    rms_limit = math.sqrt(SLACK * (1 + DEVIATIONS * math.sqrt(2 / independent)))

    along = y if reference.direction is None else np.broadcast_to(reference.direction, value.shape)[used]
    information = float(np.sum(along**2 * weight))
    bias, bias_limit = 0.0, math.inf
    if information > 0 and math.isfinite(information):
        bias = float(np.sum(off * along * weight)) / information
        systematic = float(np.sum(shared * np.abs(along) * weight)) / information + format.unit_roundoff**2
        bias_limit = systematic + DEVIATIONS * math.sqrt(tested / independent / information)
    square = float(np.mean(squares))
    rest = math.sqrt(max(square - bias**2 * information / tested, 0.0))
    return Aggregate(math.sqrt(square), rms_limit, bias, bias_limit, rest, reference.direction is not None)
