"""PyTorch's own attention; torch is imported when an operation is first used."""

from __future__ import annotations

import math
from typing import Any

from backends.attention.base import Attention, Operands, Tensor
from backends.attention.by_hand import LinearLayer


class TorchLinear(LinearLayer):
    """torch.nn.Linear."""

    def layer(self, outputs: int, inputs: int, bias: bool) -> Any:
        import torch

        return torch.nn.Linear(inputs, outputs, bias=bias, device="meta")  # there weights have a shape and no memory

    def applied(self, layer: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        import torch

        parameters = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
        return torch.func.functional_call(layer, parameters, (x,))


class ScaledDotProductAttention(Attention):
    """torch.nn.functional.scaled_dot_product_attention, free to choose its kernel."""

    axes = "bhsd"
    lacks = {
        "softcap": "scaled_dot_product_attention has no softcap",
        "sink": "scaled_dot_product_attention has no sink",
        "relative": "scaled_dot_product_attention has no relative positions",
        "scale_at": "scaled_dot_product_attention scales the scores only",
    }

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        import torch

        if self.config.layout == "ds":
            return super().linear(x, weight, bias)
        return torch.nn.functional.linear(x, weight, bias)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, operands: Operands) -> Tensor:
        import torch

        c = self.config
        # is_causal is aligned at the first query, and cannot be combined with a mask
        is_causal = c.causal == "top_left" and not (c.window or c.mask or c.bias or c.kv_lengths is not None)
        mask = None if is_causal else self.one_mask(operands, query)
        return torch.nn.functional.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=None if mask is None else mask.reshape((1, 1, 1, *mask.shape)[-4:]),
            is_causal=is_causal,
            scale=c.scale,
            enable_gqa=c.num_heads != c.num_kv_heads,
        )

    def one_mask(self, operands: Operands, like: Tensor) -> Tensor | None:
        """All that is added and masked, as the one argument there is: boolean if nothing is added."""
        keep, added = self.visible(operands, like), self.added(operands)
        return keep if added is None else added if keep is None else self.ops.where(keep, added, -math.inf)
