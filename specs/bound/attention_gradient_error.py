"""The error bound of attention gradients: the uncertainty of each backward step, propagated to the operands.

Symbols as in `specs.reference.attention_gradient` and `specs.bound.attention`: weights P, values V, cotangent dO, D and
D_v the widths of keys and values, N the number of keys a query sees, M that of queries.  e_X is the largest error of X
and s_X^2 the variance of its error on random data, parts of one `specs.bound.uncertainty`; walk(n) is n
(y^2 / 3 + T / 6), of a sum y of n products whose squares add up to T.

    store(X)     the largest error of storing X, which is within e_X of its value, in the format of intermediates, of
                 weights for P, or in the dtype: `specs.bound.rounding.storage_error`; 0 where that is as wide as sums
    weights      e_W     = P (rho + sum P rho) / (1 - sum P rho), r from the exponents of the forward computation; or
                 where that is large, the distance of P exp(+-r) / sum P exp(-+r) from P: e_W1
                 + [gamma((N + 2B) u_x) + 4 u_x + 2 u_a |lse|] P + underflow; the last term because a kernel that
                 stores lse = log sum exp recomputes P = exp(score - lse): e_W2
                 e_P     = e_W + store(P), as a factor of products; e_S = e_P where scores are stored, else e_W, as a
                 factor of dP: a kernel that stores no scores has the weights as they were computed
                 s_P^2   = P^2 [s_x^2 + sum P^2 s_x^2 + (u_x^2 (N + 16) + u_p^2 + 4 u_a^2 lse^2) / 4], s_x of scores
    dP           e_dP    = e_dO |V| + |dO| e_V + gamma(D_v u_a, 2 u_m) |dO||V| + store(dP)
                 s_dP^2  = [u_a^2 (walk(D_v) + 2 T) + 2 u_m^2 T + u_s^2 dP^2] / 4
    delta        e_delta = sum e_W1 |dP - delta| + sum (e_S - e_W1) |dP| + store(delta) + the larger error of the two
                 published forms.  Errors of exponents leave the sum of weights at 1, so that what all dP of a row
                 have in common cancels.
                 rowsum(dO * O), O stored:  sum_d [|dO| (gamma((N + 2B) u_a, 2 u_m) P |V| + store(O)) + store(dO O)]
                                            + sum max(store(exp(score - max)) / sum exp, e_P - e_S) |dP|, as one or the
                                            other is the factor of V;  + gamma(D_v u_a) |dO| P |V|
                 rowsum(P * dP):            sum [(P + e_S) e_dP + store(P dP)] + gamma((N + 2B) u_x) sum P |dP|
                 s_delta^2 = sum s_P^2 dP^2 + the larger of their variances
    dS           e_dS    = e_S |dP - delta| + (P + e_S) (e_dP + e_delta) + gamma(3 u_x) P (|dP| + |delta|) + store(dS)
                 + the larger of store(P dP) + store(P delta) and P store(dP - delta)
                 s_dS^2  = s_P^2 (dP - delta)^2 + P^2 (s_dP^2 + s_delta^2) + (9 u_x^2 + u_s^2) P^2 (...) / 4 + ...
                 which covers both P dP - P delta and P (dP - delta): autodiff of a softmax may use either form
    function f   of the scores: slope f' with rounding r, |f''| <= k |f'| (`specs.case.score_functions`)
                 e_f     = k |f'| e_B, where |f'| is largest within e_B, + r
                 s_f^2   = (k f')^2 s_B^2 + r^2 / 4
                 e_dB    = e_dS (|f'| + e_f) + |dS| e_f + gamma(3 u_a, 3 u_s) |dB|
                 and likewise the gradient of a parameter a, with df/da for f'
    products     e_dB'   = e_dB + store(dB) where scores are not stored, + store(scale dB) / |scale| unless the scale
                 is a power of two
                 e_dQ    = |scale| [e_dB' (|K| + e_K) + |dB| e_K
                           + gamma((N + 4) u_a, 2 u_m, u_scale, N/512 u_b) |dB||K|]
                 s_dQ^2  = scale^2 [s_dB'^2 K^2 + (4 u_a^2 + 2 u_m^2) T / 4 + u_a^2 walk(N) / 4 + u_b^2 walk(N/512) / 4]
                 and likewise dK, summed over M queries, with blocks of 32, and dV from P and dO, without the scale;
                 + u_s P |dO| where values are masked for each query by itself, because masked ones are not finite.
                 Where operands are declared to be scaled beforehand, + store(scale K) |dB| + |scale| store(dQ / scale).
                 dK and dV of heads that share keys: + store(dK), as they may be stored before they are summed
    operands     these errors propagate as the gradients do, linearly, and each sum on the way adds
                 gamma(terms u_a, 2 u_m, stored intermediates u_store) times the sum of magnitudes

What is stored without an error, because the format holds it, costs nothing in the largest error: so the gradients of
designed inputs (`specs.inputs.pairs`), whose steps are short numbers, have narrow bounds in 16 bits too.

Magnitudes |X||Y| are sums of products of absolute values.  The softmax has u_x, or u_a if that is coarser.

Two errors do not average out.  The error of delta is shared along its row: s_dQ^2 gains s_delta^2 (scale sum_j P_j
k_j)^2.  The relative error of the scale (`specs.bound.stages`) is shared by all scores and moves each result along its
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
from specs.bound.rounding import elementwise_gamma, gamma, relative_variance, storage_error, sum_variance
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

QUERY_BLOCK, KEY_BLOCK = (
    32,
    512,
)  # the smallest blocks after which a kernel is known to store a gradient: torch's on CPUs


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
        ).add_independent(f.slope_rounding(self.precision, slope))
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
        growth = self._sum_growth(c.kv_len, KEY_BLOCK)
        e = propagate_product(
            weighted_sum, dB, self._e_dB_stored, self.keys, self._e_scaled(self.e_K, self.keys), growth
        )
        e = self._store_unscaled(e, dQ).scale_by(scale)
        variance_of_sum = self._sum_variance(c.kv_len, KEY_BLOCK, dQ, scale**2 * weighted_sum(dB**2, self.keys**2))
        e = e.enlarge(c.kv_len * self.product_underflow, variance_of_sum, self.u_scale * np.abs(dQ))
        row_factor = (scale * weighted_sum(self.weights * self.slope, to_float64(self.stages.exact.keys))) ** 2
        return e.enlarge(0.0, self.e_delta.variance * row_factor)

    @cached_property
    def e_dK(self) -> Uncertainty:
        c, dB, dK, scale = self.config, self.d.biased, self.d.keys, self.config.score_scale
        sum_rows = partial(sum_over_queries, ndim=self.keys.ndim)
        growth = self._sum_growth(c.q_len, QUERY_BLOCK)
        e = propagate_product(sum_rows, dB, self._e_dB_stored, self.query, self._e_scaled(self.e_Q, self.query), growth)
        e = self._store_unscaled(e, dK).scale_by(scale)
        variance_of_sum = self._sum_variance(c.q_len, QUERY_BLOCK, dK, scale**2 * sum_rows(dB**2, self.query**2))
        e = e.enlarge(c.q_len * self.product_underflow, variance_of_sum, self.u_scale * np.abs(dK))
        return self._store_heads(e, dK)

    @cached_property
    def e_dV(self) -> Uncertainty:
        c, n, w, dO, dV = self.config, self.config.q_len, self.weights, self.d.heads, self.d.values
        sum_rows = partial(sum_over_queries, ndim=self.values.ndim)
        e_P = self.e_P.enlarge(np.where(self.differentiable, 0.0, np.inf))
        # Values that are not finite are masked for each query by itself, so each of their products may be stored
        stored = 0 if c.has_finite_values or c.masked_values == "spread" else 1
        growth = self._sum_growth(n, QUERY_BLOCK, (stored, self.precision.u_s), scaled=False)
        e = propagate_product(sum_rows, w, e_P, dO, self.e_dO, growth)
        squares = sum_rows(w**2, dO**2)
        variance_of_sum = self._sum_variance(n, QUERY_BLOCK, dV, squares)
        variance_of_sum = variance_of_sum + relative_variance((stored, self.precision.u_s)) * squares
        e = e.enlarge(n * self.product_underflow, variance_of_sum)
        e = self._store_heads(e, dV)
        return replace(e, shared=self.u_scale * np.abs(sum_rows(self.scale_derivative, dO)))

    @cached_property
    def _e_dB_stored(self) -> Uncertainty:
        """The uncertainty of dB as a factor of products: stored, as it is and times a scale that rounds; underflow."""
        p, s, dB, scale = self.precision, self.stages, self.d.biased, self.config.score_scale
        e = self.e_dB if p.u_s else self.store_tensor(self.e_dB, dB)
        if p.weights.precision < p.storage.precision:
            e = e.enlarge(storage_error(p, p.weights, dB, e.error), relative_variance((1, p.u_p)) * dB**2)
        if scale and not s.scale_is_exact:
            e = self.store_tensor(e.scale_by(scale), scale * dB).scale_by(1 / scale)
        return e.enlarge(np.where(self.variable, self.underflow / max(scale, self.u_stored), 0.0))

    def _e_scaled(self, e: Uncertainty, magnitudes: Float64) -> Uncertainty:
        """The uncertainty of a query or keys that may be scaled beforehand, without the scale."""
        p, scale = self.precision, self.config.score_scale
        if not p.u_q or self.stages.scale_is_exact or not scale:
            return e
        positions = magnitudes.ndim == 5  # magnitudes of sums, of which the distance to a stored number is not known
        stored = storage_error(p, p.scaled, scale * magnitudes, np.inf if positions else scale * e.error)
        stored = p.u_q * (magnitudes + e.error) if positions else stored / scale
        return e.enlarge(stored, relative_variance((1, p.u_q)) * magnitudes**2)

    def _store_unscaled(self, e: Uncertainty, value: Float64) -> Uncertainty:
        """The uncertainty of a gradient that is stored before it is scaled, where its factor was scaled beforehand."""
        p, scale = self.precision, self.config.score_scale
        if not p.u_q or self.stages.scale_is_exact or not scale:
            return e
        return e.enlarge(self.store_tensor(e, value / scale).error - e.error)

    def _store_heads(self, e: Uncertainty, value: Float64) -> Uncertainty:
        """The uncertainty of gradients that query heads share, which may be stored before they are summed."""
        return self.store_tensor(e, value) if self.config.num_heads > self.config.num_kv_heads else e

    def _sum_growth(self, terms: int, block: int, *roundings: tuple[float, float], scaled: bool = True) -> float:
        """Relative error of a sum over keys or queries: of its scale, of parts that are stored apart, and further
        `roundings` of each term.
        """
        p, positions = self.precision, 2 * (self.config.relative is not None)
        scaling = (4, p.u_a), (1, self.u_scale if scaled else 0.0)
        growth = gamma((positions, self.u_stored), (2, p.u_m), *scaling, *roundings)
        return growth + gamma((terms, p.u_a), ((terms - 1) // block, p.u_b))

    def _sum_variance(self, terms: int, block: int, total: Float64, squares: Float64) -> Float64:
        """The variance of the same sum, without that of its factors."""
        p, positions = self.precision, 4 * (self.config.relative is not None)
        unscaled = 0.0 if self.stages.scale_is_exact else p.u_q
        roundings = (2, p.u_m), (4, p.u_a), (positions, self.u_stored), (1, unscaled)
        of_blocks = sum_variance(p.u_b, (terms - 1) // block, total**2, squares)
        return sum_variance(p.u_a, terms, total**2, squares) + of_blocks + relative_variance(*roundings) * squares

    @cached_property
    def e_O(self) -> Uncertainty:
        """The largest error of the heads, before they are merged and projected."""
        c, p = self.config, self.precision
        e = propagate_product(weighted_sum, self.weights, self.e_P, self.values, self.e_V)
        growth = elementwise_gamma(
            self.additions, p.u_a, (2, p.u_m), (1, p.u_p), (1 + (c.scale_at == "weights"), self.u_stored)
        )
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
