"""The forward part of the bound of attention gradients: magnitudes, and the uncertainty e_P of the weights.

Formulas and symbols are those of `specs.bound.attention_gradient_error`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from specs.arithmetic.double_double import to_float64
from specs.arithmetic.formats import FLOAT32, Float64
from specs.arithmetic.precision import Precision
from specs.bound.projection import input_uncertainty
from specs.bound.rounding import BLOCKS, Size, elementwise_gamma, relative_variance, storage_error
from specs.bound.score import Exponents, bound_exponents, broadcast_to_queries
from specs.bound.stages import Stages, zero_nonfinite
from specs.bound.uncertainty import Uncertainty
from specs.case.attention import AttentionConfig
from specs.reference.attention_gradient import find_differentiable_rows, logit_weights

FIRST_ORDER = 2.0**-10  # below this sum P rho, the first-order bound of the weights is used: it has no cancellation
LARGEST_EXPONENT = 300.0  # cap of an exponent error, so that exp does not overflow: a larger one gives no information
TINY = 2.0**-1022


@dataclass(frozen=True)
class Forward:
    """The forward computation of one attention whose gradients are bounded; all float64, layouts as in `Attention`.

    u_reference  unit roundoff of the reference itself
    """

    stages: Stages
    u_reference: float

    @property
    def precision(self) -> Precision:
        return self.stages.precision

    @cached_property
    def config(self) -> AttentionConfig:
        """The configuration with |scale|, so that all maps are those of magnitudes."""
        c = self.stages.config
        return c if c.scale is None else c.model_copy(update={"scale": abs(c.scale)})

    @cached_property
    def magnitudes_by_name(self) -> dict[str, Float64]:
        return {name: np.abs(array) for name, array in self.stages.finite_operands.items()}

    @cached_property
    def scores(self) -> Exponents:
        return bound_exponents(self.stages)

    @cached_property
    def weights(self) -> Float64:
        return np.where(find_differentiable_rows(self.stages.exact), to_float64(self.stages.exact.weights), 0.0)

    @cached_property
    def query(self) -> Float64:
        return np.abs(self.stages.query)

    @cached_property
    def keys(self) -> Float64:
        return self.add_position_magnitudes("key", np.abs(self.stages.keys))

    @cached_property
    def values(self) -> Float64:
        return self.add_position_magnitudes("value", np.abs(zero_nonfinite(self.stages.exact.values)))

    def add_position_magnitudes(self, name: str, sums: Float64) -> Float64:
        """|k|; with relative positions |k| + |a|, because their sum may be stored, or each be multiplied separately."""
        relative = self.magnitudes_by_name.get(f"relative_{name}s")
        if relative is None:
            return sums
        plain = np.abs(self.stages.without_positions(name))[:, :, None, : self.config.kv_len]
        return np.asarray(plain + relative.transpose(2, 0, 1, 3))

    @property
    def u_stored(self) -> float:
        """Unit roundoff of one more tensor that may be stored in the dtype between steps."""
        return self.stages.u_step

    def store_step(self, e: Uncertainty, value: Float64) -> Uncertainty:
        """The uncertainty of a step that is rounded to the format of intermediates."""
        p = self.precision
        return e.enlarge(
            storage_error(p, p.intermediate, value, e.error), relative_variance((1, p.u_s)) * np.square(value)
        )

    def store_tensor(self, e: Uncertainty, value: Float64) -> Uncertainty:
        """The uncertainty of a step that is rounded to the dtype, as a factor of the next product; it may overflow."""
        p = self.precision
        if not self.stages.u_store:
            return e.add_roundings(value, (1, self.u_stored))
        variance = relative_variance((1, self.u_stored)) * np.square(value)
        error = storage_error(p, p.storage, value, e.error)
        return e.enlarge(np.where(np.abs(value) + e.error > p.storage.max, np.inf, error), variance)

    @property
    def u_x(self) -> float:
        return max(self.precision.u_a, self.precision.u_x)

    @property
    def underflow(self) -> float:
        """Absolute error of an intermediate below the normal range of its format."""
        p = self.precision
        return p.intermediate.tiny if p.flushes else p.intermediate.smallest

    @property
    def product_underflow(self) -> float:
        """Absolute error of a product below the normal range of the accumulator."""
        p = self.precision
        return p.accumulate.tiny if p.flushes else p.accumulate.smallest

    def input_uncertainty(self, name: str, like: Float64) -> Uncertainty:
        """The uncertainty of the query, keys or values: zero where they are operands."""
        return input_uncertainty(self.stages, name).map(lambda x: broadcast_to_queries(x, like))

    @cached_property
    def e_Q(self) -> Uncertainty:
        return self.input_uncertainty("query", self.query)

    @cached_property
    def e_K(self) -> Uncertainty:
        return self.input_uncertainty("key", self.keys)

    @cached_property
    def e_V(self) -> Uncertainty:
        return self.input_uncertainty("value", self.values)

    @cached_property
    def additions(self) -> Float64:
        """Number of keys that a query sees, bhq1, plus two roundings for each rescaling of an online softmax.

        Adding a term to a sum changes it by at most twice the term: all keys with weights below (u_a / N)^2 together
        change it by less than u_a^2 times the largest term, in any order, and count as one.
        """
        u_a, allowed = self.precision.u_a, self.stages.exact.allowed
        keys = allowed.sum(axis=-1, keepdims=True).astype(np.float64)
        if u_a <= FLOAT32.unit_roundoff:
            heavy = (self.weights >= (u_a / np.maximum(keys, 1.0)) ** 2).sum(axis=-1, keepdims=True)
            keys = np.minimum(keys, heavy + 1.0)
        return np.asarray(keys + 2 * np.minimum(BLOCKS, keys))

    # Weights --------------------------------------------------------------------------------------------------------

    @cached_property
    def e_softmax(self) -> Uncertainty:
        """The uncertainty of the weights as the softmax returns them."""
        error = self.quotient_error(self.weights, self.r) + self.weight_underflow
        variance = self.weights**2 * (self.score_variance + self.row_variance) + self.weight_underflow**2
        allowed = self.stages.exact.allowed
        shared = self.u_scale * np.abs(self.scale_derivative)
        return Uncertainty(np.where(allowed, error, 0.0), np.where(allowed, variance, 0.0), shared)

    @cached_property
    def e_P(self) -> Uncertainty:
        """The uncertainty of the weights as a factor of products: stored, as they are and times a scale of weights."""
        p, e, scale = self.precision, self.e_softmax, abs(self.config.scale or 0.0)
        factors = [1.0, scale] if self.config.scale_at == "weights" and scale else [1.0]
        for factor in factors:
            stored = storage_error(p, p.weights, factor * self.weights, factor * e.error) / factor
            e = e.enlarge(stored, relative_variance((1, p.u_p)) * self.weights**2)
        return e

    @property
    def e_S(self) -> Uncertainty:
        """The uncertainty of the weights as a factor of dP: those that are stored, where scores are or where the format
        of weights is narrower than the dtype; a fused kernel, which stores no scores, has them as they were computed.
        """
        p = self.precision
        return self.e_P if p.u_s or p.weights.precision < p.storage.precision else self.e_softmax

    def quotient_error(self, weights: Float64, exponent_errors: Float64) -> Float64:
        """Largest error of weights with these exponent errors, before they are stored."""
        error = self.normalised_error(weights, exponent_errors)
        return np.asarray(
            error + elementwise_gamma(self.additions, self.u_x, *self.weight_roundings) * (weights + error)
        )

    def normalised_error(self, weights: Float64, exponent_errors: Float64) -> Float64:
        """The part of exponents: first-order, or from the ends of the interval.  It leaves the sum of a row at 1."""
        rho_sum, least_sum, most = self.rho_sum, self.least_sum, 1 + self.rho_sum
        first_order = weights * (np.expm1(exponent_errors) + rho_sum) / np.maximum(1 - rho_sum, 0.5)
        larger, smaller = weights * np.exp(exponent_errors), weights * np.exp(-exponent_errors)
        highest = larger / (larger + np.maximum(least_sum - smaller, 0.0) + TINY)
        lowest = smaller / (smaller + np.maximum(most - larger, 0.0) + TINY)
        interval = np.maximum(highest - weights, weights - lowest) + 2.0**-50
        return np.where(rho_sum < FIRST_ORDER, first_order, interval)

    @cached_property
    def row_variance(self) -> Float64:
        """Relative variance, bhq1, that is the same for all weights of a row."""
        exponent_variance = (self.weights**2 * self.score_variance).sum(axis=-1, keepdims=True)
        exponent_variance = exponent_variance + sum_logits(self.logit_weights**2 * self.logit_error**2)
        return np.asarray(exponent_variance + relative_variance((self.additions, self.u_x), *self.weight_roundings))

    @property
    def weight_roundings(self) -> tuple[tuple[int, Size], ...]:
        """Roundings of one weight, without those of the sum and of its storage: of the quotient, of lse."""
        return (1, 4 * self.u_x), (1, 2 * self.precision.u_a * self.lse)

    @property
    def u_scale(self) -> float:
        """The relative error of the scale, which all scores share."""
        return self.stages.scale_error

    @cached_property
    def mean(self) -> Float64:
        """sum P t: bhq1."""
        return np.asarray((self.weights * self.modified).sum(axis=-1, keepdims=True))

    @cached_property
    def scale_derivative(self) -> Float64:
        """P (t - sum P t), the derivative of the weights by log(scale); that of a score is the score."""
        return self.weights * (self.modified - self.mean)

    @property
    def modified(self) -> Float64:
        return np.where(self.stages.exact.allowed, to_float64(self.stages.exact.modified), 0.0)

    @property
    def score_variance(self) -> Float64:
        """s_x^2 of the keys."""
        return self.scores.r.variance[..., : self.config.kv_len]

    @cached_property
    def r(self) -> Float64:
        return np.minimum(self.scores.r.error[..., : self.config.kv_len], LARGEST_EXPONENT)

    @cached_property
    def rho_sum(self) -> Float64:
        """sum P rho, bhq1: the largest increase of the sum of all weights."""
        rho_sum = (self.weights * np.expm1(self.r)).sum(axis=-1, keepdims=True)
        return np.asarray(rho_sum + sum_logits(self.logit_weights * np.expm1(self.logit_error)))

    @cached_property
    def least_sum(self) -> Float64:
        """The smallest sum of all weights: sum P exp(-r), bhq1."""
        total = (self.weights * np.exp(-self.r)).sum(axis=-1, keepdims=True)
        return np.asarray(total + sum_logits(self.logit_weights * np.exp(-self.logit_error)))

    @cached_property
    def logit_weights(self) -> Float64:
        """The weights of further logits: (batch, heads, queries, logits)."""
        return to_float64(logit_weights(self.config, self.stages.finite_operands, self.stages.exact))

    @cached_property
    def logit_error(self) -> Float64:
        """The errors of their exponents."""
        return np.minimum(self.scores.r.error[..., self.config.kv_len :], LARGEST_EXPONENT)

    @cached_property
    def lse(self) -> Float64:
        """At least |log sum exp(scores)|: bhq1."""
        scores = np.where(self.stages.exact.allowed, to_float64(self.stages.exact.scores), -np.inf)
        largest = scores.max(axis=-1, keepdims=True, initial=-np.inf)
        return np.where(np.isneginf(largest), 0.0, np.abs(largest)) + np.log(np.maximum(self.additions, 1.0))

    @property
    def weight_underflow(self) -> Float64:
        """Absolute error of weights that underflow their format: bhqk."""
        format = self.precision.weights
        threshold = format.tiny if self.precision.flushes else format.smallest
        return np.where(self.weights < 2 * format.tiny, threshold, 0.0)


def sum_logits(of_logits: Float64) -> Float64:
    """The sum over further logits: bhq1."""
    return np.asarray(of_logits.sum(axis=-1, keepdims=True))
