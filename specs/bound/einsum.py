"""Reference einsum: its value in higher precision, and the error bound that holds for any order of contraction.

Symbols, per output element, as in the derivation:
    K   number of terms summed (product of the sizes of all summed labels)      n   number of operands
    y   exact result      S   einsum of absolute values      T2   einsum of squares
    u_a, u_m, u_s   unit roundoffs of accumulator, multiplied operand and stored intermediate, as
                    `specs.arithmetic.precision` names them

Any data (Higham, ch. 3): every term passes at most K + n - 2 additions and multiplications, 2n - 2 roundings of
operands on their way into a product, and as many stored intermediates as the contraction can have; hence
    E = gamma((K + n - 2) u_a, (2n - 2) u_m, stages * u_s) * S + underflow + the reference's own error
with one rounding fewer where accumulator and output share a format (the comparison rounds to the output itself).

Independent random terms (Higham & Mary 2019): rounding errors average out, and of `count` output elements
    E = (8 + ln(count) / 1.5) * 0.5
        * sqrt(u_a^2 (K + n - 2) (y^2/3 + T2/6) + 2n u_a^2 T2 + (2n - 2) u_m^2 T2 + stages u_s^2 (T2 + y^2))
which is never used for literal or structured data, nor below a float32 accumulator, where sums can stagnate.

Operands whose dtype is not the result's are converted to it, exactly where the result's dtype holds their values.
Where it does not (`asks_for_dtype`), a conversion rounds once: gamma has (c, u) more, with c the number of operands of
which a value is rounded and u the unit roundoff of the result's dtype, in both forms, since the rounding of one value
enters many terms alike.  Below the normal range a conversion loses up to half the smallest subnormal number, counted
whole so that the other factors' errors are covered; beyond the largest number there is no bound.

Where operands are multiples of a power of two so large that no partial sum needs more digits than every format in
the computation has, every order is exact and E = 0: the result must be the correctly rounded one, bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from specs.arithmetic.double_double import to_float64
from specs.arithmetic.formats import FLOAT32, Array, DType, Float64
from specs.arithmetic.precision import Precision
from specs.bound.einsum_range import Limits
from specs.bound.rounding import gamma, scatter, sum_variance
from specs.bound.uncertainty import Uncertainty
from specs.case.einsum import EinsumConfig
from specs.case.equation import Contraction, Term, bind
from specs.reference.einsum import exact_value
from specs.reference.reference import Reference

MOST_OPERANDS = 8  # of which all partial contractions are looked at, to see which elements share a rounding


def reference(
    config: EinsumConfig, dtype: DType, operands: Sequence[Array], precision: Precision | None, random: bool
) -> Reference:
    """Reference of a case whose result has `dtype`; raises CaseError where the operands give its equation no meaning.

    `random` says that operands hold independent random numbers.
    """
    contraction = bind(config.equation, [operand.shape for operand in operands])
    if precision is None:
        return Reference(dtype, exact_value(contraction, operands, dtype), facts={"terms": contraction.length})
    found = inexact_reference(contraction, operands, dtype, precision, random)
    return replace(found, signed=len(operands) == 1 and not contraction.summed_labels)


def inexact_reference(
    contraction: Contraction,
    operands: Sequence[Array],
    dtype: DType,
    precision: Precision,
    random: bool,
    late: Term = (),
) -> Reference:
    """Reference of a contraction whose result has a floating or complex `dtype`.

    Correct arithmetic may also store what it has before it sums over the labels `late`, as a gradient does of what was
    broadcast along them.
    """
    problem = Limits(contraction, operands, dtype, precision, late)
    random = random and precision.accumulate.precision >= FLOAT32.precision and not precision.truncates
    with np.errstate(all="ignore"):
        e = _of_sum(problem, random)
        error, how = _limited(problem, e.of_random_data() if random else e.error, FORMS[random])
    facts = {"terms": contraction.length, "operands": len(operands), "form": how}
    found = Reference(dtype, problem.value, error, precision, facts)
    if not random or len(operands) > MOST_OPERANDS:
        return found
    return replace(found, deviation=e.deviation, shared=e.shared, coherent=problem.coherent)


FORMS = {False: "any data", True: "random data"}


def _of_sum(problem: Limits, random: bool) -> Uncertainty:
    """Of each element, with a trailing axis for complex values; of data that are not random the largest error alone."""
    p, n, s = problem.precision, problem.n, problem.sum_of_magnitudes
    slack = problem.underflow() + problem.reference_error() * s
    e = Uncertainty(np.asarray(problem.growth * s + slack))
    if not random:
        return e
    y2, t2 = np.abs(to_float64(problem.value)) ** 2, problem.sum_of_squares
    variance = sum_variance(p.u_a, problem.additions, y2, t2, rounded=2 * n if problem.additions else 0)
    variance = variance + scatter((2 * n - 2, p.u_m)) * t2 + scatter((problem.stages, p.u_s)) * (t2 + y2)
    return e.more(0.0, variance, shared=gamma(problem.conversions) * s + slack)


def _limited(problem: Limits, error: Float64, how: str) -> tuple[Float64, str]:
    """The bound E where sums may be exact or overflow, or infinities be met; and which form of it holds."""
    s = problem.sum_of_magnitudes
    exact = problem.exact(s)
    if np.any(exact):
        error = np.where(exact, 0.0, error)
        how = "exact" if np.all(exact) else how
    error = np.where(problem.may_overflow(s * (1 + problem.growth)), np.inf, error)
    if not problem.finite:
        error = np.where(np.isfinite(to_float64(problem.value)), error, 0.0)
        if problem.stages:
            error = np.where(problem.meets_infinity(), np.inf, error)
    return np.asarray(error, np.float64), how
