"""What the bound of attention's gradients starts from: magnitudes of the forward computation, and the weights' e_P.

The formulas, and the symbols, are those of `specs.bound.attention_gradient_error`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from specs.arithmetic.double_double import to_float64
from specs.arithmetic.formats import Bools, Float64
from specs.arithmetic.precision import Precision
from specs.bound.attention import BLOCKS
from specs.bound.projection import entering
from specs.bound.rounding import Size, grown, scatter
from specs.bound.score import Exponents, exponents, for_each_query
from specs.bound.stages import Stages, finite
from specs.bound.uncertainty import Uncertainty
from specs.case.attention import AttentionConfig
from specs.reference.attention import products
from specs.reference.attention_gradient import Gradients, finite_rows, sink_weights

FIRST_ORDER = 2.0**-10  # below this, weights are bounded by the first order of their error, which does not cancel
LARGEST_EXPONENT = 300.0  # an error beyond this says nothing; exp must not overflow
TINY = 2.0**-1022


@dataclass(frozen=True)
class Forward:
    """One attention whose gradients are to be bounded; all arrays float64, layouts as in `Attention`.

    `d` are the exact gradients of its steps; `variable`, bhqk, the scores that the weights depend on; `u_reference`
    the unit roundoff of the reference itself.
    """

    stages: Stages
    d: Gradients
    variable: Bools
    u_reference: float

    @property
    def precision(self) -> Precision:
        return self.stages.precision

    @cached_property
    def config(self) -> AttentionConfig:
        """With the scale's magnitude, so that all maps are those of magnitudes."""
        c = self.stages.config
        return c if c.scale is None else c.model_copy(update={"scale": abs(c.scale)})

    @cached_property
    def sizes(self) -> dict[str, Float64]:
        return {name: np.abs(array) for name, array in self.stages.given.items()}

    @cached_property
    def scores(self) -> Exponents:
        return exponents(self.stages)

    @cached_property
    def usable(self) -> Bools:
        """bhq1: queries that have a derivative, and scores and gradients within their formats."""
        p, d = self.precision, self.d
        limit = min(p.intermediate.max, p.accumulate.max)
        reach = products(np.abs(d.heads), self.values).max(axis=-1, keepdims=True, initial=0.0)
        return np.asarray(finite_rows(self.stages.exact) & ~self.scores.boundless & (reach < limit))

    @cached_property
    def weights(self) -> Float64:
        return np.where(finite_rows(self.stages.exact), to_float64(self.stages.exact.weights), 0.0)

    @cached_property
    def query(self) -> Float64:
        return np.abs(self.stages.query)

    @cached_property
    def keys(self) -> Float64:
        return self.magnitudes("key", np.abs(self.stages.keys))

    @cached_property
    def values(self) -> Float64:
        return self.magnitudes("value", np.abs(finite(self.stages.exact.values)))

    def magnitudes(self, name: str, sums: Float64) -> Float64:
        """|k|; with relative positions |k| + |a|, because their sum may be stored or each be multiplied apart."""
        relative = self.sizes.get(f"relative_{name}s")
        if relative is None:
            return sums
        plain = np.abs(self.stages.plain(name))[:, :, None, : self.config.kv_len]
        return np.asarray(plain + relative.transpose(2, 0, 1, 3))

    @property
    def stored(self) -> float:
        """Of one more tensor that may be stored in the dtype between steps."""
        return self.stages.u_step

    @property
    def u_x(self) -> float:
        return max(self.precision.u_a, self.precision.u_x)

    @property
    def lost(self) -> float:
        """What an intermediate may lose below its format's normal range."""
        p = self.precision
        return p.intermediate.tiny if p.flushes else p.intermediate.smallest

    @property
    def lost_term(self) -> float:
        """What a product may lose below the accumulator's normal range."""
        p = self.precision
        return p.accumulate.tiny if p.flushes else p.accumulate.smallest

    def entering(self, name: str, like: Float64) -> Uncertainty:
        """Of the query, keys or values: nothing where they are operands."""
        return entering(self.stages, name).mapped(lambda x: for_each_query(x, like))

    @cached_property
    def e_Q(self) -> Uncertainty:
        return self.entering("query", self.query)

    @cached_property
    def e_K(self) -> Uncertainty:
        return self.entering("key", self.keys)

    @cached_property
    def e_V(self) -> Uncertainty:
        return self.entering("value", self.values)

    @cached_property
    def seen(self) -> Float64:
        """Number of keys, bhq1, with two roundings for each rescaling of an online softmax."""
        keys = self.stages.exact.allowed.sum(axis=-1, keepdims=True).astype(np.float64)
        return np.asarray(keys + 2 * np.minimum(BLOCKS, keys))

    # Weights --------------------------------------------------------------------------------------------------------

    @cached_property
    def e_P(self) -> Uncertainty:
        """Of the weights."""
        error = self.of_quotient(self.weights, self.r) + self.flushed
        variance = self.weights**2 * (self.of_scores + self.of_norm) + self.flushed**2
        allowed = self.stages.exact.allowed
        shared = self.u_scale * np.abs(self.along_scale)
        return Uncertainty(np.where(allowed, error, 0.0), np.where(allowed, variance, 0.0), shared)

    def of_quotient(self, weights: Float64, exponents: Float64) -> Float64:
        """At most, of weights whose exponents are as wrong as this: in first order, or the ends of their reach."""
        total, least, most = self.total, self.least, 1 + self.total
        first_order = weights * (np.expm1(exponents) + total) / np.maximum(1 - total, 0.5)
        larger, smaller = weights * np.exp(exponents), weights * np.exp(-exponents)
        highest = larger / (larger + np.maximum(least - smaller, 0.0) + TINY)
        lowest = smaller / (smaller + np.maximum(most - larger, 0.0) + TINY)
        interval = np.maximum(highest - weights, weights - lowest) + 2.0**-50
        error = np.where(total < FIRST_ORDER, first_order, interval)
        return np.asarray(error + grown(self.seen, self.u_x, *self.of_each) * (weights + error))

    @cached_property
    def of_norm(self) -> Float64:
        """Relative variance that all weights of a row have in common with each other or alike: bhq1."""
        exponents = (self.weights**2 * self.of_scores).sum(axis=-1, keepdims=True)
        exponents = exponents + self.sink_weights**2 * self.r_sink**2
        return np.asarray(exponents + scatter((self.seen, self.u_x), *self.of_each))

    @property
    def of_each(self) -> tuple[tuple[int, Size], ...]:
        """Roundings of one weight, beside those of the sum of all: of its quotient, as it is stored, of lse."""
        p = self.precision
        return (1, 4 * self.u_x), (1, 2 * p.u_p), (1, 2 * p.u_a * self.lse)

    @property
    def u_scale(self) -> float:
        """Of the scale: one relative error that all scores share."""
        return max(self.precision.u_s, 2 * self.precision.u_a)

    @cached_property
    def mean(self) -> Float64:
        """sum P t: bhq1."""
        return np.asarray((self.weights * self.capped).sum(axis=-1, keepdims=True))

    @cached_property
    def along_scale(self) -> Float64:
        """P (t - sum P t), the derivative by log(scale), by which that of a score is the score."""
        return self.weights * (self.capped - self.mean)

    @property
    def capped(self) -> Float64:
        return np.where(self.stages.exact.allowed, to_float64(self.stages.exact.capped), 0.0)

    @property
    def of_scores(self) -> Float64:
        """s_x^2, without a sink's."""
        return self.scores.r.variance[..., : self.config.kv_len]

    @cached_property
    def r(self) -> Float64:
        return np.minimum(self.scores.r.error[..., : self.config.kv_len], LARGEST_EXPONENT)

    @cached_property
    def total(self) -> Float64:
        """How much the sum of all weights can grow: sum P rho, bhq1."""
        total = (self.weights * np.expm1(self.r)).sum(axis=-1, keepdims=True)
        return np.asarray(total + self.sink_weights * np.expm1(self.r_sink))

    @cached_property
    def least(self) -> Float64:
        """The smallest sum of all weights: sum P exp(-r), bhq1."""
        total = (self.weights * np.exp(-self.r)).sum(axis=-1, keepdims=True)
        return np.asarray(total + self.sink_weights * np.exp(-self.r_sink))

    @cached_property
    def sink_weights(self) -> Float64:
        return to_float64(sink_weights(self.config, self.stages.given, self.stages.exact))

    @cached_property
    def r_sink(self) -> Float64:
        if not self.config.sink:
            return np.zeros_like(self.sink_weights)
        return np.minimum(self.scores.r.error[..., self.config.kv_len :], LARGEST_EXPONENT)

    @cached_property
    def lse(self) -> Float64:
        """At least |log sum exp(scores)|: bhq1."""
        scores = np.where(self.stages.exact.allowed, to_float64(self.stages.exact.scores), -np.inf)
        largest = scores.max(axis=-1, keepdims=True, initial=-np.inf)
        return np.where(np.isneginf(largest), 0.0, np.abs(largest)) + np.log(np.maximum(self.seen, 1.0))

    @property
    def flushed(self) -> Float64:
        """What weights lose that are too small for their format: bhqk."""
        format = self.precision.weights
        lost = format.tiny if self.precision.flushes else format.smallest
        return np.where(self.weights < 2 * format.tiny, lost, 0.0)
