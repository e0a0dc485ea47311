"""Wrong scores: caps, sinks, blocks of keys, heads and items that use those of another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from backends.attention.by_hand import ByHand
from backends.numpy import Numpy, softmax
from backends.parts.primitives import Operands, Primitives, Tensor
from specs.arithmetic.formats import Array
from specs.case.attention import AttentionConfig
from specs.case.visibility import Pairs
from tests.faulty.fault import fault
from tests.faulty.wrong import Misread

# Scores ---------------------------------------------------------------------------------------------------------------


@fault(
    "scale_twice",
    values=[
        "attention/scale::default[einsum-float32]",
        "attention/rotary::causal[matmul-float32]",
        "attention/features::head_dim/80[einsum-float32]",
        "attention/sinks::plain[matmul-float16]",
    ],
)
class ScaleTwice(Misread):
    """The query is scaled, and the scores are scaled again."""

    @staticmethod
    def misread(config: AttentionConfig) -> dict[str, object]:
        return {"scale": config.score_scale**2} if config.scale_at == "scores" else {}


@fault(
    "scores_squared",
    values=[
        "attention/lengths::equal[einsum-float32]",
        "attention/features::heads/16[matmul-float32]",
        "attention/designed_data::recipes/sparse[einsum-float32]",
    ],
)
class ScoresSquared(ByHand):
    """The products are squared, as kernels of linear attention do it."""

    def __init__(self, primitives: Primitives, config: AttentionConfig) -> None:
        super().__init__(replace(primitives, softmax=lambda x, axis: primitives.softmax(x * abs(x), axis)), config)


@fault(
    "softcap_not_multiplied_back",
    values=[
        "attention/softcap::caps/3.0[einsum-float32]",
        "attention/softcap::caps/20.0[matmul-float64]",
        "attention/softcap::lengths[einsum-float32]",
    ],
)
class SoftcapNotMultipliedBack(ByHand):
    """tanh(scores / cap), without the cap in front: all scores are between -1 and 1."""

    def __init__(self, primitives: Primitives, config: AttentionConfig) -> None:
        cap = config.softcap or 1.0
        super().__init__(replace(primitives, tanh=lambda x: primitives.tanh(x) / cap), config)


@fault(
    "softcap_before_bias",
    values=[
        "attention/softcap::biased/1.0[einsum-float32]",
        "attention/bias::bias_and_softcap[matmul-float32]",
        "attention/cache::softcap_and_bias[einsum-float32]",
    ],
)
class SoftcapBeforeBias(ByHand):
    """The scores are capped before the bias is added."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, operands: Operands) -> Tensor:
        c = self.config
        if c.softcap is None or c.bias is None:
            return super().attend(query, key, value, operands)
        bias, softmax = self.align_to_scores(operands["bias"]), self.ops.softmax
        ops_with_late_bias = replace(self.ops, softmax=lambda x, axis: softmax(x + bias, axis))
        return type(self)(ops_with_late_bias, c.model_copy(update={"bias": None})).attend(query, key, value, operands)


@fault(
    "nan_scores_are_zero",
    nan=[
        "attention/special_values::nan_in_query[einsum-float32]",
        "attention/special_values::nan_in_key[matmul-float32]",
        "attention/special_values::nan_behind_softcap[einsum-float32]",
    ],
)
class NanScoresAreZero(Numpy):
    """Scores that are NaN are replaced with 0, which hides them."""

    primitives = replace(
        Numpy.primitives, softmax=lambda x, axis: softmax(np.where(np.isnan(x), x.dtype.type(0), x), axis)
    )


# Sinks ----------------------------------------------------------------------------------------------------------------


@fault(
    "sink_ignored",
    values=[
        "attention/sinks::plain[einsum-float32]",
        "attention/sinks::plain[matmul-float16]",
        "attention/sinks::one_key[einsum-float32]",
        "attention/sinks::decode[matmul-float32]",
        "attention/rotary::decode_with_sink_and_window[einsum-float32]",
    ],
)
class SinkIgnored(ByHand):
    """The weights sum to one as without a sink."""

    def softmax_with_logits(self, scores: Tensor, logits: Sequence[Tensor]) -> Tensor:
        return self.ops.softmax(scores, self.keys_axis)


@fault(
    "sink_of_first_head",
    values=[
        "attention/sinks::plain[einsum-float32]",
        "attention/sinks::grouped/2[matmul-float32]",
        "attention/sinks::causal/top_left[einsum-float32]",
    ],
)
class SinkOfFirstHead(ByHand):
    """All heads share the first one's sink."""

    def softmax_with_logits(self, scores: Tensor, logits: Sequence[Tensor]) -> Tensor:
        return super().softmax_with_logits(scores, [sink * 0 + sink[0] for sink in logits])


@fault(
    "sink_scaled",
    values=[
        "attention/sinks::plain[matmul-float32]",
        "attention/sinks::one_key[einsum-float32]",
        "attention/sinks::layouts/bhsd[matmul-float32]",
    ],
)
class SinkScaled(ByHand):
    """The sink is scaled like a product of query and key."""

    def softmax_with_logits(self, scores: Tensor, logits: Sequence[Tensor]) -> Tensor:
        return super().softmax_with_logits(scores, [sink * self.config.score_scale for sink in logits])


@fault(
    "sink_has_value_of_last_key",
    values=[
        "attention/sinks::plain[einsum-float32]",
        "attention/sinks::masked/boolxqk[matmul-float32]",
        "attention/sinks::masked_row[einsum-float32]",
    ],
)
class SinkHasValueOfLastKey(ByHand):
    """The sink's weight is given to the last key instead of to nothing."""

    def softmax_with_logits(self, scores: Tensor, logits: Sequence[Tensor]) -> Tensor:
        weights = super().softmax_with_logits(scores, logits).copy()
        last = (-1,) if self.keys_axis == 0 else (..., -1)
        weights[last] += 1 - weights.sum(axis=self.keys_axis)
        return weights


# Blocks of keys -------------------------------------------------------------------------------------------------------


@fault(
    "last_block_dropped",
    values=[
        "attention/blocks::keys/129[einsum-float32]",
        "attention/blocks::keys/257[matmul-float32]",
        "attention/blocks::causal_at_the_end/513[matmul-float32]",
    ],
)
class LastBlockDropped(Numpy):
    """Keys after the last whole block of 128 are left out."""

    @staticmethod
    def softmax(x: Array, axis: int) -> Array:
        whole_blocks = x.shape[axis] // 128 * 128 or x.shape[axis]
        keys = np.moveaxis(np.array(x), axis, -1)
        keys[..., whole_blocks:] = -np.inf
        return softmax(np.moveaxis(keys, -1, axis), axis)

    primitives = replace(Numpy.primitives, softmax=softmax)


@fault(
    "last_block_not_rescaled",
    values=[
        "attention/blocks::keys/129[einsum-float32]",
        "attention/blocks::keys/255[matmul-float32]",
        "attention/blocks::causal/257[einsum-float32]",
        "attention/lengths::longer_than_a_block[matmul-float16]",
    ],
)
class LastBlockNotRescaled(Numpy):
    """An online softmax forgets to rescale by the maximum of its last block of 64 keys."""

    @staticmethod
    def softmax(x: Array, axis: int) -> Array:
        keys = np.moveaxis(np.array(x), axis, -1)
        last = (keys.shape[-1] - 1) // 64 * 64
        if last > 0:
            previous_maximum, block_maximum = (
                part.max(axis=-1, keepdims=True) for part in (keys[..., :last], keys[..., last:])
            )
            finite = np.isfinite(previous_maximum) & np.isfinite(block_maximum)
            keys[..., last:] += np.where(finite, previous_maximum - block_maximum, 0).astype(keys.dtype)
        return softmax(np.moveaxis(keys, -1, axis), axis)

    primitives = replace(Numpy.primitives, softmax=softmax)


# Heads and items ------------------------------------------------------------------------------------------------------


@fault(
    "last_head_dropped",
    values=[
        "attention/features::heads/3[einsum-float32]",
        "attention/features::heads/16[matmul-float32]",
        "attention/layouts::sequence_first[einsum-float16]",
        "attention/memory::grouped[matmul-float32]",
    ],
)
class LastHeadDropped(ByHand):
    """The last head is never computed: a grid of blocks one too short."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, operands: Operands) -> Tensor:
        output = super().attend(query, key, value, operands)
        if self.config.num_heads > 1:
            np.moveaxis(output, self.working_axes.index("h"), 0)[-1] = 0
        return output


@fault(
    "values_of_first_kv_head",
    values=[
        "attention/grouped::shared_by_any_number/2[einsum-float32]",
        "attention/grouped::value_narrower[matmul-float32]",
        "attention/layouts::grouped/sbhd[einsum-float32]",
    ],
)
class ValuesOfFirstKvHead(ByHand):
    """Grouped query heads all read the values of the first key/value head."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, operands: Operands) -> Tensor:
        if self.config.num_heads != self.config.num_kv_heads:
            axis = self.working_axes.index("h")
            value = np.repeat(value.take([0], axis), self.config.num_kv_heads, axis)
        return super().attend(query, key, value, operands)


@fault(
    "mask_of_first_item",
    values=[
        "attention/mask_shapes::boolean/b1qk[einsum-float32]",
        "attention/mask_shapes::additive/bh1k[matmul-float32]",
        "attention/masks::boolean_of_every_axis[einsum-float32]",
    ],
)
class MaskOfFirstItem(ByHand):
    """The mask is given without its batch axis: every item gets the first one's."""

    def mask_by(self, field: str, pairs: Pairs) -> Tensor | None:
        visible = super().mask_by(field, pairs)
        return self.of_first(visible) if field == "mask" else visible

    def additive_mask(self, operands: Operands) -> Tensor | None:
        return self.of_first(super().additive_mask(operands))

    def of_first(self, mask: Tensor | None) -> Tensor | None:
        return mask if mask is None or mask.ndim < 4 else mask[:1]


@fault(
    "mask_of_first_head",
    values=[
        "attention/mask_shapes::boolean/hqk[einsum-float32]",
        "attention/mask_shapes::boolean/h1k[matmul-float32]",
        "attention/masks::boolean_per_head[einsum-float32]",
        "attention/grouped::masked/boolx1hqk[matmul-float32]",
    ],
)
class MaskOfFirstHead(ByHand):
    """The mask is given without its axis of heads: every head gets the first one's."""

    def mask_by(self, field: str, pairs: Pairs) -> Tensor | None:
        visible = super().mask_by(field, pairs)
        return self.of_first(visible) if field == "mask" else visible

    def additive_mask(self, operands: Operands) -> Tensor | None:
        return self.of_first(super().additive_mask(operands))

    def of_first(self, mask: Tensor | None) -> Tensor | None:
        return mask if mask is None or mask.ndim < 3 else mask[..., :1, :, :]


@fault(
    "bias_of_first_head",
    values=[
        "attention/bias::random[einsum-float32]",
        "attention/bias::alibi[matmul-float32]",
        "attention/grouped::biased[einsum-float32]",
    ],
)
class BiasOfFirstHead(ByHand):
    """All heads get the first one's bias."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, operands: Operands) -> Tensor:
        if self.config.bias:
            operands = {**operands, "bias": operands["bias"] * 0 + operands["bias"][:1]}
        return super().attend(query, key, value, operands)


@fault(
    "projection_of_first_head",
    values=[
        "attention/projections::per_head/per_head[einsum-float32]",
        "attention/projections::per_head_layouts/sbhd[matmul-float32]",
        "attention/projections::per_head_then_output[einsum-float32]",
        "seeds/seed_003::small[matmul-float32]",
    ],
)
class ProjectionOfFirstHead(ByHand):
    """All heads are projected by the first one's matrix, as if it were shared."""

    def per_head_product(self, x: Tensor, weight: Tensor) -> Tensor:
        return super().per_head_product(x, weight if weight.ndim == 2 else weight * 0 + weight[:1])
