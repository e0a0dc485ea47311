"""Attention as it is computed wrongly: softmax, scale, masks, positions, heads and projections."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from ml_dtypes import bfloat16

from backends.by_hand import ByHand, Operands, Primitives, Tensor
from backends.numpy import Numpy, softmax
from specs.case import AttentionConfig
from specs.formats import Array
from tests.faulty.fault import Misread, fault

# Softmax --------------------------------------------------------------------------------------------------------------


@fault("one_maximum_for_all")
class OneMaximumForAll(Numpy):
    """Seed 002's softmax subtracts the largest of all scores, so a row or column far below it is 0 / 0."""

    @staticmethod
    def softmax(x: Array, axis: int) -> Array:
        numerator = np.exp(x - x.max(initial=-np.inf))
        return numerator / numerator.sum(axis=axis, keepdims=True)

    primitives = replace(Numpy.primitives, softmax=softmax)


@fault("no_maximum")
class NoMaximum(Numpy):
    """Softmax as its formula reads, without subtracting a maximum: exp overflows."""

    @staticmethod
    def softmax(x: Array, axis: int) -> Array:
        return np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True)

    primitives = replace(Numpy.primitives, softmax=softmax)


@fault("softmax_over_queries")
class SoftmaxOverQueries(Numpy):
    """Seed 003's first attempt: the softmax runs over the queries instead of the keys."""

    primitives = replace(Numpy.primitives, softmax=lambda x, axis: softmax(x, -2 if axis == -1 else -1))


@fault("weights_in_bfloat16")
class WeightsInBfloat16(Numpy):
    """Weights are rounded to bfloat16 before they multiply the values: fused kernels written for 16 bits."""

    primitives = replace(Numpy.primitives, softmax=lambda x, axis: softmax(x, axis).astype(bfloat16).astype(x.dtype))


@fault("approximate_exponential")
class ApproximateExponential(Numpy):
    """exp from a short polynomial, right to about one part in a hundred thousand, in a float32 softmax."""

    @staticmethod
    def softmax(x: Array, axis: int) -> Array:
        shifted = x - x.max(axis=axis, keepdims=True, initial=-np.inf)
        # Where a polynomial on [0, 1) between powers of two is off, it is so in a wave
        numerator = np.exp(shifted) * (1 + 1e-5 * np.sin(2 * np.pi * shifted / np.log(2))).astype(x.dtype)
        return numerator / numerator.sum(axis=axis, keepdims=True)

    primitives = replace(Numpy.primitives, softmax=softmax)


# Scale, softcap, bias -------------------------------------------------------------------------------------------------


@fault("scale_after_softmax")
class ScaleAfterSoftmax(Misread):
    """Seed 002's second part divides by sqrt(dim_k) after the softmax instead of before it."""

    @staticmethod
    def misread(config: AttentionConfig) -> dict[str, Any]:
        return {"scale_at": "weights", "scale": config.scale or config.score_scale}


@fault("scale_missing")
class ScaleMissing(Misread):
    """The scores are not divided by anything."""

    @staticmethod
    def misread(config: AttentionConfig) -> dict[str, Any]:
        return {"scale": 1.0} if config.scale_at == "scores" else {}


@fault("scale_by_embedding")
class ScaleByEmbedding(Misread):
    """Divided by sqrt(embed_size), as seed 000 writes it, where sqrt(head_dim) is asked for."""

    @staticmethod
    def misread(config: AttentionConfig) -> dict[str, Any]:
        return {"scale": (config.num_heads * config.head_dim) ** -0.5} if config.scale is None else {}


@fault("scale_always_from_head_dim")
class ScaleAlwaysFromHeadDim(Misread):
    """An explicit scale is ignored: an operation that has no such argument, or an adapter that does not pass it on."""

    @staticmethod
    def misread(config: AttentionConfig) -> dict[str, Any]:
        return {"scale": None} if config.scale_at == "scores" else {}


@fault("scale_in_bfloat16")
class ScaleInBfloat16(Misread):
    """The scale is a constant of bfloat16, which 1 / 4 and 1 / 8 hide."""

    @staticmethod
    def misread(config: AttentionConfig) -> dict[str, Any]:
        return {"scale": float(bfloat16(config.score_scale))} if config.scale_at == "scores" else {}


@fault("scale_widens")
class ScaleWidens(Misread):
    """The scale is np.sqrt's float64 scalar, which since NumPy 2 makes everything after it float64."""

    @staticmethod
    def misread(config: AttentionConfig) -> dict[str, Any]:
        return {"scale": 1 / np.sqrt(config.head_dim)} if config.scale is None else {}


@fault("softcap_missing")
class SoftcapMissing(Misread):
    """The softcap is left out: what a model computes on an operation that has none."""

    @staticmethod
    def misread(config: AttentionConfig) -> dict[str, Any]:
        return {"softcap": None}


@fault("softcap_after_mask")
class SoftcapAfterMask(Misread):
    """The cap is applied once keys are masked, so a masked key's score becomes -cap and it takes part."""

    def __init__(self, primitives: Primitives, config: AttentionConfig) -> None:
        if (cap := config.softcap) is not None:
            primitives = replace(primitives, softmax=lambda x, axis: softmax(cap * np.tanh(x / cap), axis))
        super().__init__(primitives, config)

    @staticmethod
    def misread(config: AttentionConfig) -> dict[str, Any]:
        return {"softcap": None}


@fault("bias_before_scale")
class BiasBeforeScale(ByHand):
    """The bias is added to the raw products and scaled with them."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, operands: Operands) -> Tensor:
        if self.config.bias:
            operands = {**operands, "bias": operands["bias"] * self.config.score_scale}
        return super().attend(query, key, value, operands)


# Mask operands --------------------------------------------------------------------------------------------------------


@fault("mask_inverted")
class MaskInverted(ByHand):
    """True is read as `masked`, the convention of torch.nn.MultiheadAttention, where it means `takes part`."""

    def mask(self, type: str, operands: Operands) -> Tensor | None:
        mask = super().mask(type, operands)
        return ~mask if mask is not None and type == "bool" else mask


@fault("additive_mask_multiplied")
class AdditiveMaskMultiplied(ByHand):
    """An additive mask is multiplied with the scores instead of added to them."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, operands: Operands) -> Tensor:
        factor = self.mask("additive", operands)
        if factor is None:
            return super().attend(query, key, value, operands)
        unmasked = self.config.model_copy(update={"mask": None})
        multiplied = replace(self.ops, softmax=lambda x, axis: softmax(x * self.like_scores(factor), axis))
        return type(self)(multiplied, unmasked).attend(query, key, value, operands)


@fault("hidden_scores_are_zero")
class HiddenScoresAreZero(Numpy):
    """A mask of ones and zeros is multiplied with the scores: a masked key keeps exp(0), which may be the largest."""

    primitives = replace(Numpy.primitives, where=lambda condition, x, y: np.where(condition, x, x.dtype.type(0)))


@fault("masked_after_softmax")
class MaskedAfterSoftmax(ByHand):
    """Weights of masked keys are set to zero after the softmax, and the others no longer sum to one."""

    keep: Tensor | None

    def visible(self, operands: Operands, like: Tensor) -> Tensor | None:
        self.keep = super().visible(operands, like)
        return None

    def weighted(self, weights: Tensor, value: Tensor, relative: Tensor | None) -> Tensor:
        if self.keep is not None:
            weights = self.ops.where(self.like_scores(self.keep), weights, weights.dtype.type(0))
        return super().weighted(weights, value, relative)


@fault("minus_ten_thousand_added")
class MinusTenThousandAdded(Numpy):
    """Masked scores are lowered by 10000, which float16 holds; a row that is masked entirely loses nothing by it."""

    @staticmethod
    def where(condition: Array, x: Array, y: Any) -> Array:
        hides = isinstance(y, float) and y < 0
        return x + np.where(condition, 0.0, -1e4).astype(x.dtype) if hides else np.where(condition, x, y)

    primitives = replace(Numpy.primitives, where=where)


@fault("masked_row_is_nan")
class MaskedRowIsNan(Misread):
    """A query without any key gives 0 / 0, where zeros are right: softmax of a row of -inf."""

    @staticmethod
    def misread(config: AttentionConfig) -> dict[str, Any]:
        return {"fully_masked": "nan"} if config.fully_masked == "zeros" else {}


@fault("masked_row_is_mean")
class MaskedRowIsMean(Misread):
    """A query without any key averages all values, where zeros are right: masks made of the lowest finite number."""

    @staticmethod
    def misread(config: AttentionConfig) -> dict[str, Any]:
        return {"fully_masked": "mean"} if config.fully_masked == "zeros" else {}


# Positions ------------------------------------------------------------------------------------------------------------


@fault("causal_shows_next_key")
class CausalShowsNextKey(ByHand):
    """A causal mask off by one, triu(k=2) for triu(k=1): each query sees the key after its own, the token to predict."""

    def causal(self, like: Tensor) -> Tensor | None:
        i, j = self.aligned_positions(like)
        return None if self.config.causal == "none" else j <= i + 1


@fault("causal_hides_own_key")
class CausalHidesOwnKey(ByHand):
    """A causal mask off by one, `<` for `<=`: no query sees its own key, and the first sees none."""

    def causal(self, like: Tensor) -> Tensor | None:
        i, j = self.aligned_positions(like)
        return None if self.config.causal == "none" else j < i


@fault("lengths_swapped")
class LengthsSwapped(ByHand):
    """Number of queries and of keys are confused in the offset of a causal mask."""

    def aligned_positions(self, like: Tensor) -> tuple[Tensor, Tensor]:
        c = self.config
        first = c.q_len - c.kv_len if c.causal == "bottom_right" else 0
        return self.ops.arange(c.q_len, like)[:, None] + first, self.ops.arange(c.kv_len, like)


@fault("bottom_right_as_top_left")
class BottomRightAsTopLeft(Misread):
    """`is_causal` aligned at the first query, so that a decoding step sees the first key alone."""

    @staticmethod
    def misread(config: AttentionConfig) -> dict[str, Any]:
        return {"causal": "top_left"} if config.causal == "bottom_right" else {}


@fault("causal_dropped_with_mask")
class CausalDroppedWithMask(Misread):
    """With a mask operand the causal flag is ignored: the operation takes one or the other."""

    @staticmethod
    def misread(config: AttentionConfig) -> dict[str, Any]:
        return {"causal": "none"} if config.mask else {}


@fault("window_one_too_wide")
class WindowOneTooWide(Misread):
    """A window of so many keys with the query's own is read as so many before it."""

    @staticmethod
    def misread(config: AttentionConfig) -> dict[str, Any]:
        left = config.window.left if config.window else None
        return {} if left is None else {"window": config.window.model_copy(update={"left": left + 1})}


@fault("lengths_off_by_one")
class LengthsOffByOne(ByHand):
    """`<=` for `<`: the first key behind each item's length takes part."""

    def lengths(self, operands: Operands, like: Tensor) -> Tensor | None:
        if self.config.kv_lengths is None:
            return None
        return super().lengths({**operands, "kv_lengths": operands["kv_lengths"] + 1}, like)


@fault("relative_transposed")
class RelativeTransposed(ByHand):
    """a_ji for a_ij: relative positions counted from the key to the query."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, operands: Operands) -> Tensor:
        turned = {name: x.swapaxes(0, 1) for name, x in operands.items() if name.startswith("relative")}
        return super().attend(query, key, value, {**operands, **turned})


@fault("relative_values_forgotten")
class RelativeValuesForgotten(ByHand):
    """Relative positions enter the scores only, as most libraries have it; seed 003 adds them to the values too."""

    def weighted(self, weights: Tensor, value: Tensor, relative: Tensor | None) -> Tensor:
        return super().weighted(weights, value, None)


# Heads and projections ------------------------------------------------------------------------------------------------


@fault("shared_heads_interleaved")
class SharedHeadsInterleaved(Numpy):
    """Grouped heads repeated a b a b (np.tile, torch.Tensor.repeat) where a a b b is meant (repeat_interleave)."""

    primitives = replace(
        Numpy.primitives, repeat=lambda x, times, axis: np.concatenate([x] * times, axis=axis)
    )


@fault("undivided_heads_cut_off")
class UndividedHeadsCutOff(ByHand):
    """Heads that do not divide evenly are repeated once more and cut off, so that something comes out."""

    def for_query_heads(self, x: Tensor) -> Tensor:
        c, axis = self.config, self.working_axes.index("h")
        repeated = self.ops.repeat(x, math.ceil(c.num_heads / c.num_kv_heads), axis)
        return repeated.take(range(c.num_heads), axis)


@fault("heads_merged_before_transposing")
class HeadsMergedBeforeTransposing(ByHand):
    """(batch, heads, sequence, features) reshaped to (batch, sequence, packed) without moving heads behind sequence."""

    def merged(self, x: Tensor) -> Tensor:
        c = self.config
        if c.layout != "bsd" or self.working_axes != "bhsd":
            return super().merged(x)
        return self.ops.reshape(x, (c.batch, c.q_len, c.num_heads * c.value_dim))


@fault("key_and_value_swapped")
class KeyAndValueSwapped(ByHand):
    """Called with (query, key, value) where the arguments are (query, value, key), as Keras has them."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, operands: Operands) -> Tensor:
        return super().attend(query, value, key, operands)


@fault("weight_not_transposed")
class WeightNotTransposed(ByHand):
    """A linear layer's (out, in) matrix used as (in, out), which goes unnoticed as long as it is square."""

    def linear_product(self, x: Tensor, weight: Tensor) -> Tensor:
        return super().linear_product(x, self.ops.permute(weight, (1, 0)))


@fault("output_bias_dropped")
class OutputBiasDropped(ByHand):
    """The projection of the output has lost its bias, for instance when weights were carried over."""

    def __call__(self, operands: Operands) -> Tensor:
        return super().__call__({name: x * 0 if name == "output_bias" else x for name, x in operands.items()})
