"""Attention as people write it by hand, once for every framework.

There are two formulations, because people write two: `Einsum` with labels in the layout the tensors have, and
`Matmul`, which first permutes to (batch, heads, sequence, features).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

from backends.attention.base import Attention
from backends.attention.heads import HEADS
from backends.attention.layout import EQUATIONS
from backends.attention.visibility import VISIBILITY, both
from backends.parts.primitives import Operands, Primitives, Tensor
from specs.case.attention import AttentionConfig
from specs.case.shapes import attention_shapes


class ByHand(Attention, ABC):
    """The formula, step by step; subclasses say how its two products are written."""

    understands = (
        HEADS
        | VISIBILITY
        | {"num_kv_heads", "value_dim", "scale", "scale_at=weights", "softcap", "sink"}
        | {"relative", "relative.keys=False", "relative.values=False"}
    )
    keys_axis: int = -1  # of the scores

    def attend(self, query: Tensor, key: Tensor, value: Tensor, operands: Operands) -> Tensor:
        c, ops = self.config, self.ops
        key, value = self.for_query_heads(key), self.for_query_heads(value)

        scores = self.scores(query, key, operands.get("relative_keys"))
        if c.bias and c.bias_at == "products":
            scores = scores + self.like_scores(operands["bias"])
        if c.scale_at == "scores":
            scores = scores * c.score_scale
        if c.bias and c.bias_at == "scores":
            scores = scores + self.like_scores(operands["bias"])
        if c.softcap:
            scores = c.softcap * ops.tanh(scores / c.softcap)

        keep = self.visible(operands, scores)
        if (mask := self.additive_mask(operands)) is not None:
            scores = scores + self.like_scores(mask)
            if c.mask and c.mask.fill is not None:
                keep = both(keep, mask != -math.inf)  # hides a key as a boolean mask does; in float16 -1e9 is -inf
        if keep is not None:
            keep = self.like_scores(keep)
            # A row of equal finite scores averages all values; a row of -inf is 0 / 0.
            hidden = ops.lowest(scores) if c.fully_masked == "mean" else -math.inf
            scores = ops.where(keep, scores, hidden)
        weights = self.with_sink(scores, operands["sink"]) if c.sink else ops.softmax(scores, self.keys_axis)
        if keep is not None and c.fully_masked == "zeros":
            weights = ops.where(ops.any(keep, self.keys_axis), weights, 0.0)

        if c.scale_at == "weights":
            weights = weights * c.scale
        output = self.weighted(weights, value, operands.get("relative_values"), self.hides(keep))
        # Nothing to sum is 0, where softmax of a row of -inf would be NaN
        return output * math.nan if c.kv_len == 0 and c.fully_masked == "nan" else output

    def with_sink(self, scores: Tensor, sink: Tensor) -> Tensor:
        """Weights of a softmax over the keys and one more logit for each head, which gets no value."""
        c, ops, axis = self.config, self.ops, self.keys_axis
        shape = list(scores.shape)
        shape[axis] = 1
        beside = ops.spread(self.like_scores(ops.reshape(sink, (c.num_heads, 1, 1))), tuple(shape))
        weights = ops.softmax(ops.join([scores, beside], axis), axis)
        return weights[: c.kv_len] if axis == 0 else weights[..., : c.kv_len]

    def hides(self, keep: Tensor | None) -> Tensor | None:
        """Where values count at all, if any of them is not finite and 0 times it would be felt; None: everywhere."""
        if keep is None or self.config.has_finite_values or self.config.masked_values == "spread":
            return None
        return keep | ~self.ops.any(keep, self.keys_axis) if self.config.fully_masked == "mean" else keep

    def for_query_heads(self, x: Tensor) -> Tensor:
        """Keys or values with every head repeated for each of the consecutive query heads that it serves."""
        c = self.config
        if c.num_heads == c.num_kv_heads:
            return x
        if c.num_heads % c.num_kv_heads:  # repeating 0 times would go unnoticed: a single head broadcasts
            raise ValueError(f"{c.num_heads} query heads cannot share {c.num_kv_heads} key and value heads")
        return self.ops.repeat(x, c.num_heads // c.num_kv_heads, self.working_axes.index("h"))

    def like_scores(self, x: Tensor) -> Tensor:
        """`x`, which varies along the last of (b, h, q, k), as it broadcasts against the scores."""
        return x

    @abstractmethod
    def scores(self, query: Tensor, key: Tensor, relative: Tensor | None) -> Tensor:
        """q_i . (k_j + a_ij), unscaled; `relative` is a, (q, k, heads, head_dim)."""

    @abstractmethod
    def weighted(self, weights: Tensor, value: Tensor, relative: Tensor | None, seen: Tensor | None) -> Tensor:
        """sum_j w_ij (v_j + a_ij); `relative` is a, (q, k, heads, value_dim).

        With `seen`, which broadcasts to the weights, every query has values of its own: 0 where it is false.
        """


class Einsum(ByHand):
    """Labels say everything: no axis is moved, and relative positions are a second contraction."""

    def __init__(self, primitives: Primitives, config: AttentionConfig) -> None:
        super().__init__(primitives, config)
        self.equations = EQUATIONS[self.working_axes]
        self.columns = config.layout == "ds"
        self.keys_axis = 0 if self.columns else -1

    def linear_product(self, x: Tensor, weight: Tensor) -> Tensor:
        return self.ops.einsum("is,oi->os" if self.columns else "bsi,oi->bso", x, weight)

    def scores(self, query: Tensor, key: Tensor, relative: Tensor | None) -> Tensor:
        scores = self.ops.einsum(self.equations.scores, query, key)
        if relative is None:
            return scores
        return scores + self.ops.einsum(self.equations.relative_scores, query, self.of_only_head(relative))

    def weighted(self, weights: Tensor, value: Tensor, relative: Tensor | None, seen: Tensor | None) -> Tensor:
        if seen is None:
            output = self.ops.einsum(self.equations.weighted, weights, value)
        else:
            heads_first = self.permuted(value, self.working_axes, "sd" if self.columns else "bhsd")
            seen = self.ops.spread(seen, tuple(weights.shape))
            seen = self.ops.permute(seen, (1, 0)) if self.columns else seen
            own = self.ops.where(seen[..., None], heads_first[..., None, :, :], 0.0)
            output = self.ops.einsum(self.equations.seen_weighted, weights, own)
        if relative is None:
            return output
        return output + self.ops.einsum(self.equations.relative_weighted, weights, self.of_only_head(relative))

    def of_only_head(self, relative: Tensor) -> Tensor:
        return relative[:, :, 0] if self.columns else relative

    def like_scores(self, x: Tensor) -> Tensor:
        if not self.columns:
            return x
        return self.ops.permute(self.ops.reshape(x, (1, 1, *x.shape)[-2:]), (1, 0))


class Matmul(ByHand):
    """Heads first, then products of matrices; relative positions give every (query, key) pair a key of its own."""

    axes = "bhsd"

    def per_head_product(self, x: Tensor, weight: Tensor) -> Tensor:
        return x @ weight

    def scores(self, query: Tensor, key: Tensor, relative: Tensor | None) -> Tensor:
        if relative is None:
            return query @ self.ops.permute(key, (0, 1, 3, 2))
        keys = key[:, :, None] + self.ops.permute(relative, (2, 0, 1, 3))  # (b, h, q, k, d)
        return (query[:, :, :, None] @ self.ops.permute(keys, (0, 1, 2, 4, 3)))[:, :, :, 0]

    def weighted(self, weights: Tensor, value: Tensor, relative: Tensor | None, seen: Tensor | None) -> Tensor:
        if relative is None and seen is None:
            return weights @ value
        values = value[:, :, None]  # (b, h, q, k, d)
        if relative is not None:
            values = values + self.ops.permute(relative, (2, 0, 1, 3))
        if seen is not None:
            values = self.ops.where(self.ops.spread(seen, tuple(weights.shape))[..., None], values, 0.0)
        return (weights[:, :, :, None] @ values)[:, :, :, 0]


class LinearLayer(Matmul):
    """Like `Matmul`, with linear projections computed by the framework's own layer holding the case's weights."""

    @classmethod
    def distinct(cls, config: AttentionConfig) -> bool:
        return config.projections is not None and config.projections.kind == "linear"

    def __init__(self, primitives: Primitives, config: AttentionConfig) -> None:
        super().__init__(primitives, config)
        shapes = attention_shapes(config)
        self.layers: dict[tuple[int, int, bool], Any] = {}
        for name in (name for name in shapes if name.endswith("_weight")):
            (outputs, inputs), bias = shapes[name], name.replace("_weight", "_bias") in shapes
            # Made now, because a compiler that traces the call refuses to make variables
            self.layers[outputs, inputs, bias] = self.layer(outputs, inputs, bias)

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        layer = self.layers[*weight.shape, bias is not None]
        if self.config.layout != "ds":
            return self.applied(layer, x, weight, bias)
        return self.ops.permute(self.applied(layer, self.ops.permute(x, (1, 0)), weight, bias), (1, 0))

    @abstractmethod
    def layer(self, outputs: int, inputs: int, bias: bool) -> Any:
        """A layer of this size, whatever its weights."""

    @abstractmethod
    def applied(self, layer: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The layer on the last axis of `x`, with `weight`, (out, in), and `bias` for its own: gradients reach them."""
