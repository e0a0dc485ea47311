"""Wrong sets of visible keys: mask operands, positions and lengths."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np

from backends.attention.by_hand import ByHand
from backends.numpy import Numpy
from backends.parts.primitives import Operands, Primitives, Tensor
from specs.arithmetic.formats import Array
from specs.case.attention import AttentionConfig
from specs.case.visibility import Pairs
from tests.faulty.fault import fault
from tests.faulty.wrong import Misread

# Mask operands --------------------------------------------------------------------------------------------------------


@fault(
    "mask_inverted",
    values=[
        "attention/masks::boolean[einsum-float32]",
        "attention/masks::boolean_of_every_axis[einsum-float64]",
        "attention/masks::boolean_per_head[matmul-float32]",
        "attention/masks::padding[matmul-float16]",
        "attention/causal::with_mask[einsum-float32]",
        "seeds/seed_000_transformer::masked[einsum-float32]",
    ],
)
class MaskInverted(ByHand):
    """True is read as `masked`, the convention of torch.nn.MultiheadAttention, where it means `takes part`."""

    def mask_by(self, field: str, pairs: Pairs) -> Tensor | None:
        visible = super().mask_by(field, pairs)
        return visible if visible is None or field != "mask" else ~visible


@fault(
    "additive_mask_multiplied",
    values=[
        "attention/masks::additive[einsum-float32]",
        "attention/masks::additive[matmul-float16]",
        "attention/masks::additive_moderate[einsum-float32]",
    ],
    nan=[
        "attention/masks::additive_infinite[einsum-float32]",
        "attention/masks::additive_infinite[matmul-float64]",
    ],
)
class AdditiveMaskMultiplied(ByHand):
    """An additive mask is multiplied with the scores instead of added to them."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, operands: Operands) -> Tensor:
        factor = self.additive_mask(operands)
        if factor is None:
            return super().attend(query, key, value, operands)
        unmasked = self.config.model_copy(update={"mask": None})
        softmax = self.ops.softmax
        multiplied = replace(self.ops, softmax=lambda x, axis: softmax(x * self.align_to_scores(factor), axis))
        return type(self)(multiplied, unmasked).attend(query, key, value, operands)


@fault(
    "hidden_scores_are_zero",
    values=[
        "attention/causal::square[einsum-float32]",
        "attention/masks::boolean[matmul-float32]",
        "attention/masks::padding[einsum-float64]",
        "attention/masks::lengths[matmul-float16]",
    ],
)
class HiddenScoresAreZero(ByHand):
    """A mask of ones and zeros is multiplied with the scores: a masked key keeps exp(0), which may be the largest."""

    def __init__(self, primitives: Primitives, config: AttentionConfig) -> None:
        super().__init__(replace(primitives, where=lambda condition, x, y: primitives.where(condition, x, 0.0)), config)


@fault(
    "masked_after_softmax",
    values=[
        "attention/causal::square[einsum-float32]",
        "attention/masks::boolean[matmul-float32]",
        "attention/masks::padding[einsum-float64]",
        "attention/masks::lengths[matmul-float16]",
    ],
)
class MaskedAfterSoftmax(ByHand):
    """Weights of masked keys are set to zero after the softmax, and the others no longer sum to one."""

    visible_keys: Tensor | None

    def visible(self, operands: Operands, like: Tensor, native: Collection[str] = ()) -> Tensor | None:
        self.visible_keys = super().visible(operands, like, native)
        return None

    def weighted_sum(
        self, weights: Tensor, value: Tensor, relative: Tensor | None, value_mask: Tensor | None
    ) -> Tensor:
        if self.visible_keys is not None:
            weights = self.ops.where(self.align_to_scores(self.visible_keys), weights, 0.0)
        return super().weighted_sum(weights, value, relative, value_mask)


@fault(
    "minus_ten_thousand_added",
    values=[
        "attention/masks::fully_masked_row_as_mean[einsum-float32]",
        "attention/masks::fully_masked_row_as_mean[matmul-float64]",
    ],
    nan=[
        "attention/masks::fully_masked_row_as_nan[einsum-float32]",
        "attention/masks::fully_masked_row_as_nan[matmul-float16]",
    ],
)
class MinusTenThousandAdded(Numpy):
    """Masked scores are lowered by 10000, which float16 can represent; it does not change a fully masked row."""

    @staticmethod
    def where(condition: Array, x: Array, y: Any) -> Array:
        is_mask = isinstance(y, (float, np.floating)) and y < 0
        return x + np.where(condition, 0.0, -1e4).astype(x.dtype) if is_mask else np.where(condition, x, y)

    primitives = replace(Numpy.primitives, where=where)


@fault(
    "masked_row_is_nan",
    nan=[
        "attention/masks::fully_masked_row[einsum-float32]",
        "attention/masks::fully_masked_row[matmul-float16]",
        "attention/causal::bottom_right_fewer_keys[einsum-float64]",
        "attention/causal::bottom_right_fewer_keys[matmul-float32]",
    ],
)
class MaskedRowIsNan(Misread):
    """A query without any key gives 0 / 0, where zeros are right: softmax of a row of -inf."""

    @staticmethod
    def misread(config: AttentionConfig) -> dict[str, Any]:
        return {"fully_masked": "nan"} if config.fully_masked == "zeros" else {}


@fault(
    "masked_row_is_mean",
    values=[
        "attention/masks::fully_masked_row[einsum-float32]",
        "attention/masks::fully_masked_row[matmul-float16]",
        "attention/causal::bottom_right_fewer_keys[einsum-float64]",
        "attention/causal::bottom_right_fewer_keys[matmul-float32]",
    ],
)
class MaskedRowIsMean(Misread):
    """A query without any key averages all values, where zeros are right: masks made of the lowest finite number."""

    @staticmethod
    def misread(config: AttentionConfig) -> dict[str, Any]:
        return {"fully_masked": "mean"} if config.fully_masked == "zeros" else {}


# Positions and lengths ------------------------------------------------------------------------------------------------


@fault(
    "causal_shows_next_key",
    values=[
        "attention/causal::square[einsum-float32]",
        "attention/causal::square_bottom_right[matmul-float64]",
        "attention/causal::top_left_fewer_queries[einsum-float32]",
        "attention/causal::bottom_right_fewer_keys[matmul-float32]",
        "attention/causal::longer[matmul-float16]",
        "attention/bias::alibi_causal[einsum-float32]",
    ],
)
class CausalShowsNextKey(ByHand):
    """A causal mask off by one, triu(k=2) for triu(k=1): a query sees the key after its own, the token to predict."""

    def mask_by(self, field: str, pairs: Pairs) -> Tensor | None:
        visible = super().mask_by(field, pairs)
        return visible if visible is None or field != "causal" else pairs.key <= pairs.aligned_key + 1


@fault(
    "causal_hides_own_key",
    values=[
        "attention/causal::square[einsum-float32]",
        "attention/causal::square_bottom_right[matmul-float64]",
        "attention/causal::top_left_fewer_keys[einsum-float32]",
        "attention/causal::longer[matmul-float16]",
        "attention/grouped::decode_step[einsum-float32]",
    ],
)
class CausalHidesOwnKey(ByHand):
    """A causal mask off by one, `<` for `<=`: no query sees its own key, and the first sees none."""

    def mask_by(self, field: str, pairs: Pairs) -> Tensor | None:
        visible = super().mask_by(field, pairs)
        return visible if visible is None or field != "causal" else pairs.key < pairs.aligned_key


@fault(
    "lengths_swapped",
    values=[
        "attention/causal::bottom_right_fewer_queries[einsum-float32]",
        "attention/causal::bottom_right_fewer_keys[matmul-float32]",
        "attention/causal::window_bottom_right[einsum-float64]",
        "attention/grouped::decode_step[matmul-float16]",
    ],
)
class LengthsSwapped(ByHand):
    """Number of queries and of keys are confused in the offset of a causal mask."""

    def is_visible(self, pairs: Pairs, native: Collection[str] = ()) -> Tensor | None:
        with mock.patch.object(Pairs, "aligned_key", pairs.query - self.config.query_offset):
            return super().is_visible(pairs, native)


@fault(
    "bottom_right_as_top_left",
    values=[
        "attention/causal::bottom_right_fewer_queries[einsum-float32]",
        "attention/causal::bottom_right_fewer_keys[matmul-float32]",
        "attention/causal::window_bottom_right[einsum-float64]",
        "attention/grouped::decode_step[matmul-float16]",
    ],
)
class BottomRightAsTopLeft(Misread):
    """`is_causal` aligned at the first query, so that a decoding step sees the first key alone."""

    @staticmethod
    def misread(config: AttentionConfig) -> dict[str, Any]:
        return {"causal": "top_left"} if config.causal == "bottom_right" else {}


@fault(
    "causal_dropped_with_mask",
    values=[
        "attention/causal::with_mask[einsum-float32]",
        "attention/causal::with_mask[matmul-float64]",
        "attention/causal::with_mask[matmul-float16]",
    ],
)
class CausalDroppedWithMask(Misread):
    """With a mask operand the causal flag is ignored: the operation takes one or the other."""

    @staticmethod
    def misread(config: AttentionConfig) -> dict[str, Any]:
        return {"causal": "none"} if config.mask else {}


@fault(
    "window_one_too_wide",
    values=[
        "attention/causal::window_left[einsum-float32]",
        "attention/causal::window_both_sides[matmul-float64]",
        "attention/causal::window_bottom_right[matmul-float16]",
    ],
)
class WindowOneTooWide(Misread):
    """A window of so many keys with the query's own is read as so many before it."""

    @staticmethod
    def misread(config: AttentionConfig) -> dict[str, Any]:
        window = config.window
        if window is None or window.left is None:
            return {}
        return {"window": window.model_copy(update={"left": window.left + 1})}


@fault(
    "lengths_off_by_one",
    values=[
        "attention/masks::lengths[einsum-float32]",
        "attention/masks::lengths[matmul-float64]",
        "attention/masks::lengths[matmul-float16]",
    ],
)
class LengthsOffByOne(ByHand):
    """`<=` for `<`: the first key behind each item's length takes part."""

    def mask_by(self, field: str, pairs: Pairs) -> Tensor | None:
        visible = super().mask_by(field, pairs)
        return visible if visible is None or field != "kv_lengths" else pairs.key <= pairs.read("kv_lengths", "b")
