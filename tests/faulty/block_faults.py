"""Attention that is right in its first block of keys or queries, and forgets or repeats something beyond it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from backends.attention.by_hand import ByHand
from backends.numpy import Numpy
from backends.parts.primitives import Operands, Primitives, Tensor
from specs.arithmetic.formats import Array
from specs.case.attention import AttentionConfig
from specs.case.visibility import Pairs
from tests.faulty.fault import fault

BLOCK = 64


def checks(case: str, *names: str) -> list[str]:
    """Checks of a case beyond the first block, by both formulations; further checks by name."""
    formulations = [f"attention/second_block::{case}[{formulation}-float32]" for formulation in ("einsum", "matmul")]
    return [*formulations, *names]


class SeesAllBeyond(ByHand):
    """The rule of one field is not applied to keys beyond the first block."""

    field: str

    def mask_by(self, field: str, pairs: Pairs) -> Tensor | None:
        visible = super().mask_by(field, pairs)
        return visible if visible is None or field != self.field else visible | (pairs.key >= BLOCK)


# Masks ----------------------------------------------------------------------------------------------------------------


@fault("mask_of_first_block_only", values=checks("bool_mask") + checks("bool_mask_for_all") + checks("padding"))
class MaskOfFirstBlockOnly(SeesAllBeyond):
    """The pointer to the mask is not moved to the next block, which is taken as visible."""

    field = "mask"


@fault("causal_in_first_block_only", values=checks("causal") + checks("causal_at_the_end"))
class CausalInFirstBlockOnly(SeesAllBeyond):
    """Blocks of keys behind the first are taken for blocks below the diagonal, which need no mask."""

    field = "causal"


@fault("window_in_first_block_only", values=checks("window") + checks("causal_window"))
class WindowInFirstBlockOnly(SeesAllBeyond):
    """The window is compared within the first block of keys only."""

    field = "window"


@fault("lengths_in_first_block_only", values=checks("lengths") + checks("causal_and_lengths"))
class LengthsInFirstBlockOnly(SeesAllBeyond):
    """Key lengths are compared in the first block only."""

    field = "kv_lengths"


@fault("mask_repeated_by_block", values=checks("bool_mask") + checks("bool_mask_for_all"))
class MaskRepeatedByBlock(ByHand):
    """Every block of keys is masked like the first."""

    def mask_by(self, field: str, pairs: Pairs) -> Tensor | None:
        visible = super().mask_by(field, pairs)
        return visible if visible is None or field != "mask" else repeat_block(visible, -1)


@fault("causal_within_each_block_of_queries", values=checks("causal") + checks("causal_window"))
class CausalWithinEachBlockOfQueries(ByHand):
    """The second block of queries is numbered from zero again."""

    def mask_by(self, field: str, pairs: Pairs) -> Tensor | None:
        visible = super().mask_by(field, pairs)
        return visible if visible is None or field != "causal" else pairs.key <= pairs.query % BLOCK


@fault("additive_mask_of_first_block_only", values=checks("additive_mask"))
class AdditiveMaskOfFirstBlockOnly(ByHand):
    """An additive mask is added to the scores of the first block of keys only."""

    def additive_mask(self, operands: Operands) -> Tensor | None:
        mask = super().additive_mask(operands)
        return mask if mask is None else beyond(mask, -1, 0)


# Scores ---------------------------------------------------------------------------------------------------------------


@fault("bias_of_first_block_only", values=checks("bias") + checks("alibi"))
class BiasOfFirstBlockOnly(ByHand):
    """The bias is added to the scores of the first block of keys only."""

    def add_terms(self, scores: Tensor, names: Collection[str], operands: Operands) -> Tensor:
        cut = {name: beyond(x, -1, 0) if name == "bias" else x for name, x in operands.items()}
        return super().add_terms(scores, names, cut)


@fault("bias_repeated_by_block", values=checks("bias"))
class BiasRepeatedByBlock(ByHand):
    """Every block of keys gets the bias of the first."""

    def add_terms(self, scores: Tensor, names: Collection[str], operands: Operands) -> Tensor:
        repeated = {name: repeat_block(x, -1) if name == "bias" else x for name, x in operands.items()}
        return super().add_terms(scores, names, repeated)


@fault("scale_in_first_block_only", values=checks("plain") + checks("scale/0.5") + checks("grouped"))
class ScaleInFirstBlockOnly(ByHand):
    """Only the first block of keys is scaled."""

    def scale(self, scores: Tensor) -> Tensor:
        scaled = super().scale(scores)
        return np.where(index(scores, self.keys_axis) >= BLOCK, scores, scaled)


@fault("softcap_in_first_block_only", values=checks("softcap"))
class SoftcapInFirstBlockOnly(ByHand):
    """The scores of the first block of keys only are capped."""

    def __init__(self, primitives: Primitives, config: AttentionConfig) -> None:
        def tanh(x: Tensor) -> Tensor:
            return np.where(index(x, self.keys_axis) >= BLOCK, x, np.tanh(x))

        super().__init__(replace(primitives, tanh=tanh), config)


@fault("sink_in_every_block", values=checks("sink") + checks("sink_and_window"))
class SinkInEveryBlock(ByHand):
    """An online softmax begins each block of keys with the sink, which is so counted several times."""

    def softmax_with_logits(self, scores: Tensor, logits: Sequence[Tensor]) -> Tensor:
        return super().softmax_with_logits(scores, [*logits] * -(-self.config.kv_len // BLOCK))


@fault("relative_keys_of_first_block_only", values=checks("relative"))
class RelativeKeysOfFirstBlockOnly(ByHand):
    """Relative positions of keys beyond the first block are not looked up."""

    def scores(self, query: Tensor, key: Tensor, relative: Tensor | None) -> Tensor:
        return super().scores(query, key, relative if relative is None else beyond(relative, 1, 0))


# Keys and values ------------------------------------------------------------------------------------------------------


@fault("relative_values_of_first_block_only", values=checks("relative"))
class RelativeValuesOfFirstBlockOnly(ByHand):
    """Relative positions of values beyond the first block are not looked up."""

    def weighted_sum(
        self, weights: Tensor, value: Tensor, relative: Tensor | None, value_mask: Tensor | None
    ) -> Tensor:
        cut = relative if relative is None else beyond(relative, 1, 0)
        return super().weighted_sum(weights, value, cut, value_mask)


@fault("values_repeated_by_block", values=checks("plain") + checks("value_dim") + checks("one_query"))
class ValuesRepeatedByBlock(ByHand):
    """Every block of keys is weighed with the values of the first."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, operands: Operands) -> Tensor:
        return super().attend(query, key, repeat_block(value, self.working_axes.index("s")), operands)


@fault("first_head_beyond_first_block", values=checks("grouped") + checks("causal_at_the_end_grouped"))
class FirstHeadBeyondFirstBlock(ByHand):
    """Beyond the first block of keys all groups of heads read the first key and value head."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, operands: Operands) -> Tensor:
        return super().attend(query, self.mix(key), self.mix(value), operands)

    def mix(self, x: Tensor) -> Tensor:
        if self.config.num_heads == self.config.num_kv_heads:
            return x
        first = np.broadcast_to(x.take([0], self.working_axes.index("h")), x.shape)
        return np.where(index(x, self.working_axes.index("s")) >= BLOCK, first, x)


@fault("cache_repeated_by_block", values=checks("cache"))
class CacheRepeatedByBlock(ByHand):
    """A table of pages has one page: every block of the cache is the first."""

    def prepend_past(self, name: str, x: Tensor, operands: Operands) -> Tensor:
        past = f"past_{name}"
        if past not in operands:
            return super().prepend_past(name, x, operands)
        repeated = repeat_block(operands[past], self.config.layout.index("s"))
        return super().prepend_past(name, x, {**operands, past: repeated})


@fault("rotary_positions_of_first_block", values=checks("rotary/half") + checks("rotary/interleaved"))
class RotaryPositionsOfFirstBlock(ByHand):
    """The table of positions has one block, which every block of queries and keys uses."""

    def rotary_rows(self, table: Tensor, start: int, like: Tensor) -> Tensor:
        return super().rotary_rows(repeat_block(table, 0), start, like)


# Ragged blocks --------------------------------------------------------------------------------------------------------


@fault("padding_of_last_block_weighed", values=checks("plain") + checks("one_query") + checks("grouped"))
class PaddingOfLastBlockWeighed(Numpy):
    """The last block of keys is filled up with zeros, whose scores of 0 take part in the sum of the weights."""

    @staticmethod
    def softmax(x: Array, axis: int) -> Array:
        shape = list(x.shape)
        shape[axis] = -shape[axis] % BLOCK if shape[axis] > BLOCK else 0
        weights = Numpy.primitives.softmax(np.concatenate([x, np.zeros(shape, x.dtype)], axis), axis)
        return np.take(weights, range(x.shape[axis]), axis)

    primitives = replace(Numpy.primitives, softmax=softmax)


@fault("last_block_of_queries_dropped", values=checks("plain") + checks("causal") + checks("more_queries_than_keys"))
class LastBlockOfQueriesDropped(ByHand):
    """The last block of queries, which is not full, is never written."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, operands: Operands) -> Tensor:
        output = super().attend(query, key, value, operands)
        whole = self.config.q_len // BLOCK * BLOCK
        return np.where(index(output, self.working_axes.index("s")) < (whole or BLOCK), output, 0).astype(output.dtype)


def index(x: Array, axis: int) -> Array:
    """The index of each element along an axis, in a form that broadcasts against `x`."""
    return np.arange(x.shape[axis]).reshape([-1 if i == axis % x.ndim else 1 for i in range(x.ndim)])


def beyond(x: Any, axis: int, value: float) -> Array:
    """`x` with `value` beyond the first block of an axis."""
    return np.where(index(x, axis) >= BLOCK, value, x).astype(x.dtype)


def repeat_block(x: Array, axis: int) -> Array:
    """`x` with the first block of an axis again and again."""
    return np.take(x, np.arange(x.shape[axis]) % BLOCK, axis)
