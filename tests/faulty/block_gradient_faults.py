"""Gradients of attention that are right in the first block of queries or keys and two percent too large beyond it."""

from __future__ import annotations

from typing import Any

import numpy as np

from specs.arithmetic.formats import Array
from specs.case.attention import AttentionConfig
from tests.faulty.backward import Backward
from tests.faulty.block_faults import BLOCK
from tests.faulty.fault import fault
from tests.faulty.narrow_gradient_faults import FACTOR


class GrowsBeyond(Backward):
    """One gradient is two percent too large beyond the first block of its sequence."""

    operand: str

    def finish(self, c: AttentionConfig, gradients: dict[str, Any]) -> dict[str, Array]:
        if self.operand not in gradients:
            return gradients
        d = gradients[self.operand]
        axis = -1 if self.operand in ("bias", "mask") else c.layout.index("s")
        grown = np.moveaxis(np.array(d), axis, 0)
        grown[BLOCK:] *= d.dtype.type(FACTOR)
        return gradients | {self.operand: np.moveaxis(grown, 0, axis)}


@fault("gradient_of_later_queries_too_large", values=["attention/second_block::causal[einsum-float32-grad]"])
class GradientOfLaterQueriesTooLarge(GrowsBeyond):
    """dQ of the second block of queries is two percent too large."""

    operand = "query"


@fault("gradient_of_later_keys_too_large", values=["attention/second_block::plain[einsum-float32-grad]"])
class GradientOfLaterKeysTooLarge(GrowsBeyond):
    """dK beyond the first block of keys is two percent too large."""

    operand = "key"


@fault("gradient_of_later_values_too_large", values=["attention/second_block::grouped[einsum-float32-grad]"])
class GradientOfLaterValuesTooLarge(GrowsBeyond):
    """dV beyond the first block of keys is two percent too large."""

    operand = "value"


@fault("gradient_of_later_bias_too_large", values=["attention/second_block::bias[einsum-float32-grad]"])
class GradientOfLaterBiasTooLarge(GrowsBeyond):
    """The gradient of a bias is two percent too large beyond the first block of keys."""

    operand = "bias"


@fault("gradient_of_later_mask_too_large", values=["attention/second_block::additive_mask[einsum-float32-grad]"])
class GradientOfLaterMaskTooLarge(GrowsBeyond):
    """The gradient of an additive mask is two percent too large beyond the first block of keys."""

    operand = "mask"
