"""Wrong gradients of attention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from specs.arithmetic.formats import Array
from specs.case.attention import AttentionConfig
from specs.reference.attention import apply_rotary
from tests.faulty.backward import Backward
from tests.faulty.fault import fault


def through_bfloat16(x: Array) -> Array:
    return x.astype(ml_dtypes.bfloat16).astype(x.dtype)


# Cotangent and returned gradients -------------------------------------------------------------------------------------


@fault(
    "gradients_of_key_and_value_exchanged",
    values=[
        "attention/lengths::equal[einsum-float32-grad]",
        "attention/layouts::packed[matmul-float32-grad]",
        "attention/grouped::multi_query[einsum-float32-grad]",
    ],
)
class KeyAndValueExchanged(Backward):
    """The gradients of key and value change places."""

    def finish(self, c: AttentionConfig, gradients: dict[str, Any]) -> dict[str, Array]:
        return gradients | {"key": gradients["value"], "value": gradients["key"]}


@fault(
    "cotangent_ignored",
    values=["attention/lengths::equal[einsum-float32-grad]", "attention/causal::square[einsum-float32-grad]"],
)
class CotangentIgnored(Backward):
    """The gradient is that of the sum of the output, whatever the cotangent."""

    def receive(self, cotangent: Array) -> Array:
        return cotangent * 0 + 1


@fault(
    "gradient_of_mask_missing",
    missing=["attention/masks::additive[einsum-float32-grad]", "attention/masks::additive_lowest[einsum-float32-grad]"],
)
class GradientOfMaskMissing(Backward):
    """An additive mask is taken for a constant."""

    def finish(self, c: AttentionConfig, gradients: dict[str, Any]) -> dict[str, Array]:
        return {name: d for name, d in gradients.items() if name != "mask"}


# Softmax --------------------------------------------------------------------------------------------------------------


@fault(
    "delta_dropped",
    values=[
        "attention/lengths::equal[einsum-float32-grad]",
        "attention/lengths::one_key[einsum-float32-grad]",
        "attention/bias::alibi[einsum-float32-grad]",
    ],
)
class DeltaDropped(Backward):
    """The gradient of the scores is P dP, as if weights were not divided by their sum."""

    def delta(self, weights: Array, d_weights: Array) -> Array:
        return np.zeros_like(weights[..., :1])


@fault(
    "softmax_by_its_diagonal",
    values=["attention/lengths::equal[einsum-float32-grad]", "attention/masks::boolean[einsum-float32-grad]"],
)
class SoftmaxByItsDiagonal(Backward):
    """The softmax is differentiated like a sigmoid: P (1 - P) dP."""

    def delta(self, weights: Array, d_weights: Array) -> Array:
        return weights * d_weights


@fault(
    "products_of_gradients_in_bfloat16",
    values=["attention/lengths::equal[einsum-float32-grad]", "attention/grouped::decode_step[einsum-float32-grad]"],
    in_bfloat16=["attention/causal::longer[einsum-float32-grad]"],
)
class ProductsInBfloat16(Backward):
    """dP = dO V^T takes its operands through bfloat16."""

    def grad_weights(self, d_heads: Array, values: Array) -> Array:
        return super().grad_weights(through_bfloat16(d_heads), through_bfloat16(values))


@fault(
    "weights_for_values_in_bfloat16",
    values=["attention/lengths::equal[einsum-float32-grad]", "attention/layouts::columns[einsum-float32-grad]"],
)
class WeightsInBfloat16(Backward):
    """dV = P^T dO is made of weights that were stored in bfloat16."""

    def grad_values(self, weights: Array, d_heads: Array) -> Array:
        return super().grad_values(through_bfloat16(weights), d_heads)


# Masks ----------------------------------------------------------------------------------------------------------------


@fault(
    "gradient_leaks_through_the_mask",
    values=[
        "attention/causal::square[einsum-float32-grad]",
        "attention/masks::boolean[einsum-float32-grad]",
        "attention/masks::lengths[einsum-float32-grad]",
    ],
)
class LeaksThroughMask(Backward):
    """Weights are computed anew for the gradient, without the mask."""

    @staticmethod
    def misread(config: AttentionConfig) -> dict[str, Any]:
        return {"causal": "none", "window": None, "kv_lengths": None, "mask": None}

    def grad_scores(self, c: AttentionConfig, weights: Array, d_weights: Array, allowed: Array) -> Array:
        return super().grad_scores(c, weights, d_weights, np.ones_like(allowed))


@fault(
    "causal_gradient_aligned_top_left",
    values=[
        "attention/causal::bottom_right_fewer_queries[einsum-float32-grad]",
        "attention/causal::window_bottom_right[einsum-float32-grad]",
    ],
)
class AlignedTopLeft(Backward):
    """The backward pass aligns its causal mask at the first query, the forward pass at the last."""

    @staticmethod
    def misread(config: AttentionConfig) -> dict[str, Any]:
        return {"causal": "top_left"} if config.causal == "bottom_right" else {}


@fault(
    "gradient_of_masked_row_is_nan",
    nan=[
        "attention/masks::fully_masked_row[einsum-float32-grad]",
        "attention/causal::bottom_right_fewer_keys[einsum-float32-grad]",
    ],
)
class MaskedRowIsNan(Backward):
    """A query without keys has weights 0 / 0, which only the forward pass replaces with zeros."""

    def weights(self, c: AttentionConfig, scores: Array, allowed: Array) -> Array:
        weights = super().weights(c, scores, allowed)
        return np.where(allowed.any(axis=-1, keepdims=True), weights, np.nan)


@fault(
    "masked_row_moves_no_value",
    values=["attention/masks::fully_masked_row_as_mean[einsum-float32-grad]"],
)
class MaskedRowMovesNoValue(Backward):
    """A query without keys yields the mean of all values, but its gradient reaches none of them."""

    def weights(self, c: AttentionConfig, scores: Array, allowed: Array) -> Array:
        return super().weights(c, scores, allowed) * allowed.any(axis=-1, keepdims=True)


# Scale, softcap, bias, heads ------------------------------------------------------------------------------------------


@fault(
    "scale_missing_in_gradient_of_key",
    values=[
        "attention/scale::not_a_power_of_two[einsum-float32-grad]",
        "attention/lengths::equal[einsum-float32-grad]",
    ],
)
class ScaleMissingForKeys(Backward):
    """dK is not multiplied by the scale."""

    def finish(self, c: AttentionConfig, gradients: dict[str, Any]) -> dict[str, Array]:
        return gradients | {"key": gradients["key"] / c.score_scale}


@fault("scale_at_weights_missing_in_gradient", values=["attention/scale::after_softmax[einsum-float32-grad]"])
class ScaleAtWeightsMissing(Backward):
    """A scale that applies to the weights is left out on the way back."""

    def weights_scale(self, c: AttentionConfig) -> float:
        return 1.0


@fault(
    "softcap_not_differentiated",
    values=[
        "attention/bias::softcap[einsum-float32-grad]",
        "attention/bias::softcap_wide[einsum-float32-grad]",
        "attention/bias::bias_and_softcap[einsum-float32-grad]",
    ],
)
class SoftcapNotDifferentiated(Backward):
    """The derivative of the softcap is taken for 1."""

    def grad_biased(self, c: AttentionConfig, d_scores: Array, biased: Array) -> Array:
        return d_scores


@fault(
    "gradient_of_bias_of_one_item",
    values=["attention/bias::random[einsum-float32-grad]", "attention/bias::alibi_causal[einsum-float32-grad]"],
)
class BiasOfOneItem(Backward):
    """The gradient of the bias is that of the first batch item, not the sum over all."""

    def grad_bias(self, d_biased: Array) -> Array:
        return d_biased[0]


@fault(
    "gradient_of_one_head_in_group",
    values=[
        "attention/grouped::two_queries_per_head[einsum-float32-grad]",
        "attention/grouped::multi_query[einsum-float32-grad]",
    ],
)
class OneHeadInGroup(Backward):
    """A key/value head gets the gradient of the last query head that it serves, not the sum over all."""

    def sum_over_group(self, d: Array, group: int) -> Array:
        return d[:, group - 1 :: group]


@fault(
    "last_block_of_keys_without_gradient",
    values=[
        "attention/lengths::fewer_queries[einsum-float32-grad]",
        "attention/lengths::one_query[einsum-float32-grad]",
    ],
)
class LastBlockLeftOut(Backward):
    """Gradients of keys are written in blocks of four, and those of an incomplete last block stay zero."""

    def grad_keys(self, c: AttentionConfig, d_biased: Array, query: Array) -> Array:
        d_keys = super().grad_keys(c, d_biased, query)
        d_keys[:, :, c.kv_len // 4 * 4 :] = 0
        return d_keys


# Rotary positions -----------------------------------------------------------------------------------------------------


@fault(
    "gradients_turned_the_wrong_way",
    values=[
        "attention/rotary::of_some_features/halfx6[einsum-float32-grad]",
        "attention/rotary::columns[einsum-float32-grad]",
        "attention/rotary::grouped[matmul-float32-grad]",
    ],
)
class TurnedTheWrongWay(Backward):
    """Gradients of query and key are turned by their positions once more, instead of back."""

    def rotate_back(self, c: AttentionConfig, operands: Mapping[str, Array], d: Array, first: int) -> Array:
        return np.asarray(apply_rotary(c, operands, d, first))


@fault(
    "gradients_not_turned_back",
    values=[
        "attention/rotary::of_some_features/interleavedx2[einsum-float32-grad]",
        "attention/rotary::columns[matmul-float32-grad]",
        "attention/rotary::grouped[einsum-float32-grad]",
    ],
)
class NotTurnedBack(Backward):
    """Gradients are those of the turned query and key, as if the rotation were not part of the computation."""

    def rotate_back(self, c: AttentionConfig, operands: Mapping[str, Array], d: Array, first: int) -> Array:
        return d
