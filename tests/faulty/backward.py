"""Gradients of attention in NumPy, step by step: the base class of faults of gradients.

NumPy does not differentiate, so this is the correct backend of which a fault replaces one step.  It supports attention
without projections, relative positions, sinks and caches, in float32 and float64; `Kernel` in 16 bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from backends.base import Declaration
from backends.numpy import Numpy
from specs.arithmetic.formats import DTYPES, Array, cast, dtype_name
from specs.case.attention import AttentionConfig
from specs.case.layout import to_heads, to_layout
from specs.case.visibility import allowed_keys
from specs.reference.attention import apply_rotary, repeat_heads
from specs.reference.attention_gradient import sum_over_group, sum_to_shape
from specs.verdict.check import Check


class Backward(Numpy):
    """Backpropagation by hand; tensors are bhsd, with a key and a value head for each query head."""

    directions = ("forward", "grad")

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
            d_heads = to_heads(c, self.receive(cotangent), c.num_heads) * query.dtype.type(self.weights_scale(c))
            d_weights = self.grad_weights(d_heads, values)
            d_scores = self.grad_scores(c, weights, d_weights, np.broadcast_to(allowed_keys(c, operands), scores.shape))
            d_biased = self.grad_biased(c, d_scores, biased)
            gradients = {
                "query": self.rotate_back(c, operands, self.grad_query(c, d_biased, keys), c.query_offset),
                "key": self.rotate_back(c, operands, self.sum_over_group(self.grad_keys(c, d_biased, query), group), 0),
                "value": self.sum_over_group(self.grad_values(weights, d_heads), group),
            }
            gradients = {name: to_layout(c, d) for name, d in gradients.items()}
            if c.bias:
                gradients["bias"] = self.grad_bias(d_biased)
            if c.mask and c.mask.type == "additive":
                gradients["mask"] = sum_to_shape(d_scores, operands["mask"].shape)
        return {name: d.astype(query.dtype) for name, d in self.finish(c, gradients).items()}

    # Steps; a fault replaces one of them ----------------------------------------------------------------------------

    @staticmethod
    def misread(config: AttentionConfig) -> dict[str, Any]:
        """The fields of which the way back has another idea than the way forward, with their wrong values."""
        return {}

    def allowed(self, c: AttentionConfig, operands: Mapping[str, Array]) -> Array:
        return allowed_keys(c.model_copy(update=self.misread(c)), operands)

    def weights(self, c: AttentionConfig, scores: Array, allowed: Array) -> Array:
        if c.fully_masked == "mean":
            sees_nothing = ~allowed.any(axis=-1, keepdims=True)
            scores, allowed = np.where(sees_nothing, scores.dtype.type(0), scores), allowed | sees_nothing
        masked_scores = np.where(allowed, scores, -np.inf)
        numerator = np.exp(
            masked_scores - np.where(allowed.any(axis=-1, keepdims=True), masked_scores.max(-1, keepdims=True), 0)
        )
        total = numerator.sum(axis=-1, keepdims=True)
        return np.asarray(numerator / np.where(total == 0, total.dtype.type(1), total))

    def receive(self, cotangent: Array) -> Array:
        return cotangent

    def weights_scale(self, c: AttentionConfig) -> float:
        """The scale that applies to the weights, or 1."""
        return (c.scale or 0.0) if c.scale_at == "weights" else 1.0

    def grad_weights(self, d_heads: Array, values: Array) -> Array:
        return np.asarray(d_heads @ values.swapaxes(-1, -2))

    def delta(self, weights: Array, d_weights: Array) -> Array:
        return np.asarray((weights * d_weights).sum(axis=-1, keepdims=True))

    def grad_scores(self, c: AttentionConfig, weights: Array, d_weights: Array, allowed: Array) -> Array:
        d_scores = weights * (d_weights - self.delta(weights, d_weights))
        return np.where(allowed, d_scores, d_scores.dtype.type(0))

    def grad_biased(self, c: AttentionConfig, d_scores: Array, biased: Array) -> Array:
        return d_scores * (1 - np.tanh(biased / c.softcap) ** 2) if c.softcap else d_scores

    def grad_query(self, c: AttentionConfig, d_biased: Array, keys: Array) -> Array:
        return np.asarray((d_biased * keys.dtype.type(c.score_scale)) @ keys)

    def grad_keys(self, c: AttentionConfig, d_biased: Array, query: Array) -> Array:
        return np.asarray((d_biased * query.dtype.type(c.score_scale)).swapaxes(-1, -2) @ query)

    def grad_values(self, weights: Array, d_heads: Array) -> Array:
        return np.asarray(weights.swapaxes(-1, -2) @ d_heads)

    def sum_over_group(self, d: Array, group: int) -> Array:
        return np.asarray(sum_over_group(d, group))

    def rotate_back(self, c: AttentionConfig, operands: Mapping[str, Array], d: Array, first: int) -> Array:
        """The gradient before rotary positions, counted from `first`: rotated by the opposite angle."""
        if c.rotary is None:
            return d
        opposite = {"rotary_cos": operands["rotary_cos"], "rotary_sin": -operands["rotary_sin"]}
        return np.asarray(apply_rotary(c, opposite, d, first))

    def grad_bias(self, d_biased: Array) -> Array:
        return np.asarray(d_biased.sum(axis=0))

    def finish(self, c: AttentionConfig, gradients: dict[str, Any]) -> dict[str, Array]:
        return gradients


class Kernel(Backward):
    """The same as a fused kernel does it in 16 bits: every step in float32, and each gradient rounded once."""

    declarations = (
        Declaration({"accumulate": "float32", "softmax": "float32", "intermediate": "float32"}, dtype="*float16"),
    )

    def dtypes(self, device: str) -> frozenset[str]:
        return frozenset(DTYPES)

    def gradient(self, check: Check, operands: Mapping[str, Array], cotangent: Array) -> dict[str, Array]:
        dtype = self.dtype = DTYPES[check.dtype]
        wide = {name: widen(array) for name, array in operands.items()}
        gradients = super().gradient(check, wide, widen(cotangent))
        return {name: cast(d.astype(np.float64), dtype) for name, d in gradients.items()}

    def store(self, x: Array) -> Array:
        """A step, stored in the dtype."""
        return cast(x.astype(np.float64), self.dtype).astype(np.float32)

    def sum_in_dtype(self, a: Array, b: Array) -> Array:
        """The matrix product whose partial sums are stored in the dtype."""
        total = np.zeros((*a.shape[:-1], b.shape[-1]), np.float32)
        for i in range(a.shape[-1]):
            total = self.store(total + a[..., i : i + 1] * b[..., i : i + 1, :])
        return total


def widen(array: Array) -> Array:
    """Numbers of 16 bits as float32."""
    return array.astype(np.float32) if dtype_name(array.dtype) in ("float16", "bfloat16") else array
