"""Other ways in which people write attention by hand in PyTorch: `Matmul` with one step of it written differently.

A compiler that fuses attention recognises how it is written (torch/_inductor/fx_passes/fuse_attention.py), so each way
is another program under torch.compile.  Eager ones are the same operations as those of `Matmul`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from backends.attention.base import Attention
from backends.attention.by_hand import Matmul
from backends.attention.heads import Heads
from backends.parts.primitives import Primitives, Tensor
from specs.case.attention import AttentionConfig

RELATIVE = {"relative", "relative.keys=False", "relative.values=False"}


class TorchMatmul(Matmul):
    """`Matmul` with torch at hand."""

    def __init__(self, primitives: Primitives, config: AttentionConfig) -> None:
        super().__init__(primitives, config)
        self.torch = primitives.framework["torch"]


class AddedMask(TorchMatmul):
    """scores + mask, where the mask holds 0 and a number so low that nothing is left of the score."""

    def hide(self, scores: Tensor, visible: Tensor, fill: float) -> Tensor:
        if self.config.fully_masked != "nan":  # -inf would make NaN of the gradient too of a query that sees no key
            fill = self.ops.lowest(scores) / 2  # the lowest itself would overflow in float16
        return scores + self.torch.zeros_like(visible, dtype=scores.dtype).masked_fill(~visible, fill)


class DividedScores(TorchMatmul):
    """scores / sqrt(head_dim)."""

    understands = Matmul.understands - {"scale", "scale_at=weights"}
    limitations = {"scale": "a division by the root of head_dim has no other scale"}

    def scale(self, scores: Tensor) -> Tensor:
        return scores / math.sqrt(self.config.head_dim)


class TensorScale(TorchMatmul):
    """The scale as a tensor without axes, which promotes nothing."""

    def scale(self, scores: Tensor) -> Tensor:
        return scores * self.torch.tensor(self.config.score_scale, dtype=self.torch.float64, device=scores.device)


class PermutedKeys(TorchMatmul):
    """Keys from (batch, sequence, heads, features) at once to where the product needs them."""

    axes = "bshd"
    understands = Matmul.understands - RELATIVE
    per_head_product = Heads.per_head_product

    def scores(self, query: Tensor, key: Tensor, relative: Tensor | None) -> Tensor:
        return query.permute(0, 2, 1, 3) @ key.permute(0, 2, 3, 1)

    def weighted_sum(
        self, weights: Tensor, value: Tensor, relative: Tensor | None, value_mask: Tensor | None
    ) -> Tensor:
        return super().weighted_sum(weights, value.permute(0, 2, 1, 3), relative, value_mask).permute(0, 2, 1, 3)


class Baddbmm(TorchMatmul):
    """torch.baddbmm, which scales the product; what it would be added to is not read."""

    understands = Matmul.understands - RELATIVE - {"bias_at=products", "scale_at=weights"}

    def scores(self, query: Tensor, key: Tensor, relative: Tensor | None) -> Tensor:
        shape = (*query.shape[:3], key.shape[2])
        query, key = query.flatten(0, 1), key.flatten(0, 1).transpose(1, 2)
        unread = self.torch.empty(shape, dtype=query.dtype, device=query.device).flatten(0, 1)
        return self.torch.baddbmm(unread, query, key, beta=0.0, alpha=self.config.score_scale).reshape(shape)

    def scale(self, scores: Tensor) -> Tensor:
        return scores


WAYS: Mapping[str, type[Attention]] = {
    "matmul-added-mask": AddedMask,
    "matmul-divided": DividedScores,
    "matmul-tensor-scale": TensorScale,
    "matmul-permuted-keys": PermutedKeys,
    "matmul-baddbmm": Baddbmm,
}
