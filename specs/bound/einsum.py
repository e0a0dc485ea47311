"""The forward error bound of einsum, valid for any order of contraction.

Symbols, per output element:
    K   number of terms summed (product of the sizes of all summed labels)      n   number of operands
    y   exact result      S   einsum of absolute values      T2   einsum of squares
    u_a, u_m, u_s   unit roundoffs of accumulator, multiplied operand and stored intermediate, as in
                    `specs.arithmetic.precision`

Any data (Higham, ch. 3): each term is subject to at most K + n - 2 additions and multiplications, 2n - 2 roundings of
operands before a multiplication, and the stored intermediates (stages) that the contraction can have; hence
    E = gamma((K + n - 2) u_a, (2n - 2) u_m, stages * u_s) * S + underflow + the reference's own error
with one rounding fewer where accumulator and output share a format (the comparison rounds to the output itself).

Independent random terms (Higham & Mary 2019): rounding errors average out, and for `count` output elements
    E = (8 + ln(count) / 1.5) * 0.5
        * sqrt(u_a^2 (K + n - 2) (y^2/3 + T2/6) + 2n u_a^2 T2 + (2n - 2) u_m^2 T2 + stages u_s^2 (T2 + y^2))
which is not used for literal or structured data, nor with an accumulator below float32, where sums can stagnate.

Operands of another dtype are converted to the result's dtype, exactly where that holds their values.  Where it does not
(`asks_for_dtype`), a conversion rounds once: gamma gains (c, u), with c the number of operands that have a rounded
value and u the unit roundoff of the result's dtype, in both forms, since one rounded value enters many terms.  Below
the normal range a conversion loses up to half the smallest subnormal number; the whole of it is counted, to cover the
errors of the other factors.  Beyond the largest number there is no bound.

Where all operands are multiples of so large a power of two that every partial sum fits the precision of every format
of the computation, every order is exact and E = 0: the result must be the correctly rounded one, bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from specs.arithmetic.double_double import to_float64
from specs.arithmetic.formats import Array, DType, Float64
from specs.arithmetic.precision import Precision
from specs.bound.einsum_range import Limits
from specs.bound.rounding import FORMS, errors_average_out, gamma, relative_variance, sum_variance
from specs.bound.uncertainty import Uncertainty
from specs.case.einsum import EinsumConfig
from specs.case.equation import Contraction, Term, bind
from specs.reference.einsum import evaluate_exactly
from specs.reference.reference import Reference

MOST_OPERANDS = 8  # up to which all partial contractions are enumerated, to count correlated elements


def reference(
    config: EinsumConfig, dtype: DType, operands: Sequence[Array], precision: Precision | None, random: bool
) -> Reference:
    """The reference of a case whose result has `dtype`; raises CaseError where the shapes do not fit the equation.

    `random`: operands hold independent random numbers.
    """
    contraction = bind(config.equation, [operand.shape for operand in operands])
    if precision is None:
        return Reference(dtype, evaluate_exactly(contraction, operands, dtype), facts={"terms": contraction.length})
    bounded = inexact_reference(contraction, operands, dtype, precision, random)
    return replace(bounded, signed=len(operands) == 1 and not contraction.summed_labels)


def inexact_reference(
    contraction: Contraction,
    operands: Sequence[Array],
    dtype: DType,
    precision: Precision,
    random: bool,
    deferred: Term = (),
) -> Reference:
    """The reference of a contraction whose result has a floating or complex `dtype`.

    `deferred` are labels of a deferred sum: correct arithmetic may store the product before it sums over them, as the
    gradient of an operand that was broadcast along them does.
    """
    problem = Limits(contraction, operands, dtype, precision, deferred)
    random = random and errors_average_out(precision, precision.accumulate)
    with np.errstate(all="ignore"):
        e = _sum_uncertainty(problem, random)
        error, form = _apply_limits(problem, e.random_data_limit() if random else e.error, FORMS[random])
    facts = {"terms": contraction.length, "operands": len(operands), "form": form}
    bounded = Reference(dtype, problem.value, error, precision, facts)
    if not random or len(operands) > MOST_OPERANDS:
        return bounded
    return replace(bounded, deviation=e.deviation, shared=e.shared, correlated_elements=problem.correlated_elements)


def _sum_uncertainty(problem: Limits, random: bool) -> Uncertainty:
    """Uncertainty of each element (complex: with a trailing axis); only the largest error unless data are random."""
    p, n, s = problem.precision, problem.n, problem.sum_of_magnitudes
    slack = problem.underflow() + problem.reference_error() * s
    e = Uncertainty(np.asarray(problem.growth * s + slack))
    if not random:
        return e
    y2, t2 = np.abs(to_float64(problem.value)) ** 2, problem.sum_of_squares
    variance = sum_variance(p.u_a, problem.additions, y2, t2, rounded=2 * n if problem.additions else 0)
    variance = (
        variance + relative_variance((2 * n - 2, p.u_m)) * t2 + relative_variance((problem.stages, p.u_s)) * (t2 + y2)
    )
    return e.enlarge(0.0, variance, shared=gamma(problem.conversions) * s + slack)


def _apply_limits(problem: Limits, error: Float64, form: str) -> tuple[Float64, str]:
    """The bound E and the name of its form, where sums may be exact, overflow or have infinite terms."""
    s = problem.sum_of_magnitudes
    exact = problem.is_exact(s)
    if np.any(exact):
        error = np.where(exact, 0.0, error)
        form = "exact" if np.all(exact) else form
    error = np.where(problem.may_overflow(s * (1 + problem.growth)), np.inf, error)
    if not problem.is_finite:
        error = np.where(np.isfinite(to_float64(problem.value)), error, 0.0)
        if problem.stages:
            error = np.where(problem.depends_on_order(), np.inf, error)
    return np.asarray(error, np.float64), form
