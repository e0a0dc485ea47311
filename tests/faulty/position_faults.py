"""Wrong positions of queries and keys: rotary positions, caches, windows, lengths."""

from __future__ import annotations

from typing import Any

from backends.attention.by_hand import ByHand
from backends.numpy import Numpy
from backends.parts.primitives import Operands, Tensor
from specs.arithmetic.formats import Array
from specs.case.attention import AttentionConfig
from specs.case.visibility import Pairs, intersect
from tests.faulty.fault import fault
from tests.faulty.wrong import Misread

# Rotary positions -----------------------------------------------------------------------------------------------------


@fault(
    "rotary_pairs_swapped",
    values=[
        "attention/rotary::pairing/half[einsum-float32]",
        "attention/rotary::pairing/interleaved[matmul-float16]",
        "attention/rotary::of_some_features/halfx6[einsum-float32]",
        "attention/rotary::projected[matmul-float32]",
        "attention/rotary::decode[einsum-float32]",
    ],
)
class RotaryPairsSwapped(Misread):
    """Features i and i + dims/2 turn together where 2i and 2i + 1 should, and the other way round."""

    @staticmethod
    def misread(config: AttentionConfig) -> dict[str, Any]:
        other = {"half": "interleaved", "interleaved": "half"}
        rotary = config.rotary
        return {"rotary": rotary and rotary.model_copy(update={"pairing": other[rotary.pairing]})}


@fault(
    "rotary_turns_keys_backwards",
    values=[
        "attention/rotary::pairing/half[einsum-float64]",
        "attention/rotary::layouts/bsd[matmul-float32]",
        "attention/rotary::after_a_cache/interleaved[einsum-float32]",
    ],
)
class RotaryTurnsKeysBackwards(ByHand):
    """The keys' sine has the wrong sign, so that scores depend on the sum of two positions, not their difference."""

    def prepend_past(self, name: str, x: Tensor, operands: Operands) -> Tensor:
        if name == "key" and self.config.rotary:  # rotated once already, so two inverse rotations leave one inverse
            inverse = {**operands, "rotary_sin": -operands["rotary_sin"]}
            for _ in range(2):
                x = self.rotate(x, self.config.past or 0, inverse)
        return super().prepend_past(name, x, operands)


@fault(
    "rotary_from_zero_after_cache",
    values=[
        "attention/rotary::after_a_cache/half[einsum-float32]",
        "attention/rotary::after_a_cache/interleaved[matmul-float32]",
        "attention/rotary::decode[matmul-float32]",
    ],
)
class RotaryFromZeroAfterCache(ByHand):
    """New keys and queries are turned as if there were no cache before them."""

    def rotate(self, x: Tensor, start: int, operands: Operands) -> Tensor:
        return super().rotate(x, 0, operands)


@fault(
    "rotary_position_off_by_one",
    values=[
        "attention/rotary::after_a_cache/half[einsum-float32]",
        "attention/rotary::fewer_queries[matmul-float32]",
        "attention/rotary::decode[einsum-float32]",
    ],
)
class RotaryPositionOffByOne(ByHand):
    """A decoder numbers its new token by the length of the cache less one."""

    def rotate(self, x: Tensor, start: int, operands: Operands) -> Tensor:
        return super().rotate(x, max(start - 1, 0), operands)


@fault(
    "rotary_of_values_too",
    values=[
        "attention/rotary::pairing/half[einsum-float32]",
        "attention/rotary::grouped[matmul-float32]",
        "attention/rotary::columns[einsum-float32]",
    ],
)
class RotaryOfValuesToo(ByHand):
    """Values are turned like the keys."""

    def prepend_past(self, name: str, x: Tensor, operands: Operands) -> Tensor:
        return super().prepend_past(name, self.rotate(x, 0, operands) if name == "value" else x, operands)


# Cache ----------------------------------------------------------------------------------------------------------------


@fault(
    "cache_behind_new_keys",
    values=[
        "attention/cache::chunk[einsum-float32]",
        "attention/cache::chunk[matmul-float16]",
        "attention/cache::window[einsum-float32]",
        "attention/cache::item_lengths[matmul-float32]",
    ],
)
class CacheBehindNewKeys(ByHand):
    """New keys are placed before those of the cache, so that masks by position apply to the wrong keys."""

    def prepend_past(self, name: str, x: Tensor, operands: Operands) -> Tensor:
        if self.config.past is None:
            return x
        past = self.split(operands[f"past_{name}"], self.config.num_kv_heads)
        return self.ops.concat([x, past], self.working_axes.index("s"))


@fault(
    "cache_of_keys_for_values",
    values=[
        "attention/cache::chunk[einsum-float32]",
        "attention/cache::lengths/9[matmul-float32]",
        "attention/cache::columns[einsum-float32]",
    ],
)
class CacheOfKeysForValues(ByHand):
    """The cached keys are taken for the cached values too."""

    def prepend_past(self, name: str, x: Tensor, operands: Operands) -> Tensor:
        return super().prepend_past("key" if self.config.past else name, x, operands)


@fault(
    "garbage_of_cache_multiplied",
    nan=[
        "attention/unseen::beyond_lengths/nan-ignored[einsum-float32]",
        "attention/unseen::beyond_lengths/inf-ignored[matmul-float32]",
        "attention/unseen::padding/nan[einsum-float32]",
        "attention/unseen::in_a_cache[matmul-float32]",
        "attention/special_values::nan_in_masked_value[einsum-float32]",
    ],
)
class GarbageOfCacheMultiplied(ByHand):
    """Masked values are multiplied with weight 0, and 0 times NaN is NaN."""

    def value_mask(self, visible: Tensor | None) -> Tensor | None:
        return None


# Windows --------------------------------------------------------------------------------------------------------------


@fault(
    "window_dropped_with_causal",
    values=[
        "attention/windows::decode[einsum-float32]",
        "attention/windows::grouped[matmul-float32]",
        "attention/blocks::window_of_ten_in_640[einsum-float32]",
        "attention/sinks::window[matmul-float32]",
    ],
)
class WindowDroppedWithCausal(Misread):
    """The window is ignored where there is a causal mask."""

    @staticmethod
    def misread(config: AttentionConfig) -> dict[str, Any]:
        return {"window": None} if config.causal != "none" else {}


@fault(
    "window_always_from_first_query",
    values=[
        "attention/windows::decode[einsum-float32]",
        "attention/windows::sides/bottom_right-1x2[matmul-float32]",
        "attention/cache::window[einsum-float32]",
    ],
)
class WindowAlwaysFromFirstQuery(ByHand):
    """The window is aligned at the first query, though the causal mask is at the last."""

    def mask_by(self, field: str, pairs: Pairs) -> Tensor | None:
        window, i, j = self.config.window, pairs.query, pairs.key
        if field != "window" or window is None:
            return super().mask_by(field, pairs)
        left = None if window.left is None else j >= i - window.left
        return intersect(left, None if window.right is None else j <= i + window.right)


@fault(
    "window_to_the_left_only",
    values=[
        "attention/windows::sides/none-1x2[einsum-float32]",
        "attention/windows::sides/none-1[matmul-float32]",
        "attention/windows::multi_query[einsum-float32]",
        "attention/blocks::window_of_ten_around_in_640[matmul-float32]",
    ],
)
class WindowToTheLeftOnly(Misread):
    """The window's limit to the right of the query is ignored."""

    @staticmethod
    def misread(config: AttentionConfig) -> dict[str, Any]:
        return {"window": config.window and config.window.model_copy(update={"right": None})}


# Lengths and blocks ---------------------------------------------------------------------------------------------------


@fault(
    "lengths_ignored",
    values=[
        "attention/key_lengths::any/1x9[einsum-float32]",
        "attention/key_lengths::decode[matmul-float32]",
        "attention/masks::lengths[einsum-float32]",
        "attention/cache::item_lengths[matmul-float32]",
    ],
)
class LengthsIgnored(Misread):
    """The number of keys of each item is ignored: padding is attended to."""

    @staticmethod
    def misread(config: AttentionConfig) -> dict[str, Any]:
        return {"kv_lengths": None}


@fault(
    "lengths_of_first_item",
    values=[
        "attention/key_lengths::any/1x9[einsum-float32]",
        "attention/key_lengths::many[matmul-float32]",
        "attention/blocks::padded[einsum-float32]",
    ],
)
class LengthsOfFirstItem(ByHand):
    """All items of a batch get the length of the first."""

    def mask_by(self, field: str, pairs: Pairs) -> Tensor | None:
        visible = super().mask_by(field, pairs)
        return visible if visible is None or field != "kv_lengths" else pairs.key < pairs.read("kv_lengths", "b")[:1]


@fault(
    "causal_off_by_one_at_one_row",
    values=[
        "attention/blocks::causal/129[einsum-float32]",
        "attention/causal::aligned/top_left-7-7[matmul-float32]",
        "attention/designed_data::last_key_wins[einsum-float16]",
        "attention/designed_data::uniform_weights[matmul-float32]",
    ],
)
class CausalOffByOneAtOneRow(ByHand):
    """Only the last query but one sees the key after its own: the last row of a kernel's block."""

    def mask_by(self, field: str, pairs: Pairs) -> Tensor | None:
        visible = super().mask_by(field, pairs)
        if visible is None or field != "causal":
            return visible
        return pairs.key <= pairs.aligned_key + (pairs.query == self.config.q_len - 2)


@fault(
    "strides_ignored",
    values=[
        "attention/memory::layouts/transposed-bshd[einsum-float32]",
        "attention/memory::grouped[matmul-float32]",
        "attention/memory::projected/transposed[einsum-float32]",
    ],
)
class StridesIgnored(Numpy):
    """Operands are read in memory order, as if they were contiguous."""

    def from_numpy(self, array: Array, device: str) -> Array:
        return array.ravel(order="K").reshape(array.shape)
