"""The error bound of attention gradients from the output back to the scores: e_dO, e_dP, e_delta, e_dS.

Formulas and symbols are those of `specs.bound.attention_gradient_error`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np

from specs.arithmetic.double_double import to_float64
from specs.arithmetic.formats import Bools, Float64
from specs.bound.attention_gradient_forward import Forward, sum_logits
from specs.bound.rounding import elementwise_gamma, gamma, relative_variance, storage_error, sum_variance
from specs.bound.stages import zero_nonfinite
from specs.bound.uncertainty import Uncertainty, propagate_product
from specs.case.layout import to_heads
from specs.reference.attention import score_products, weighted_sum
from specs.reference.attention_gradient import Gradients, find_differentiable_rows, project_back


@dataclass(frozen=True)
class ScoreErrors(Forward):
    """The uncertainty of each backward step of one attention, from the output back to the scores.

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
        e = Uncertainty(error)
        if c.scale_at == "weights":
            e = self.store_tensor(e.add_roundings(self.d.heads, (2, p.u_a)), self.d.heads)
        return replace(e, variance=np.zeros(()))

    @cached_property
    def e_dP(self) -> Uncertainty:
        c, p, dO, dP = self.config, self.precision, self.d.heads, self.d.weights
        relative = c.relative is not None and c.relative.values
        factor_roundings = (2, p.u_m), (relative, self.u_stored)
        growth = gamma((c.value_dim, p.u_a), *factor_roundings)
        e = propagate_product(score_products, dO, self.e_dO, self.values, self.e_V, growth)
        squares = score_products(dO**2, self.values**2)
        variance_of_sum = sum_variance(p.u_a, c.value_dim, dP**2, squares, rounded=2)
        e = e.enlarge(0.0, variance_of_sum + relative_variance(*factor_roundings) * squares)
        e = self.store_step(e.enlarge(c.value_dim * self.product_underflow), dP)
        if c.scale_at == "weights" and c.scale:  # dP may be stored before it is scaled
            e = self.store_step(e.scale_by(1 / c.scale), dP / c.scale).scale_by(c.scale)
        return e.enlarge(self.underflow, self.underflow**2)

    @cached_property
    def e_delta(self) -> Uncertainty:
        dP, delta, logits = self.d.weights, self.d.delta, self.logit_weights
        of_exponents = np.where(self.stages.exact.allowed, self.normalised_error(self.weights, self.r), 0.0)
        error = of_exponents * np.abs(dP - delta) + np.maximum(self.e_S.error - of_exponents, 0.0) * np.abs(dP)
        of_logits = sum_logits(self.normalised_error(logits, self.logit_error)) * np.abs(delta)
        variance = self.e_S.variance * dP**2
        shared = self.u_scale * np.abs((self.scale_derivative * dP).sum(axis=-1, keepdims=True))
        e = Uncertainty(error.sum(axis=-1, keepdims=True) + of_logits, variance.sum(axis=-1, keepdims=True), shared)
        e = e.add(self._delta_from_output().maximum(self._delta_from_weights()))
        return self.store_step(e, self.d.delta).enlarge(self.underflow, self.underflow**2)

    def _delta_from_output(self) -> Uncertainty:
        """The part of e_delta from rowsum(dO * O), without that of the weights; its terms may be stored."""
        c, p, w, dO = self.config, self.precision, self.weights, self.d.heads
        values, stored = zero_nonfinite(self.stages.exact.values), self.e_P.error
        heads, magnitudes, unnormalised = weighted_sum(w, values), weighted_sum(w, self.values), self._unnormalised
        growth = elementwise_gamma(self.additions, p.u_a, (2, p.u_m)) * magnitudes
        e = Uncertainty(growth + weighted_sum(unnormalised + stored, self.values))  # before it is stored
        own = growth + self.store_tensor(e, heads).error - e.error
        terms = np.abs(dO) * (e.error + own) + self.e_dO.error * magnitudes
        own = np.abs(dO) * own + self.e_dO.error * magnitudes + storage_error(p, p.intermediate, dO * heads, terms)
        own = own + gamma((c.value_dim, p.u_a)) * np.abs(dO) * magnitudes
        of_weights = np.maximum(unnormalised, stored - self.e_S.error) * np.abs(self.d.weights)
        error = own.sum(axis=-1, keepdims=True) + of_weights.sum(axis=-1, keepdims=True)

        squares = weighted_sum(w**2, self.values**2)
        variance = sum_variance(p.u_a, self.additions, heads**2, squares) + relative_variance((2, p.u_m)) * squares
        variance = variance + relative_variance((1, self.u_stored), (1, p.u_s), (c.value_dim, p.u_a)) * heads**2
        of_weights = relative_variance((1, p.u_p)) * (w * self.d.weights) ** 2
        variance = (dO**2 * variance).sum(axis=-1, keepdims=True) + of_weights.sum(axis=-1, keepdims=True)
        return Uncertainty(error, variance)

    @property
    def _unnormalised(self) -> Float64:
        """Largest error of P where exp(score - max) is stored instead, to multiply the values.

        For a key with a query's largest score that is 1, which any format holds.
        """
        p, scores = self.precision, np.where(self.stages.exact.allowed, to_float64(self.stages.exact.scores), -np.inf)
        is_largest = scores == scores.max(axis=-1, keepdims=True, initial=-np.inf)
        return self.weights * np.where(is_largest, np.minimum(p.u_p, 2 * np.expm1(self.r)), p.u_p)

    def _delta_from_weights(self) -> Uncertainty:
        """The part of e_delta from rowsum(P * dP), without that of the weights; its terms may be stored."""
        p, w, dP, u_x, e_S, e_dP = self.precision, self.weights, self.d.weights, self.u_x, self.e_S, self.e_dP
        error = (w + e_S.error) * e_dP.error + elementwise_gamma(self.additions, u_x) * w * np.abs(dP)
        error = error + storage_error(p, p.intermediate, w * dP, error + e_S.error * np.abs(dP))
        variance = w**2 * (e_dP.variance + relative_variance((self.additions, u_x), (1, p.u_s)) * dP**2)
        return Uncertainty(error.sum(axis=-1, keepdims=True), variance.sum(axis=-1, keepdims=True))

    @cached_property
    def e_dS(self) -> Uncertainty:
        """Covers P dP - P delta as well as P (dP - delta), whose terms may be stored."""
        p, w, dP, delta, u_x = self.precision, self.weights, self.d.weights, self.d.delta, self.u_x
        e_S, e_dP, e_delta = self.e_S.error, self.e_dP, self.e_delta
        expanded, factored = np.zeros(()), np.zeros(())
        if p.u_s:
            store = partial(storage_error, p, p.intermediate)
            expanded = store(w * dP, (w + e_S) * e_dP.error + e_S * np.abs(dP))
            expanded = expanded + store(w * delta, (w + e_S) * e_delta.error + e_S * np.abs(delta))
            factored = (w + e_S) * store(dP - delta, e_dP.error + e_delta.error)
        e = propagate_product(np.multiply, dP - delta, e_dP.add(e_delta), w, self.e_S)
        error = gamma((3, u_x)) * w * (np.abs(dP) + np.abs(delta)) + np.maximum(expanded, factored)
        squares = w**2 * np.maximum(dP**2 + delta**2, (dP - delta) ** 2)
        e = self.store_step(e.enlarge(error, relative_variance((9, u_x), (1, p.u_s)) * squares), self.d.scores)
        return self.restrict_to_variable(e.enlarge(self.underflow, self.underflow**2))

    def restrict_to_variable(self, e: Uncertainty) -> Uncertainty:
        """Zero for scores that the weights do not depend on, infinite where there is no derivative."""
        e = e.map(lambda x: np.where(self.variable, x, 0.0))
        return replace(e, error=np.where(self.differentiable, e.error, np.inf))

    @cached_property
    def e_dlogits(self) -> Uncertainty:
        """The uncertainty of P delta, with the weights of further logits for P: (batch, heads, queries, logits)."""
        w, delta, relative = self.logit_weights, np.abs(self.d.delta), self.logit_error
        e_weight, e_delta = self.quotient_error(w, relative), self.e_delta
        error = e_weight * delta + (w + e_weight) * e_delta.error
        error = error + gamma((3, self.u_x), (2, self.precision.u_s)) * w * delta + self.underflow
        variance = w**2 * (e_delta.variance + (relative**2 + self.row_variance) * delta**2) + self.underflow**2
        shared = w * (e_delta.shared + self.u_scale * np.abs(self.mean * delta))
        return Uncertainty(np.where(self.differentiable, error, np.inf), variance, shared)
