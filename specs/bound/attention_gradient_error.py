"""The error bound of attention gradients: the uncertainty of each backward step, propagated to the operands.

Symbols as in `specs.reference.attention_gradient` and `specs.bound.attention`: weights P, values V, cotangent dO, D and
D_v the widths of keys and values, N the number of keys a query sees, M that of queries.  e_X is the largest error of X
and s_X^2 the variance of its error on random data, parts of one `specs.bound.uncertainty`; walk(n) is n
(y^2 / 3 + T / 6), of a sum y of n products whose squares add up to T.

    weights      e_P     = P (rho + sum P rho) / (1 - sum P rho), r from the exponents of the forward computation; or
                 where that is large, the distance of P exp(+-r) / sum P exp(-+r) from P
                 + [gamma((N + 2B) u_x) + 4 u_x + 2 u_p + 2 u_a |lse|] P + underflow; the last term because a kernel
                 that stores lse = log sum exp recomputes P = exp(score - lse)
                 s_P^2   = P^2 [s_x^2 + sum P^2 s_x^2 + (u_x^2 (N + 16) + 4 u_p^2 + 4 u_a^2 lse^2) / 4], s_x of scores
    dP           e_dP    = e_dO |V| + |dO| e_V + gamma(D_v u_a, 2 u_m) |dO||V| + u_s |dP|
                 s_dP^2  = [u_a^2 (walk(D_v) + 2 T) + 2 u_m^2 T + u_s^2 dP^2] / 4
    delta        e_delta = sum e_P |dP| + the larger of the errors of the two published forms
                 rowsum(dO * O), O stored:  [gamma((N + 2B + D_v) u_a, 2 u_m) + u_p + u_store] sum_d |dO| sum_j P |V|
                 rowsum(P * dP):            sum (P + e_P) e_dP + gamma(N u_x, u_s) sum P |dP|
                 s_delta^2 = sum s_P^2 dP^2 + the larger of their variances
    dS           e_dS    = e_P |dP - delta| + (P + e_P) (e_dP + e_delta) + gamma(3 u_x, 2 u_s) P (|dP| + |delta|)
                 s_dS^2  = s_P^2 (dP - delta)^2 + P^2 (s_dP^2 + s_delta^2) + (9 u_x^2 + 2 u_s^2) P^2 (...) / 4
                 which covers both P dP - P delta and P (dP - delta): autodiff of a softmax may use either form
    softcap      slope f = 1 - tanh^2, e_f = (2 / cap) f e_B at the end nearer to 0 + (2 TANH_ULPS + 2) u_a + 4 u_s
    products     e_dQ    = |scale| [e_dB (|K| + e_K) + |dB| e_K + gamma(N u_a, 2 u_m, 3 u_store, u_p) |dB||K|]
                 s_dQ^2  = scale^2 [s_dB^2 K^2 + (u_p^2 + 9 u_store^2 + 2 u_m^2) T / 4 + u_a^2 walk(N) / 4]
                 and likewise dK, summed over M queries, and dV from P and dO
    operands     these errors propagate as the gradients do, linearly, and each sum on the way adds
                 gamma(terms u_a, 2 u_m, stored intermediates u_store) times the sum of magnitudes

Magnitudes |X||Y| are sums of products of absolute values.  The softmax has u_x, or u_a if that is coarser.

Two errors do not average out.  The error of delta is shared along its row: s_dQ^2 gains s_delta^2 (scale sum_j P_j
k_j)^2.  The relative error of the scale, max(u_s, 2 u_a), is shared by all scores and moves each result along its
derivative by log(scale): it is the shared part of each step.  Variances are not valid with projections, rotary or
relative positions, where one rounding enters many results, nor below float32, where sums stagnate.

Gradients that depend on a query whose output is not finite, or on a score or gradient that may overflow, have no
bound.
Sources: Higham, Accuracy and Stability, ch. 3; Higham & Mary 2019; Dao et al. 2022, appendix B.2 and algorithm 4 (both
forms of delta).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np

from specs.arithmetic.double_double import to_float64
from specs.arithmetic.formats import Bools, Float64
from specs.bound.attention_gradient_forward import Forward
from specs.bound.rounding import elementwise_gamma, gamma, relative_variance, sum_variance
from specs.bound.score import TANH_ULPS, biased_uncertainty
from specs.bound.uncertainty import Uncertainty, propagate_product
from specs.case.layout import to_heads
from specs.reference.attention import score_products, weighted_sum
from specs.reference.attention_gradient import (
    Gradients,
    find_differentiable_rows,
    project_back,
    softcap_slope,
    sum_over_queries,
)


@dataclass(frozen=True)
class Errors(Forward):
    """The uncertainty of each backward step of one attention.

    d            exact gradients of each step
    variable     bhqk, the scores that the weights depend on
    """

    d: Gradients
    variable: Bools

    @cached_property
    def differentiable(self) -> Bools:
        """bhq1: queries that have a derivative, and whose scores and gradients cannot overflow."""
        p, d = self.precision, self.d
        limit = min(p.intermediate.max, p.accumulate.max)
        reach = score_products(np.abs(d.heads), self.values).max(axis=-1, keepdims=True, initial=0.0)
        return np.asarray(find_differentiable_rows(self.stages.exact) & ~self.scores.unbounded & (reach < limit))

    @cached_property
    def e_dO(self) -> Uncertainty:
        c, p = self.config, self.precision
        error = np.zeros_like(self.d.heads)
        if c.projections and c.projections.output:
            growth = gamma((self.magnitudes_by_name["output_weight"].shape[0], p.u_a), (2, p.u_m), (1, self.u_stored))
            error = growth * to_heads(c, project_back(c, self.magnitudes_by_name, np.abs(self.d.output)), c.num_heads)
            error = error * (c.scale or 0.0) if c.scale_at == "weights" else error
        return Uncertainty(error + (2 * p.u_a + self.u_stored) * np.abs(self.d.heads) * (c.scale_at == "weights"))

    @cached_property
    def e_dP(self) -> Uncertainty:
        c, p, dO, dP = self.config, self.precision, self.d.heads, self.d.weights
        relative = c.relative is not None and c.relative.values
        factor_roundings = (2, p.u_m), (relative + (c.scale_at == "weights"), self.u_stored)
        growth = gamma((c.value_dim, p.u_a), *factor_roundings)
        e = propagate_product(score_products, dO, self.e_dO, self.values, self.e_V, growth)
        squares = score_products(dO**2, self.values**2)
        variance_of_sum = sum_variance(p.u_a, c.value_dim, dP**2, squares, rounded=2)
        variance = variance_of_sum + (
            relative_variance((1, p.u_s)) * dP**2 + relative_variance(*factor_roundings) * squares
        )
        e = e.enlarge(p.u_s * np.abs(dP), variance).enlarge(self.underflow, self.underflow**2)
        return e.enlarge(c.value_dim * self.product_underflow)

    @cached_property
    def e_delta(self) -> Uncertainty:
        dP = self.d.weights
        error, variance = self.e_P.error * np.abs(dP), self.e_P.variance * dP**2
        shared = self.u_scale * np.abs((self.scale_derivative * dP).sum(axis=-1, keepdims=True))
        e = Uncertainty(error.sum(axis=-1, keepdims=True), variance.sum(axis=-1, keepdims=True), shared)
        e = e.add(self._delta_from_output().maximum(self._delta_from_weights()))
        return e.enlarge(self.underflow, self.underflow**2)

    def _delta_from_output(self) -> Uncertainty:
        """The part of e_delta from rowsum(dO * O)."""
        c, p, w, dO = self.config, self.precision, self.weights, self.d.heads
        magnitudes = weighted_sum(w, self.values)
        outputs, squares = (
            weighted_sum(w, to_float64(self.stages.exact.values)) ** 2,
            weighted_sum(w**2, self.values**2),
        )
        value_roundings = (2, p.u_m), (1, p.u_p)
        growth = elementwise_gamma(self.additions + c.value_dim, p.u_a, *value_roundings, (2, self.u_stored))
        error = growth * (np.abs(dO) * magnitudes).sum(axis=-1, keepdims=True)
        variance = relative_variance((2, self.u_stored), (c.value_dim, p.u_a)) * outputs
        variance = variance + relative_variance(*value_roundings) * squares
        variance = variance + sum_variance(p.u_a, self.additions, outputs, squares)
        error = error + (self.e_dO.error * magnitudes).sum(axis=-1, keepdims=True)
        return Uncertainty(error, (dO**2 * variance).sum(axis=-1, keepdims=True))

    def _delta_from_weights(self) -> Uncertainty:
        """The part of e_delta from rowsum(P * dP)."""
        w, dP, u_x, u_s = self.weights, self.d.weights, self.u_x, self.precision.u_s
        growth = elementwise_gamma(self.additions, u_x, (2, u_s))
        error = (w + self.e_P.error) * self.e_dP.error + growth * w * np.abs(dP)
        variance = w**2 * (self.e_dP.variance + relative_variance((self.additions, u_x), (2, u_s)) * dP**2)
        return Uncertainty(error.sum(axis=-1, keepdims=True), variance.sum(axis=-1, keepdims=True))

    @cached_property
    def e_dS(self) -> Uncertainty:
        w, dP, delta, u_x, u_s = self.weights, self.d.weights, self.d.delta, self.u_x, self.precision.u_s
        e = propagate_product(np.multiply, dP - delta, self.e_dP.add(self.e_delta), w, self.e_P)
        error = gamma((3, u_x), (2, u_s)) * w * (np.abs(dP) + np.abs(delta))
        e = e.enlarge(error, relative_variance((9, u_x), (2, u_s)) * w**2 * (dP**2 + delta**2))
        return self._restrict_to_variable(e.enlarge(self.underflow, self.underflow**2))

    def _restrict_to_variable(self, e: Uncertainty) -> Uncertainty:
        """Zero for scores that the weights do not depend on, infinite where there is no derivative."""
        e = e.map(lambda x: np.where(self.variable, x, 0.0))
        return replace(e, error=np.where(self.differentiable, e.error, np.inf))

    @cached_property
    def e_dsink(self) -> Uncertainty:
        """The uncertainty of P delta, with the sink's weight for P."""
        w, delta, relative = self.sink_weights, np.abs(self.d.delta), self.sink_error
        e_weight, e_delta = self.quotient_error(w, relative), self.e_delta
        error = e_weight * delta + (w + e_weight) * e_delta.error
        error = error + gamma((3, self.u_x), (2, self.precision.u_s)) * w * delta + self.underflow
        variance = w**2 * (e_delta.variance + (relative**2 + self.row_variance) * delta**2) + self.underflow**2
        shared = w * (e_delta.shared + self.u_scale * np.abs(self.mean * delta))
        return Uncertainty(np.where(self.differentiable, error, np.inf), variance, shared)

    @cached_property
    def slope(self) -> Float64:
        """f, the derivative of the softcap."""
        softcap, exact = self.config.softcap, self.stages.exact
        return to_float64(softcap_slope(softcap, exact)) if softcap else np.ones_like(self.weights)

    @cached_property
    def e_f(self) -> Uncertainty:
        p, exact, cap = self.precision, self.stages.exact, self.config.softcap or math.inf
        e_B, biased = biased_uncertainty(self.stages), to_float64(exact.biased)
        nearer = replace(exact, biased=np.maximum(np.abs(biased) - e_B.error, 0.0))
        e = Uncertainty(
            2 / cap * softcap_slope(cap, nearer) * e_B.error,
            (2 / cap * self.slope) ** 2 * e_B.variance,
            self.u_scale * np.where(self.variable, np.abs(2 / cap * biased) * self.slope, 0.0),
        ).add_independent((2 * TANH_ULPS + 2) * p.u_a + 4 * p.u_s)
        return replace(e, error=np.minimum(e.error, 1.0))

    @cached_property
    def e_dB(self) -> Uncertainty:
        if not self.config.softcap:
            return self.e_dS
        dB, roundings = self.d.biased, ((3, self.precision.u_a), (3, self.precision.u_s))
        e = propagate_product(np.multiply, self.d.scores, self.e_dS, self.slope, self.e_f)
        e = e.enlarge(gamma(*roundings) * np.abs(dB), relative_variance(*roundings) * dB**2)
        return self._restrict_to_variable(e.enlarge(self.underflow, self.underflow**2))

    @cached_property
    def e_dQ(self) -> Uncertainty:
        c, dB, dQ, scale = self.config, self.d.biased, self.d.query, self.config.score_scale
        growth = self._sum_growth(c.kv_len)
        e = propagate_product(weighted_sum, dB, self._e_dB_scaled, self.keys, self.e_K, growth).scale_by(scale)
        variance_of_sum = self._sum_variance(c.kv_len, dQ, scale**2 * weighted_sum(dB**2, self.keys**2))
        e = e.enlarge(c.kv_len * self.product_underflow, variance_of_sum, self.u_scale * np.abs(dQ))
        row_factor = (scale * weighted_sum(self.weights * self.slope, to_float64(self.stages.exact.keys))) ** 2
        return e.enlarge(0.0, self.e_delta.variance * row_factor)

    @cached_property
    def e_dK(self) -> Uncertainty:
        c, dB, dK, scale = self.config, self.d.biased, self.d.keys, self.config.score_scale
        sum_rows = partial(sum_over_queries, ndim=self.keys.ndim)
        growth = self._sum_growth(c.q_len)
        e = propagate_product(sum_rows, dB, self._e_dB_scaled, self.query, self.e_Q, growth).scale_by(scale)
        variance_of_sum = self._sum_variance(c.q_len, dK, scale**2 * sum_rows(dB**2, self.query**2))
        return e.enlarge(c.q_len * self.product_underflow, variance_of_sum, self.u_scale * np.abs(dK))

    @cached_property
    def e_dV(self) -> Uncertainty:
        n, w, dO, dV = self.config.q_len, self.weights, self.d.heads, self.d.values
        sum_rows = partial(sum_over_queries, ndim=self.values.ndim)
        e_P = self.e_P.enlarge(np.where(self.differentiable, 0.0, np.inf))
        e = propagate_product(sum_rows, w, e_P, dO, self.e_dO, self._sum_growth(n))
        e = e.enlarge(n * self.product_underflow, self._sum_variance(n, dV, sum_rows(w**2, dO**2)))
        return replace(e, shared=self.u_scale * np.abs(sum_rows(self.scale_derivative, dO)))

    @property
    def _e_dB_scaled(self) -> Uncertainty:
        """The uncertainty of dB, including the underflow of scale * dB."""
        underflow = self.underflow / max(self.config.score_scale, self.u_stored)
        return self.e_dB.enlarge(np.where(self.variable, underflow, 0.0))

    def _sum_growth(self, terms: int) -> float:
        """Relative error of a sum over keys or queries whose factors may be stored."""
        p = self.precision
        return gamma((3, self.u_stored), (2, p.u_m), (1, p.u_p)) + gamma((terms, p.u_a))

    def _sum_variance(self, terms: int, total: Float64, squares: Float64) -> Float64:
        """The variance of the same sum; three stores count as one with three times the unit roundoff."""
        p = self.precision
        factor_roundings = relative_variance((1, p.u_p), (9, self.u_stored), (2, p.u_m))
        return sum_variance(p.u_a, terms, total**2, squares) + factor_roundings * squares

    @cached_property
    def e_O(self) -> Uncertainty:
        """The largest error of the heads, before they are merged and projected."""
        c, p = self.config, self.precision
        e = propagate_product(weighted_sum, self.weights, self.e_P, self.values, self.e_V)
        growth = elementwise_gamma(self.additions, p.u_a, (2, p.u_m), (1, p.u_p), (2, self.u_stored))
        magnitudes = weighted_sum(self.weights + self.e_P.error, self.values + self.e_V.error)
        scale = c.scale or 0.0 if c.scale_at == "weights" else 1.0
        return Uncertainty(np.where(self.differentiable, (e.error + growth * magnitudes) * scale, np.inf))

    @property
    def steps(self) -> Gradients:
        """The uncertainty of every step."""
        return Gradients(
            output=Uncertainty(np.zeros_like(self.d.output)),
            heads=self.e_dO,
            weights=self.e_dP,
            delta=self.e_delta,
            scores=self.e_dS,
            sink=self.e_dsink,
            biased=self.e_dB,
            query=self.e_dQ,
            keys=self.e_dK,
            values=self.e_dV,
        )
