"""torch.nn.MultiheadAttention by each of its three ways."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from backends.attention.base import first
from backends.attention.module import Module
from backends.attention.torch import is_causal_alone
from backends.parts.primitives import Operands, Primitives, Tensor
from specs.case.attention import AttentionConfig
from specs.verdict.check import Check


class MultiheadAttention(Module):
    """torch.nn.MultiheadAttention, asked for its output alone: it uses scaled_dot_product_attention.

    need_weights   whether it is asked for the attention weights too, averaged over heads, which are not judged
    training       of the module; there is no dropout, but training keeps it from its inference kernel
    """

    need_weights: ClassVar[bool] = False
    training: ClassVar[bool] = True

    @classmethod
    def unsupported(cls, config: AttentionConfig, check: Check) -> str | None:
        c = config
        width = c.num_heads * c.head_dim
        return super().unsupported(c, check) or first(
            {
                "nn.MultiheadAttention has as many key heads as query heads": c.num_kv_heads != c.num_heads,
                "nn.MultiheadAttention has values of the keys' width": c.value_dim != c.head_dim,
                "nn.MultiheadAttention takes queries of num_heads * head_dim features": bool(
                    c.projections and c.projections.input_dim not in (None, width)
                ),
            }
        )

    def __init__(self, primitives: Primitives, config: AttentionConfig) -> None:
        super().__init__(primitives, config)
        torch = self.torch = primitives.framework["torch"]
        width = config.num_heads * config.head_dim  # on `meta` its own weights have a shape and no memory
        self.module = torch.nn.MultiheadAttention(width, config.num_heads, batch_first=True, device="meta")
        self.module.train(self.training)

    def __call__(self, operands: Operands) -> Tensor:
        def packed(part: str) -> Tensor:
            return self.torch.cat([operands[f"{name}_{part}"] for name in ("query", "key", "value")])

        parameters = {
            "in_proj_weight": packed("weight"),
            "in_proj_bias": packed("bias"),
            "out_proj.weight": operands["output_weight"],
            "out_proj.bias": operands["output_bias"],
        }
        inputs = self.inputs(operands)
        arguments = {"need_weights": self.need_weights, **self.mask_arguments(operands, inputs[0])}
        output, _ = self.torch.func.functional_call(self.module, parameters, inputs, arguments)
        return output

    def mask_arguments(self, operands: Operands, like: Tensor) -> dict[str, Any]:
        """Its arguments: true, or -inf, where a key is hidden; both of one type."""
        c = self.config
        keys, pairs = self.visible_parts(operands, like)
        added = self.added(operands)
        hides = None if pairs is None else ~pairs
        if added is not None:
            hides = added if pairs is None else self.ops.where(pairs, added, -math.inf)
        arguments: dict[str, Any] = {}
        if hides is not None:
            arguments["attn_mask"] = self.of_pairs(hides)
            arguments["is_causal"] = is_causal_alone(c)
        if keys is not None:
            padding = ~keys.expand(c.batch, c.kv_len)
            if added is not None:
                padding = self.ops.where(padding, -math.inf, 0.0).to(added.dtype)
            arguments["key_padding_mask"] = padding
        return arguments

    def of_pairs(self, mask: Tensor) -> Tensor:
        """(queries, keys), or (batch * heads, queries, keys) where it is not one for all."""
        c = self.config
        if math.prod(mask.shape[:-2]) == 1:
            return mask.reshape(mask.shape[-2:]).expand(c.q_len, c.kv_len)
        every = mask.expand(c.batch, c.num_heads, c.q_len, c.kv_len)
        return every.reshape(c.batch * c.num_heads, c.q_len, c.kv_len)


class MultiheadAttentionWithWeights(MultiheadAttention):
    """The same asked for its weights too: products, softmax and products again."""

    need_weights = True


class FastMultiheadAttention(MultiheadAttention):
    """The same by its native kernel for inference; the conditions are those of `forward` in torch/nn/modules."""

    training = False

    @classmethod
    def unsupported(cls, config: AttentionConfig, check: Check) -> str | None:
        c = config
        additive = c.bias is not None or (c.mask is not None and c.mask.type == "additive")
        return super().unsupported(c, check) or first(
            {
                "the fast path of nn.MultiheadAttention is for self-attention": not c.self_attention,
                "the fast path of nn.MultiheadAttention needs an even number of heads": c.num_heads % 2 == 1,
                "the fast path of nn.MultiheadAttention takes no floating-point mask": additive,
                "the fast path of nn.MultiheadAttention has no gradient": check.direction == "grad",
                "torch.compile does not trace the fast path of nn.MultiheadAttention": check.mode == "jit",
            }
        )
