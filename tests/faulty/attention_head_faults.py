"""Wrong handling of attention heads: how they are shared, merged and projected, and which operands they receive."""

from __future__ import annotations

import math
from dataclasses import replace

from backends.attention.by_hand import ByHand
from backends.parts.primitives import Operands, Primitives, Tensor
from specs.case.attention import AttentionConfig
from tests.faulty.fault import fault


@fault(
    "shared_heads_interleaved",
    values=[
        "attention/grouped::two_queries_per_head[einsum-float32]",
        "attention/grouped::four_queries_per_head[matmul-float64]",
        "attention/grouped::decode_step[einsum-float32]",
        "attention/grouped::head_first[matmul-float16]",
        "attention/grouped::packed[einsum-float32]",
        "attention/causal::grouped[matmul-float32]",
    ],
)
class SharedHeadsInterleaved(ByHand):
    """Grouped heads repeated a b a b (np.tile, torch.Tensor.repeat) where a a b b is meant (repeat_interleave)."""

    def __init__(self, primitives: Primitives, config: AttentionConfig) -> None:
        tile = replace(primitives, repeat=lambda x, times, axis: primitives.concat([x] * times, axis))
        super().__init__(tile, config)


@fault(
    "undivided_heads_cut_off",
    accepted=[
        "invalid/attention::heads_not_divisible[einsum-float32]",
        "invalid/attention::heads_not_divisible[matmul-float32]",
        "invalid/attention::more_kv_heads[einsum-float32]",
    ],
)
class UndividedHeadsCutOff(ByHand):
    """Heads that do not divide evenly are repeated once more and cut off, so that something comes out."""

    def repeat_heads(self, x: Tensor) -> Tensor:
        c = self.config
        if c.num_heads % c.num_kv_heads == 0:
            return super().repeat_heads(x)
        axis = self.working_axes.index("h")
        repeated = self.ops.repeat(x, math.ceil(c.num_heads / c.num_kv_heads), axis)
        return repeated.take(range(c.num_heads), axis)


@fault(
    "heads_merged_before_transposing",
    values=[
        "attention/layouts::packed[matmul-float32]",
        "attention/layouts::packed[matmul-float16]",
        "attention/grouped::packed[matmul-float64]",
        "seeds/seed_000_transformer::split_heads[matmul-float32]",
    ],
)
class HeadsMergedBeforeTransposing(ByHand):
    """(batch, heads, sequence, features) reshaped to (batch, sequence, packed) without moving heads behind sequence."""

    def merge(self, x: Tensor) -> Tensor:
        c = self.config
        if c.layout != "bsd" or self.working_axes != "bhsd":
            return super().merge(x)
        return self.ops.reshape(x, (c.batch, c.q_len, c.num_heads * c.value_dim))


@fault(
    "key_and_value_swapped",
    values=[
        "attention/lengths::equal[einsum-float32]",
        "attention/layouts::bhsd[matmul-float16]",
        "attention/layouts::columns[einsum-float64]",
        "seeds/seed_004::module[matmul-float32]",
    ],
)
class KeyAndValueSwapped(ByHand):
    """Called with (query, key, value) where the arguments are (query, value, key), as Keras has them."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, operands: Operands) -> Tensor:
        return super().attend(query, value, key, operands)


@fault(
    "relative_transposed",
    values=[
        "seeds/seed_003::small[einsum-float32]",
        "seeds/seed_003::keys_only[matmul-float64]",
        "seeds/seed_003::values_only[matmul-float16]",
    ],
)
class RelativeTransposed(ByHand):
    """a_ji for a_ij: relative positions counted from the key to the query."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, operands: Operands) -> Tensor:
        transposed = {name: x.swapaxes(0, 1) for name, x in operands.items() if name.startswith("relative")}
        return super().attend(query, key, value, {**operands, **transposed})


@fault(
    "relative_values_forgotten",
    values=[
        "seeds/seed_003::small[einsum-float32]",
        "seeds/seed_003::small[matmul-float16]",
        "seeds/seed_003::values_only[einsum-float64]",
    ],
)
class RelativeValuesForgotten(ByHand):
    """Relative positions enter the scores only, as most libraries have it; seed 003 adds them to the values too."""

    def weighted_sum(
        self, weights: Tensor, value: Tensor, relative: Tensor | None, value_mask: Tensor | None
    ) -> Tensor:
        return super().weighted_sum(weights, value, None, value_mask)


@fault(
    "weight_not_transposed",
    values=[
        "seeds/seed_004::module[matmul-float32]",
        "seeds/seed_004::module_small[einsum-float64]",
        "seeds/seed_002_columns::moderate_logits[einsum-float32]",
    ],
)
class WeightNotTransposed(ByHand):
    """A linear layer's (out, in) matrix used as (in, out), which goes unnoticed as long as it is square."""

    def linear_product(self, x: Tensor, weight: Tensor) -> Tensor:
        return super().linear_product(x, self.ops.permute_dims(weight, (1, 0)))


@fault(
    "output_bias_dropped",
    values=[
        "seeds/seed_000_transformer::split_heads[einsum-float32]",
        "seeds/seed_000_transformer::cross_lengths[matmul-float16]",
        "seeds/seed_000_transformer::one_item[einsum-float64]",
    ],
)
class OutputBiasDropped(ByHand):
    """The projection of the output has lost its bias, for instance when weights were carried over."""

    def __call__(self, operands: Operands) -> Tensor:
        return super().__call__({name: x * 0 if name == "output_bias" else x for name, x in operands.items()})
