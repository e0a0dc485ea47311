"""How wrong may correct gradients of attention be?  The uncertainty of each step backwards, carried on to the operands.

Symbols as in `specs.reference.attention_gradient` and `specs.bound.attention`: weights P, values V, cotangent dO, D and
D_v the widths of keys and values, N the number of keys a query sees, M that of queries.  e_X is the largest error of X
and s_X^2 the variance of its error on random data, parts of one `specs.bound.uncertainty`; walk(n) is n
(y^2 / 3 + T / 6), of a sum y of n products whose squares add up to T.

    weights      e_P     = P (rho + sum P rho) / (1 - sum P rho), r from the exponents of the forward computation; or
                 where that is large, how far P exp(+-r) / sum P exp(-+r) can be from P
                 + [gamma((N + 2B) u_x) + 4 u_x + 2 u_p + 2 u_a |lse|] P, and what the format flushes; the last term
                 because a kernel that keeps lse = log sum exp computes P = exp(score - lse) anew
                 s_P^2   = P^2 [s_x^2 + sum P^2 s_x^2 + (u_x^2 (N + 16) + 4 u_p^2 + 4 u_a^2 lse^2) / 4], s_x of scores
    dP           e_dP    = e_dO |V| + |dO| e_V + gamma(D_v u_a, 2 u_m) |dO||V| + u_s |dP|
                 s_dP^2  = [u_a^2 (walk(D_v) + 2 T) + 2 u_m^2 T + u_s^2 dP^2] / 4
    delta        e_delta = sum e_P |dP| + the larger of what either published form adds
                 rowsum(dO * O), O stored:  [gamma((N + 2B + D_v) u_a, 2 u_m) + u_p + u_store] sum_d |dO| sum_j P |V|
                 rowsum(P * dP):            sum (P + e_P) e_dP + gamma(N u_x, u_s) sum P |dP|
                 s_delta^2 = sum s_P^2 dP^2 + the larger of what these add
    dS           e_dS    = e_P |dP - delta| + (P + e_P) (e_dP + e_delta) + gamma(3 u_x, 2 u_s) P (|dP| + |delta|)
                 s_dS^2  = s_P^2 (dP - delta)^2 + P^2 (s_dP^2 + s_delta^2) + (9 u_x^2 + 2 u_s^2) P^2 (...) / 4
                 in which P dP - P delta is covered as P (dP - delta) is: autodiff of a softmax may take either form
    softcap      slope f = 1 - tanh^2, e_f = (2 / cap) f e_B at the nearer end + (2 TANH_ULPS + 2) u_a + 4 u_s
    products     e_dQ    = |scale| [e_dB (|K| + e_K) + |dB| e_K + gamma(N u_a, 2 u_m, 3 u_store, u_p) |dB||K|]
                 s_dQ^2  = scale^2 [s_dB^2 K^2 + (u_p^2 + 9 u_store^2 + 2 u_m^2) T / 4 + u_a^2 walk(N) / 4]
                 and in the same way dK over M queries, and dV from P and dO
    operands     what is above goes the way of the gradients themselves, which is linear, and each sum on the way adds
                 gamma(terms u_a, 2 u_m, stored intermediates u_store) times the sum of magnitudes

Magnitudes |X||Y| stand for the sums of products of absolute values.  Softmax runs with u_x, or u_a if that is coarser.

Two errors do not average out.  A row shares its error of delta: s_dQ^2 gains s_delta^2 (scale sum_j P_j k_j)^2.  All
scores share one relative error of the scale, max(u_s, 2 u_a), which moves every result along its derivative by
log(scale): that is the shared part of each step.  Variances are valid without projections, rotary and relative
positions, in which one rounding enters many results, and not below float32, where sums stagnate.

Where a query's output is not finite, or a score or gradient may overflow its format, all that it enters is unlimited.
Sources: Higham, Accuracy and Stability, ch. 3; Higham & Mary 2019; Dao et al. 2022, appendix B.2 and algorithm 4 (both
forms of delta).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np

from specs.arithmetic.double_double import to_float64
from specs.arithmetic.formats import Float64
from specs.bound.attention_gradient_forward import Forward
from specs.bound.rounding import gamma, grown, scatter, sum_variance
from specs.bound.score import TANH_ULPS, before_softcap
from specs.bound.uncertainty import Uncertainty, through
from specs.case.layout import to_heads
from specs.reference.attention import products, weighted
from specs.reference.attention_gradient import (
    Gradients,
    merged,
    over_queries,
    softcap_slope,
)


@dataclass(frozen=True)
class Errors(Forward):
    """How far one attention's gradients may be off, from step to step backwards."""

    @cached_property
    def e_dO(self) -> Uncertainty:
        c, p = self.config, self.precision
        error = np.zeros_like(self.d.heads)
        if c.projections and c.projections.output:
            growth = gamma((self.sizes["output_weight"].shape[0], p.u_a), (2, p.u_m), (1, self.stored))
            error = growth * to_heads(c, merged(c, self.sizes, np.abs(self.d.output)), c.num_heads)
            error = error * (c.scale or 0.0) if c.scale_at == "weights" else error
        return Uncertainty(error + (2 * p.u_a + self.stored) * np.abs(self.d.heads) * (c.scale_at == "weights"))

    @cached_property
    def e_dP(self) -> Uncertainty:
        c, p, dO, dP = self.config, self.precision, self.d.heads, self.d.weights
        relative = c.relative is not None and c.relative.values
        of_factors = (2, p.u_m), (relative + (c.scale_at == "weights"), self.stored)
        e = through(products, dO, self.e_dO, self.values, self.e_V, gamma((c.value_dim, p.u_a), *of_factors))
        squares = products(dO**2, self.values**2)
        of_sum = sum_variance(p.u_a, c.value_dim, dP**2, squares, rounded=2)
        variance = of_sum + (scatter((1, p.u_s)) * dP**2 + scatter(*of_factors) * squares)
        return e.more(p.u_s * np.abs(dP), variance).more(self.lost, self.lost**2).more(c.value_dim * self.lost_term)

    @cached_property
    def e_delta(self) -> Uncertainty:
        dP = self.d.weights
        error, variance = self.e_P.error * np.abs(dP), self.e_P.variance * dP**2
        shared = self.u_scale * np.abs((self.along_scale * dP).sum(axis=-1, keepdims=True))
        e = Uncertainty(error.sum(axis=-1, keepdims=True), variance.sum(axis=-1, keepdims=True), shared)
        return e.plus(self._row_of_output().either(self._row_of_weights())).more(self.lost, self.lost**2)

    def _row_of_output(self) -> Uncertainty:
        """What rowsum(dO * O) adds to e_delta."""
        c, p, w, dO = self.config, self.precision, self.weights, self.d.heads
        magnitudes = weighted(w, self.values)
        outputs, squares = weighted(w, to_float64(self.stages.exact.values)) ** 2, weighted(w**2, self.values**2)
        of_values = (2, p.u_m), (1, p.u_p)
        growth = grown(self.seen + c.value_dim, p.u_a, *of_values, (2, self.stored))
        error = growth * (np.abs(dO) * magnitudes).sum(axis=-1, keepdims=True)
        variance = scatter((2, self.stored), (c.value_dim, p.u_a)) * outputs + scatter(*of_values) * squares
        variance = variance + sum_variance(p.u_a, self.seen, outputs, squares)
        error = error + (self.e_dO.error * magnitudes).sum(axis=-1, keepdims=True)
        return Uncertainty(error, (dO**2 * variance).sum(axis=-1, keepdims=True))

    def _row_of_weights(self) -> Uncertainty:
        """What rowsum(P * dP) adds to e_delta."""
        w, dP, u_x, u_s = self.weights, self.d.weights, self.u_x, self.precision.u_s
        error = (w + self.e_P.error) * self.e_dP.error + grown(self.seen, u_x, (2, u_s)) * w * np.abs(dP)
        variance = w**2 * (self.e_dP.variance + scatter((self.seen, u_x), (2, u_s)) * dP**2)
        return Uncertainty(error.sum(axis=-1, keepdims=True), variance.sum(axis=-1, keepdims=True))

    @cached_property
    def e_dS(self) -> Uncertainty:
        w, dP, delta, u_x, u_s = self.weights, self.d.weights, self.d.row, self.u_x, self.precision.u_s
        e = through(np.multiply, dP - delta, self.e_dP.plus(self.e_delta), w, self.e_P)
        error = gamma((3, u_x), (2, u_s)) * w * (np.abs(dP) + np.abs(delta))
        e = e.more(error, scatter((9, u_x), (2, u_s)) * w**2 * (dP**2 + delta**2))
        return self._of_variable(e.more(self.lost, self.lost**2))

    def _of_variable(self, e: Uncertainty) -> Uncertainty:
        """Nothing of a score that the weights do not depend on, and no limit where there is no derivative."""
        e = e.mapped(lambda x: np.where(self.variable, x, 0.0))
        return replace(e, error=np.where(self.usable, e.error, np.inf))

    @cached_property
    def e_dsink(self) -> Uncertainty:
        """Of P delta, with the sink's own weight for P."""
        w, delta, relative = self.sink_weights, np.abs(self.d.row), self.r_sink
        of_weight, e_delta = self.of_quotient(w, relative), self.e_delta
        error = of_weight * delta + (w + of_weight) * e_delta.error
        error = error + gamma((3, self.u_x), (2, self.precision.u_s)) * w * delta + self.lost
        variance = w**2 * (e_delta.variance + (relative**2 + self.of_norm) * delta**2) + self.lost**2
        shared = w * (e_delta.shared + self.u_scale * np.abs(self.mean * delta))
        return Uncertainty(np.where(self.usable, error, np.inf), variance, shared)

    @cached_property
    def slope(self) -> Float64:
        """f, of a softcap."""
        softcap, exact = self.config.softcap, self.stages.exact
        return to_float64(softcap_slope(softcap, exact)) if softcap else np.ones_like(self.weights)

    @cached_property
    def e_f(self) -> Uncertainty:
        p, exact, cap = self.precision, self.stages.exact, self.config.softcap or math.inf
        e_B, biased = before_softcap(self.stages), to_float64(exact.biased)
        nearer = replace(exact, biased=np.maximum(np.abs(biased) - e_B.error, 0.0))
        e = Uncertainty(
            2 / cap * softcap_slope(cap, nearer) * e_B.error,
            (2 / cap * self.slope) ** 2 * e_B.variance,
            self.u_scale * np.where(self.variable, np.abs(2 / cap * biased) * self.slope, 0.0),
        ).blurred((2 * TANH_ULPS + 2) * p.u_a + 4 * p.u_s)
        return replace(e, error=np.minimum(e.error, 1.0))

    @cached_property
    def e_dB(self) -> Uncertainty:
        if not self.config.softcap:
            return self.e_dS
        dB, roundings = self.d.biased, ((3, self.precision.u_a), (3, self.precision.u_s))
        e = through(np.multiply, self.d.scores, self.e_dS, self.slope, self.e_f)
        e = e.more(gamma(*roundings) * np.abs(dB), scatter(*roundings) * dB**2)
        return self._of_variable(e.more(self.lost, self.lost**2))

    @cached_property
    def e_dQ(self) -> Uncertainty:
        c, dB, dQ, scale = self.config, self.d.biased, self.d.query, self.config.score_scale
        e = through(weighted, dB, self._e_dB_scaled, self.keys, self.e_K, self._growth(c.kv_len)).scaled(scale)
        of_sum = self._of_sum(c.kv_len, dQ, scale**2 * weighted(dB**2, self.keys**2))
        e = e.more(c.kv_len * self.lost_term, of_sum, self.u_scale * np.abs(dQ))
        of_row = (scale * weighted(self.weights * self.slope, to_float64(self.stages.exact.keys))) ** 2
        return e.more(0.0, self.e_delta.variance * of_row)

    @cached_property
    def e_dK(self) -> Uncertainty:
        c, dB, dK, scale = self.config, self.d.biased, self.d.keys, self.config.score_scale
        over = partial(over_queries, ndim=self.keys.ndim)
        e = through(over, dB, self._e_dB_scaled, self.query, self.e_Q, self._growth(c.q_len)).scaled(scale)
        of_sum = self._of_sum(c.q_len, dK, scale**2 * over(dB**2, self.query**2))
        return e.more(c.q_len * self.lost_term, of_sum, self.u_scale * np.abs(dK))

    @cached_property
    def e_dV(self) -> Uncertainty:
        n, w, dO, dV = self.config.q_len, self.weights, self.d.heads, self.d.values
        over = partial(over_queries, ndim=self.values.ndim)
        e = through(over, w, self.e_P.more(np.where(self.usable, 0.0, np.inf)), dO, self.e_dO, self._growth(n))
        shared = self.u_scale * np.abs(over(self.along_scale, dO))
        return replace(e.more(n * self.lost_term, self._of_sum(n, dV, over(w**2, dO**2))), shared=shared)

    @property
    def _e_dB_scaled(self) -> Uncertainty:
        """Of dB, which times the scale may be too small for its format."""
        lost = self.lost / max(self.config.score_scale, self.stored)
        return self.e_dB.more(np.where(self.variable, lost, 0.0))

    def _growth(self, terms: int) -> float:
        """Of a sum over keys or queries, whose factors may be stored."""
        p = self.precision
        return gamma((3, self.stored), (2, p.u_m), (1, p.u_p)) + gamma((terms, p.u_a))

    def _of_sum(self, terms: int, total: Float64, squares: Float64) -> Float64:
        """The same in the variance, where three stores count as one that is three times as coarse."""
        p = self.precision
        of_factors = scatter((1, p.u_p), (9, self.stored), (2, p.u_m))
        return sum_variance(p.u_a, terms, total**2, squares) + of_factors * squares

    @cached_property
    def e_O(self) -> Uncertainty:
        """Of the heads that are merged and projected; at most."""
        c, p = self.config, self.precision
        e = through(weighted, self.weights, self.e_P, self.values, self.e_V)
        growth = grown(self.seen, p.u_a, (2, p.u_m), (1, p.u_p), (2, self.stored))
        sizes = weighted(self.weights + self.e_P.error, self.values + self.e_V.error)
        scale = c.scale or 0.0 if c.scale_at == "weights" else 1.0
        return Uncertainty(np.where(self.usable, (e.error + growth * sizes) * scale, np.inf))

    @property
    def steps(self) -> Gradients:
        """The uncertainty of every step."""
        return Gradients(
            output=Uncertainty(np.zeros_like(self.d.output)),
            heads=self.e_dO,
            weights=self.e_dP,
            row=self.e_delta,
            scores=self.e_dS,
            sink=self.e_dsink,
            biased=self.e_dB,
            query=self.e_dQ,
            keys=self.e_dK,
            values=self.e_dV,
        )
