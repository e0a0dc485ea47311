"""torch.nn.MultiheadAttention on each of its three code paths."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from backends.attention.base import first_reason
from backends.attention.module import Module
from backends.attention.torch import is_causal_alone
from backends.parts.mode import Mode
from backends.parts.primitives import Operands, Primitives, Tensor
from specs.case.attention import AttentionConfig
from specs.case.operands import adds_to_scores
from specs.verdict.check import Check


class MultiheadAttention(Module):
    """torch.nn.MultiheadAttention, returning its output only: it uses scaled_dot_product_attention.

    need_weights   whether the attention weights, averaged over heads and not judged, are returned too
    training       the module's mode; there is no dropout, but in training it does not use its inference kernel
    """

    need_weights: ClassVar[bool] = False
    training: ClassVar[bool] = True

    @classmethod
    def unsupported(cls, config: AttentionConfig, check: Check) -> str | None:
        c = config
        width = c.num_heads * c.head_dim
        return super().unsupported(c, check) or first_reason(
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
        width = config.num_heads * config.head_dim  # on the device `meta` its own weights have no memory
        self.module = torch.nn.MultiheadAttention(width, config.num_heads, batch_first=True, device="meta")
        self.module.train(self.training)
        self.is_causal = is_causal_alone(config)

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
        """The masks as its arguments, True or -inf where a key is hidden; both masks have the same dtype."""
        c = self.config
        keys, pairs = self.mask_parts(operands, like)
        bias = self.additive_bias(operands)
        mask = None if pairs is None else ~pairs
        if bias is not None:
            mask = bias if pairs is None else self.ops.where(pairs, bias, -math.inf)
        arguments: dict[str, Any] = {}
        if mask is not None:
            arguments["attn_mask"] = self.reshape_mask(mask)
            arguments["is_causal"] = self.is_causal
        if keys is not None:
            padding = ~keys.expand(c.batch, c.kv_len)
            if bias is not None:
                padding = self.ops.where(padding, -math.inf, 0.0).to(bias.dtype)
            arguments["key_padding_mask"] = padding
        return arguments

    def reshape_mask(self, mask: Tensor) -> Tensor:
        """The mask as (queries, keys) if all heads and items share it, else as (batch * heads, queries, keys)."""
        c = self.config
        if math.prod(mask.shape[:-2]) == 1:
            return mask.reshape(mask.shape[-2:]).expand(c.q_len, c.kv_len)
        expanded = mask.expand(c.batch, c.num_heads, c.q_len, c.kv_len)
        return expanded.reshape(c.batch * c.num_heads, c.q_len, c.kv_len)


class MultiheadAttentionWithWeights(MultiheadAttention):
    """The same, returning its weights too: products, softmax and products again."""

    need_weights = True


class FastMultiheadAttention(MultiheadAttention):
    """The same with its native kernel for inference; the conditions are those of `forward` in torch/nn/modules."""

    training = False

    @classmethod
    def unsupported(cls, config: AttentionConfig, check: Check) -> str | None:
        c = config
        return super().unsupported(c, check) or first_reason(
            {
                "the fast path of nn.MultiheadAttention is for self-attention": not c.self_attention,
                "the fast path of nn.MultiheadAttention needs an even number of heads": c.num_heads % 2 == 1,
                "the fast path of nn.MultiheadAttention takes no floating-point mask": adds_to_scores(c),
                "the fast path of nn.MultiheadAttention has no gradient": check.direction == "grad",
            }
        )

    @classmethod
    def mode_limitation(cls, config: AttentionConfig, check: Check, mode: Mode) -> str | None:
        possible = mode.execution == "eager"
        return None if possible else "no graph can be made of the fast path of nn.MultiheadAttention"
