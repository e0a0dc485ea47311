"""Gradients of attention in NumPy, step by step: what faults of gradients are made of.

NumPy does not differentiate, so this is the right backend of which a faulty one replaces a step.  It knows attention
without projections, relative positions, sinks and caches, in float32 and float64.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from backends.numpy import Numpy
from specs.arithmetic.formats import Array
from specs.case.attention import AttentionConfig
from specs.case.layout import to_heads, to_layout
from specs.case.visibility import allowed_keys
from specs.reference.attention import apply_rotary, repeat_heads
from specs.reference.attention_gradient import sum_over_group, sum_to_shape
from specs.verdict.check import Check


class Backward(Numpy):
    """Backpropagation by hand; tensors are bhsd, with a key and a value head for each query head."""

    differentiates = True

    def gradient(self, check: Check, operands: Mapping[str, Array], cotangent: Array) -> dict[str, Array]:
        c, group = check.case.config, 1
        assert isinstance(c, AttentionConfig)
        group = c.num_heads // c.num_kv_heads
        query, key = (
            apply_rotary(c, operands, to_heads(c, operands[name], heads), first)
            for name, heads, first in (("query", c.num_heads, c.query_offset), ("key", c.num_kv_heads, 0))
        )
        keys, values = (repeat_heads(x, group) for x in (key, to_heads(c, operands["value"], c.num_kv_heads)))
        with np.errstate(all="ignore"):
            products = query @ keys.swapaxes(-1, -2) * query.dtype.type(c.score_scale)
            biased = products + operands["bias"] if c.bias else products
            capped = np.tanh(biased / c.softcap) * c.softcap if c.softcap else biased
            scores = capped + operands["mask"] if c.mask and c.mask.type == "additive" else capped
            allowed = np.broadcast_to(self.allowed(c, operands), scores.shape)
            weights = self.weights(c, scores, allowed)
            d_heads = to_heads(c, self.received(cotangent), c.num_heads) * query.dtype.type(self.after(c))
            d_weights = self.of_weights(d_heads, values)
            d_scores = self.of_scores(c, weights, d_weights, np.broadcast_to(allowed_keys(c, operands), scores.shape))
            d_biased = self.of_biased(c, d_scores, biased)
            found = {
                "query": self.turned_back(c, operands, self.of_query(c, d_biased, keys), c.query_offset),
                "key": self.turned_back(c, operands, self.of_shared(self.of_keys(c, d_biased, query), group), 0),
                "value": self.of_shared(self.of_values(weights, d_heads), group),
            }
            found = {name: to_layout(c, d) for name, d in found.items()}
            if c.bias:
                found["bias"] = self.of_bias(d_biased)
            if c.mask and c.mask.type == "additive":
                found["mask"] = sum_to_shape(d_scores, operands["mask"].shape)
        return {name: d.astype(query.dtype) for name, d in self.returned(c, found).items()}

    # Steps, one of which a fault replaces ---------------------------------------------------------------------------

    def allowed(self, c: AttentionConfig, operands: Mapping[str, Array]) -> Array:
        return allowed_keys(c, operands)

    def weights(self, c: AttentionConfig, scores: Array, allowed: Array) -> Array:
        if c.fully_masked == "mean":
            nothing = ~allowed.any(axis=-1, keepdims=True)
            scores, allowed = np.where(nothing, scores.dtype.type(0), scores), allowed | nothing
        hidden = np.where(allowed, scores, -np.inf)
        numerator = np.exp(hidden - np.where(allowed.any(axis=-1, keepdims=True), hidden.max(-1, keepdims=True), 0))
        total = numerator.sum(axis=-1, keepdims=True)
        return np.asarray(numerator / np.where(total == 0, total.dtype.type(1), total))

    def received(self, cotangent: Array) -> Array:
        return cotangent

    def after(self, c: AttentionConfig) -> float:
        """A scale that applies to the weights."""
        return (c.scale or 0.0) if c.scale_at == "weights" else 1.0

    def of_weights(self, d_heads: Array, values: Array) -> Array:
        return np.asarray(d_heads @ values.swapaxes(-1, -2))

    def delta(self, weights: Array, d_weights: Array) -> Array:
        return np.asarray((weights * d_weights).sum(axis=-1, keepdims=True))

    def of_scores(self, c: AttentionConfig, weights: Array, d_weights: Array, allowed: Array) -> Array:
        d_scores = weights * (d_weights - self.delta(weights, d_weights))
        return np.where(allowed, d_scores, d_scores.dtype.type(0))

    def of_biased(self, c: AttentionConfig, d_scores: Array, biased: Array) -> Array:
        return d_scores * (1 - np.tanh(biased / c.softcap) ** 2) if c.softcap else d_scores

    def of_query(self, c: AttentionConfig, d_biased: Array, keys: Array) -> Array:
        return np.asarray((d_biased * keys.dtype.type(c.score_scale)) @ keys)

    def of_keys(self, c: AttentionConfig, d_biased: Array, query: Array) -> Array:
        return np.asarray((d_biased * query.dtype.type(c.score_scale)).swapaxes(-1, -2) @ query)

    def of_values(self, weights: Array, d_heads: Array) -> Array:
        return np.asarray(weights.swapaxes(-1, -2) @ d_heads)

    def of_shared(self, d: Array, group: int) -> Array:
        return np.asarray(sum_over_group(d, group))

    def turned_back(self, c: AttentionConfig, operands: Mapping[str, Array], d: Array, first: int) -> Array:
        """Of what rotary positions from `first` on have turned: by the opposite angle."""
        if c.rotary is None:
            return d
        opposite = {"rotary_cos": operands["rotary_cos"], "rotary_sin": -operands["rotary_sin"]}
        return np.asarray(apply_rotary(c, opposite, d, first))

    def of_bias(self, d_biased: Array) -> Array:
        return np.asarray(d_biased.sum(axis=0))

    def returned(self, c: AttentionConfig, found: dict[str, Any]) -> dict[str, Array]:
        return found
