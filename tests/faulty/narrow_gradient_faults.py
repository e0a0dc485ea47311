"""Gradients of attention in 16 bits that are nearly right: two percent too large, or a step stored in the dtype.

Each is behind a kernel that declares to compute in float32.  On random inputs most of them stay within the bound, which
allows for what the dtype itself loses; on designed ones (`specs.inputs.pairs`) they do not.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from specs.arithmetic.formats import Array
from specs.case.attention import AttentionConfig
from tests.faulty.backward import Kernel
from tests.faulty.fault import fault

FACTOR = 1.02
PLAIN = [f"attention/gradients::plain[einsum-{dtype}-grad]" for dtype in ("bfloat16", "float16")]
MASKED = [f"attention/gradients::masked[einsum-{dtype}-grad]" for dtype in ("bfloat16", "float16")]
CAUSAL = [f"attention/gradients::causal[einsum-{dtype}-grad]" for dtype in ("bfloat16", "float16")]
GROUPED, BIASED, LENGTHS, WINDOW = (
    f"attention/gradients::{name}[einsum-bfloat16-grad]" for name in ("grouped", "biased", "lengths", "window")
)


class TooLarge(Kernel):
    """One gradient is two percent too large."""

    operand: str

    def finish(self, c: AttentionConfig, gradients: dict[str, Any]) -> dict[str, Array]:
        return gradients | {self.operand: gradients[self.operand] * FACTOR} if self.operand in gradients else gradients


@fault("gradient_of_query_too_large", values=[*PLAIN, *MASKED, *CAUSAL, GROUPED, BIASED, LENGTHS])
class QueryTooLarge(TooLarge):
    """dQ is two percent too large: the scale went through a format of six bits."""

    operand = "query"


@fault("gradient_of_key_too_large", values=[*PLAIN, *MASKED, *CAUSAL, GROUPED, BIASED, LENGTHS])
class KeyTooLarge(TooLarge):
    """dK is two percent too large."""

    operand = "key"


@fault("gradient_of_value_too_large", values=[*PLAIN, *MASKED, *CAUSAL, GROUPED, BIASED, LENGTHS, WINDOW])
class ValueTooLarge(TooLarge):
    """dV is two percent too large: weights are divided by a sum that lacks a few small ones."""

    operand = "value"


@fault("gradient_of_bias_too_large", values=[BIASED])
class BiasTooLarge(TooLarge):
    """The gradient of a bias is two percent too large."""

    operand = "bias"


@fault("gradient_of_weights_in_dtype", values=[*PLAIN, *MASKED, CAUSAL[0], GROUPED, BIASED, LENGTHS])
class WeightsInDtype(Kernel):
    """dP is stored in 16 bits, before the sum of its row is subtracted: what they have in common takes their digits."""

    def grad_weights(self, d_heads: Array, values: Array) -> Array:
        return self.store(super().grad_weights(d_heads, values))


@fault("delta_in_dtype", values=[*PLAIN, *MASKED, *CAUSAL, GROUPED, BIASED, LENGTHS])
class DeltaInDtype(Kernel):
    """delta, the sum of a row of P dP, is stored in 16 bits."""

    def delta(self, weights: Array, d_weights: Array) -> Array:
        return self.store(super().delta(weights, d_weights))


@fault("gradient_of_query_summed_in_dtype", values=[*PLAIN, *MASKED, CAUSAL[0], GROUPED, BIASED])
class QuerySummedInDtype(Kernel):
    """dQ is a running sum in 16 bits over the keys, as of a kernel that has one block for each key."""

    def grad_query(self, c: AttentionConfig, d_biased: Array, keys: Array) -> Array:
        return self.sum_in_dtype(d_biased * np.float32(c.score_scale), keys)


@fault("gradient_of_key_summed_in_dtype", values=[*PLAIN, *MASKED, CAUSAL[0], GROUPED, BIASED])
class KeySummedInDtype(Kernel):
    """dK is a running sum in 16 bits over the queries: adding atomically to a gradient of the dtype."""

    def grad_keys(self, c: AttentionConfig, d_biased: Array, query: Array) -> Array:
        return self.sum_in_dtype((d_biased * np.float32(c.score_scale)).swapaxes(-1, -2), query)


@fault("gradient_of_value_summed_in_dtype", values=[*PLAIN, *MASKED, *CAUSAL, GROUPED, BIASED])
class ValueSummedInDtype(Kernel):
    """dV is a running sum in 16 bits over the queries."""

    def grad_values(self, weights: Array, d_heads: Array) -> Array:
        return self.sum_in_dtype(weights.swapaxes(-1, -2), d_heads)


@fault("scores_in_dtype", values=[*PLAIN, *MASKED, *CAUSAL, LENGTHS])
class ScoresInDtype(Kernel):
    """Weights are computed anew for the gradient from scores that were stored in 16 bits."""

    def weights(self, c: AttentionConfig, scores: Array, allowed: Array) -> Array:
        return super().weights(c, self.store(scores), allowed)
