"""Attention as people write it by hand, once for every framework.

There are two formulations, because people write two: `Einsum`, with labels in the tensors' own layout, and `Matmul`,
which first permutes to (batch, heads, sequence, features).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import Any

from backends.attention.base import Attention
from backends.attention.heads import HEADS
from backends.attention.layout import EQUATIONS
from backends.attention.visibility import VISIBILITY
from backends.parts.primitives import Operands, Primitives, Tensor
from specs.case.attention import AttentionConfig
from specs.case.operands import LOGITS, TERMS, logits_of, terms_of
from specs.case.score_functions import FUNCTION_FIELDS, functions_of
from specs.case.shapes import attention_shapes
from specs.case.visibility import intersect


class ByHand(Attention, ABC):
    """The formula, step by step; subclasses define how its two products are written."""

    handwritten = True
    understands = (
        HEADS
        | VISIBILITY
        | FUNCTION_FIELDS
        | LOGITS
        | {"num_kv_heads", "value_dim", "scale", "scale_at=weights"}
        | {"relative", "relative.keys=False", "relative.values=False"}
    )
    keys_axis: int = -1  # the axis of the scores along which keys vary

    def __init__(self, primitives: Primitives, config: AttentionConfig) -> None:
        super().__init__(primitives, config)
        # Now, because torch.compile cannot trace how it is found out
        self.keeps_masked_values = config.has_finite_values or config.masked_values == "spread"

    def attend(self, query: Tensor, key: Tensor, value: Tensor, operands: Operands) -> Tensor:
        c, ops = self.config, self.ops
        key, value = self.repeat_heads(key), self.repeat_heads(value)

        scores = self.scores(query, key, operands.get("relative_keys"))
        scores = self.add_terms(scores, c.scaled_terms, operands)
        if c.scale_at == "scores":
            scores = self.scale(scores)
        scores = self.add_terms(scores, TERMS - c.scaled_terms, operands)
        for function in functions_of(c):
            parameter = self.align_heads(operands[function.field]) if function.field in operands else None
            scores = function.value(c, scores, parameter, ops)

        visible = self.visible(operands, scores)
        if (mask := self.additive_mask(operands)) is not None:
            scores = scores + self.align_to_scores(mask)
            if c.mask and c.mask.fill is not None:
                visible = intersect(visible, mask != -math.inf)  # -inf hides a key too; in float16 -1e9 is -inf
        if visible is not None:
            visible = self.align_to_scores(visible)
            # A row of equal finite scores averages all values; a row of -inf is 0 / 0.
            fill = ops.lowest(scores) if c.fully_masked == "mean" else -math.inf
            scores = self.hide(scores, visible, fill)
        logits = [operands[name] for name in logits_of(c)]
        weights = self.softmax_with_logits(scores, logits) if logits else ops.softmax(scores, self.keys_axis)
        if visible is not None and c.fully_masked == "zeros":
            weights = ops.where(ops.any(visible, self.keys_axis), weights, 0.0)

        if c.scale_at == "weights":
            weights = weights * c.scale
        output = self.weighted_sum(weights, value, operands.get("relative_values"), self.value_mask(visible))
        # A sum of nothing is 0, where the softmax of a row of -inf would give NaN
        return output * math.nan if c.kv_len == 0 and c.fully_masked == "nan" else output

    def scale(self, scores: Tensor) -> Tensor:
        """The scores times `score_scale`."""
        return scores * self.config.score_scale

    def hide(self, scores: Tensor, visible: Tensor, fill: float) -> Tensor:
        """The scores with `fill`, the lowest number or -inf, where a query does not see a key."""
        return self.ops.where(visible, scores, fill)

    def add_terms(self, scores: Tensor, names: Collection[str], operands: Operands) -> Tensor:
        """The scores plus those of these operands that the config has."""
        for name in terms_of(self.config):
            if name in names:
                scores = scores + self.align_to_scores(operands[name])
        return scores

    def softmax_with_logits(self, scores: Tensor, logits: Sequence[Tensor]) -> Tensor:
        """Weights of the keys in a softmax with further logits that have no value, each of shape (heads,)."""
        c, ops, axis = self.config, self.ops, self.keys_axis
        shape = list(scores.shape)
        shape[axis] = 1
        columns = [ops.broadcast_to(self.align_heads(logit), tuple(shape)) for logit in logits]
        weights = ops.softmax(ops.concat([scores, *columns], axis), axis)
        return weights[: c.kv_len] if axis == 0 else weights[..., : c.kv_len]

    def align_heads(self, x: Tensor) -> Tensor:
        """One number for each head, in a form that broadcasts against the scores."""
        return self.align_to_scores(self.ops.reshape(x, (self.config.num_heads, 1, 1)))

    def value_mask(self, visible: Tensor | None) -> Tensor | None:
        """False where a value must be ignored; None if no value needs that.

        A weight of 0 does not suffice for values that are not finite: 0 times NaN is NaN.
        """
        if visible is None or self.keeps_masked_values:
            return None
        return visible | ~self.ops.any(visible, self.keys_axis) if self.config.fully_masked == "mean" else visible

    def repeat_heads(self, x: Tensor) -> Tensor:
        """Keys or values with every head repeated for the consecutive query heads that share it."""
        c = self.config
        if c.num_heads == c.num_kv_heads:
            return x
        if c.num_heads % c.num_kv_heads:  # repeating 0 times could go unnoticed, because a single head broadcasts
            raise ValueError(f"{c.num_heads} query heads cannot share {c.num_kv_heads} key and value heads")
        return self.ops.repeat(x, c.num_heads // c.num_kv_heads, self.working_axes.index("h"))

    def align_to_scores(self, x: Tensor) -> Tensor:
        """`x`, whose axes are the last of (b, h, q, k), in a form that broadcasts against the scores."""
        return x

    @abstractmethod
    def scores(self, query: Tensor, key: Tensor, relative: Tensor | None) -> Tensor:
        """q_i . (k_j + a_ij), unscaled; `relative` is a, of shape (q, k, heads, head_dim)."""

    @abstractmethod
    def weighted_sum(
        self, weights: Tensor, value: Tensor, relative: Tensor | None, value_mask: Tensor | None
    ) -> Tensor:
        """sum_j w_ij (v_j + a_ij); `relative` is a, of shape (q, k, heads, value_dim).

        `value_mask` broadcasts to the weights: where it is False, v_j + a_ij is replaced by 0.
        """


class Einsum(ByHand):
    """Labels alone: no axis is moved, and relative positions are a second contraction."""

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
        return scores + self.ops.einsum(self.equations.relative_scores, query, self.drop_head_axis(relative))

    def weighted_sum(
        self, weights: Tensor, value: Tensor, relative: Tensor | None, value_mask: Tensor | None
    ) -> Tensor:
        if value_mask is None:
            output = self.ops.einsum(self.equations.weighted_sum, weights, value)
        else:
            heads_first = self.permute_axes(value, self.working_axes, "sd" if self.columns else "bhsd")
            value_mask = self.ops.broadcast_to(value_mask, tuple(weights.shape))
            value_mask = self.ops.permute_dims(value_mask, (1, 0)) if self.columns else value_mask
            values = self.ops.where(value_mask[..., None], heads_first[..., None, :, :], 0.0)
            output = self.ops.einsum(self.equations.masked_weighted_sum, weights, values)
        if relative is None:
            return output
        return output + self.ops.einsum(self.equations.relative_weighted_sum, weights, self.drop_head_axis(relative))

    def drop_head_axis(self, relative: Tensor) -> Tensor:
        return relative[:, :, 0] if self.columns else relative

    def align_to_scores(self, x: Tensor) -> Tensor:
        if not self.columns:
            return x
        return self.ops.permute_dims(self.ops.reshape(x, (1, 1, *x.shape)[-2:]), (1, 0))


class Matmul(ByHand):
    """Heads first, then matrix products; relative positions give every (query, key) pair its own key."""

    axes = "bhsd"

    def per_head_product(self, x: Tensor, weight: Tensor) -> Tensor:
        return x @ weight

    def scores(self, query: Tensor, key: Tensor, relative: Tensor | None) -> Tensor:
        if relative is None:
            return query @ self.ops.permute_dims(key, (0, 1, 3, 2))
        keys = key[:, :, None] + self.ops.permute_dims(relative, (2, 0, 1, 3))  # (b, h, q, k, d)
        return (query[:, :, :, None] @ self.ops.permute_dims(keys, (0, 1, 2, 4, 3)))[:, :, :, 0]

    def weighted_sum(
        self, weights: Tensor, value: Tensor, relative: Tensor | None, value_mask: Tensor | None
    ) -> Tensor:
        if relative is None and value_mask is None:
            return weights @ value
        values = value[:, :, None]  # (b, h, q, k, d)
        if relative is not None:
            values = values + self.ops.permute_dims(relative, (2, 0, 1, 3))
        if value_mask is not None:
            values = self.ops.where(self.ops.broadcast_to(value_mask, tuple(weights.shape))[..., None], values, 0.0)
        return (weights[:, :, :, None] @ values)[:, :, :, 0]


class LinearLayer(Matmul):
    """Like `Matmul`, with linear projections computed by the framework's layer, which holds the case's weights."""

    @classmethod
    def is_distinct(cls, config: AttentionConfig) -> bool:
        return config.projections is not None and config.projections.kind == "linear"

    def __init__(self, primitives: Primitives, config: AttentionConfig) -> None:
        super().__init__(primitives, config)
        shapes = attention_shapes(config)
        self.layers: dict[tuple[int, int, bool], Any] = {}
        for name in (name for name in shapes if name.endswith("_weight")):
            (outputs, inputs), bias = shapes[name], name.replace("_weight", "_bias") in shapes
            # Created now, because a compiler that traces the call refuses to create variables
            self.layers[outputs, inputs, bias] = self.make_layer(outputs, inputs, bias)

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        layer = self.layers[*weight.shape, bias is not None]
        if self.config.layout != "ds":
            return self.apply_layer(layer, x, weight, bias)
        return self.ops.permute_dims(self.apply_layer(layer, self.ops.permute_dims(x, (1, 0)), weight, bias), (1, 0))

    @abstractmethod
    def make_layer(self, outputs: int, inputs: int, bias: bool) -> Any:
        """A layer of this size, whatever its weights."""

    @abstractmethod
    def apply_layer(self, layer: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Apply the layer to the last axis of `x` with these parameters; `weight` is (out, in).

        Gradients reach `weight` and `bias`.
        """
