"""JAX's own attention; jax is imported when an operation is first used."""

from __future__ import annotations

from typing import Any

from backends.attention.base import Attention, Operands, Tensor, both


class DotProductAttention(Attention):
    """jax.nn.dot_product_attention, with its own arguments wherever they mean what the case says."""

    axes = "bshd"
    lacks = {
        "softcap": "jax.nn.dot_product_attention has no softcap",
        "sink": "jax.nn.dot_product_attention has no sink",
        "relative": "jax.nn.dot_product_attention has no relative positions",
        "scale_at": "jax.nn.dot_product_attention scales the scores only",
        "value_dim": "jax.nn.dot_product_attention takes values of the keys' shape only",
    }

    def attend(self, query: Tensor, key: Tensor, value: Tensor, operands: Operands) -> Tensor:
        import jax

        c = self.config
        mask, window, is_causal = self.mask("bool", operands), None, c.causal == "top_left"
        if c.causal == "bottom_right":  # is_causal and local_window_size are aligned at the first query
            mask = both(both(self.causal(query), self.window(query)), mask)
        elif c.window:
            unlimited = max(c.q_len, c.kv_len)
            window = tuple(unlimited if side is None else side for side in (c.window.left, c.window.right))
        dot_product_attention: Any = jax.nn.dot_product_attention
        return dot_product_attention(
            query,
            key,
            value,
            bias=self.added(operands),
            mask=mask,
            scale=c.scale,
            is_causal=is_causal,
            key_value_seq_lengths=operands.get("kv_lengths"),
            local_window_size=window,
        )
