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
    function f   of the scores: slope f' with rounding r, |f''| <= k |f'| (`specs.case.score_functions`)
                 e_f     = k |f'| e_B, where |f'| is largest within e_B, + r
                 s_f^2   = (k f')^2 s_B^2 + r^2 / 4
                 e_dB    = e_dS (|f'| + e_f) + |dS| e_f + gamma(3 u_a, 3 u_s) |dB|
                 and likewise the gradient of a parameter a, with df/da for f'
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

from dataclasses import dataclass, replace
from functools import cached_property, partial, reduce
from operator import itemgetter

import numpy as np

from specs.arithmetic.double_double import to_float64
from specs.arithmetic.formats import Float64
from specs.bound.attention_gradient_scores import ScoreErrors
from specs.bound.rounding import elementwise_gamma, gamma, relative_variance, sum_variance
from specs.bound.score import function_uncertainties
from specs.bound.stages import zero_nonfinite
from specs.bound.uncertainty import Uncertainty, propagate_product
from specs.case.operands import logits_of
from specs.reference.attention import Applied, weighted_sum
from specs.reference.attention_gradient import (
    Gradients,
    allowed_argument,
    function_slope,
    sum_over_queries,
)


@dataclass(frozen=True)
class Errors(ScoreErrors):
    """The uncertainty of each backward step of one attention: those behind the scores are derived here."""

    @cached_property
    def slopes(self) -> list[Float64]:
        """f' of each function of the scores."""
        exact = self.stages.exact
        return [to_float64(function_slope(self.config, applied, exact)) for applied in exact.functions]

    @cached_property
    def slope(self) -> Float64:
        """The product of all slopes."""
        return reduce(np.multiply, self.slopes, np.ones_like(self.weights))

    def _slope_uncertainty(self, applied: Applied, slope: Float64, e_x: Uncertainty) -> Uncertainty:
        """e_f of a function whose argument has the uncertainty e_x."""
        f, exact, x = applied.function, self.stages.exact, to_float64(applied.argument)
        k = f.relative_curvature(self.config)
        steepest = replace(applied, argument=f.steepest(x, e_x.error))
        e = Uncertainty(
            k * np.abs(to_float64(function_slope(self.config, steepest, exact))) * e_x.error,
            (k * slope) ** 2 * e_x.variance,
            self.u_scale * np.where(self.variable, np.abs(k * x) * np.abs(slope), 0.0),
        ).add_independent(f.slope_rounding(self.precision))
        return replace(e, error=np.minimum(e.error, f.largest))

    @cached_property
    def _function_errors(self) -> tuple[Uncertainty, dict[str, Uncertainty]]:
        """The uncertainties of dB, and of the gradients of the parameters of functions, per score and by name."""
        e, d, of_parameters = self.e_dS, self.d.scores, {}
        steps = zip(self.stages.exact.functions, self.slopes, function_uncertainties(self.stages), strict=False)
        for i, (applied, slope, e_x) in reversed(list(enumerate(steps))):
            if applied.parameter is not None:
                of_parameters[applied.function.field] = self._parameter_uncertainty(applied, d, e, e_x)
            before = d * slope if i else self.d.biased
            e = self._propagate_factor(d, e, slope, self._slope_uncertainty(applied, slope, e_x), before)
            d = before
        return e, of_parameters

    def _parameter_uncertainty(self, applied: Applied, d: Float64, e: Uncertainty, e_x: Uncertainty) -> Uncertainty:
        """The uncertainty of d times the derivative by the parameter."""
        f, x = applied.function, zero_nonfinite(allowed_argument(applied, self.stages.exact))
        a = self.stages.per_head(f.field)
        factor, e_factor = f.parameter_slope(self.config, x, a), e_x.scale_by(f.cross_slope(self.config, x, a))
        e_factor = e_factor.enlarge(0.0, shared=self.u_scale * np.abs(x * f.cross_slope(self.config, x, a)))
        return self._propagate_factor(d, e, factor, e_factor, self.d.parameters[f.field])

    def _propagate_factor(
        self, d: Float64, e: Uncertainty, factor: Float64, e_factor: Uncertainty, product: Float64
    ) -> Uncertainty:
        """The uncertainty of a product d times factor, per score, as it is computed and stored."""
        roundings = (3, self.precision.u_a), (3, self.precision.u_s)
        e = propagate_product(np.multiply, d, e, factor, e_factor)
        e = e.enlarge(gamma(*roundings) * np.abs(product), relative_variance(*roundings) * product**2)
        return self.restrict_to_variable(e.enlarge(self.underflow, self.underflow**2))

    @property
    def e_dB(self) -> Uncertainty:
        return self._function_errors[0]

    @cached_property
    def e_parameters(self) -> dict[str, Uncertainty]:
        """The uncertainties of the gradients of operands that a head has one number of, by name."""
        columns = {name: slice(i, i + 1) for i, name in enumerate(logits_of(self.config))}
        of_logits = {name: self.e_dlogits.map(itemgetter((..., own))) for name, own in columns.items()}
        return of_logits | self._function_errors[1]

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
            parameters=self.e_parameters,
            biased=self.e_dB,
            query=self.e_dQ,
            keys=self.e_dK,
            values=self.e_dV,
        )
