"""The error bound of attention gradients from the output back to the scores: e_dO, e_dP, e_delta, e_dS.

Formulas and symbols are those of `specs.bound.attention_gradient_error`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from specs.arithmetic.double_double import to_float64
from specs.arithmetic.formats import Bools
from specs.bound.attention_gradient_forward import Forward
from specs.bound.rounding import elementwise_gamma, gamma, relative_variance, sum_variance
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
