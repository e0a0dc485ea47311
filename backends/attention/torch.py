"""PyTorch's own attention.

What a kernel refuses is taken from its sources: aten/src/ATen/native/transformers/sdp_utils_cpp.{h,cpp} for the CPU,
and cuda/sdp_utils.cpp in the same folder for GPUs.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

from packaging.version import Version

from backends.attention.base import Attention, first_reason
from backends.attention.by_hand import LinearLayer
from backends.attention.heads import HEADS
from backends.attention.visibility import VISIBILITY
from backends.parts.mode import Mode
from backends.parts.primitives import Operands, Primitives, Tensor
from backends.parts.versions import version
from specs.case.attention import AttentionConfig
from specs.case.operands import adds_to_scores
from specs.case.visibility import hiding_fields
from specs.verdict.check import Check


class TorchLinear(LinearLayer):
    """torch.nn.Linear."""

    def __init__(self, primitives: Primitives, config: AttentionConfig) -> None:
        self.torch = primitives.framework["torch"]
        super().__init__(primitives, config)

    def make_layer(self, outputs: int, inputs: int, bias: bool) -> Any:
        # On the device `meta` its weights have a shape but no memory
        return self.torch.nn.Linear(inputs, outputs, bias=bias, device="meta")

    def apply_layer(self, layer: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        parameters = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
        return self.torch.func.functional_call(layer, parameters, (x,))


class ScaledDotProductAttention(Attention):
    """torch.nn.functional.scaled_dot_product_attention.

    kernel   the only kernel it may use, a member of torch.nn.attention.SDPBackend; None: any
    """

    kernel: ClassVar[str | None] = None
    axes = "bhsd"
    understands = HEADS | VISIBILITY | {"num_kv_heads", "value_dim", "scale"}
    limitations = {
        "softcap": "scaled_dot_product_attention has no softcap",
        "sink": "scaled_dot_product_attention has no sink",
        "relative": "scaled_dot_product_attention has no relative positions",
        "scale_at": "scaled_dot_product_attention scales the scores only",
    }

    @classmethod
    def unsupported(cls, config: AttentionConfig, check: Check) -> str | None:
        empty = 0 in (config.batch, config.q_len, config.kv_len)
        reason = super().unsupported(config, check) or cls.version_limitation(config)
        no_gradient = check.direction == "grad" and adds_to_scores(config) and empty
        return reason or (EMPTY_MASK_GRADIENT if no_gradient else None)

    @classmethod
    def mode_limitation(cls, config: AttentionConfig, check: Check, mode: Mode) -> str | None:
        return NO_KERNEL_IN_A_GRAPH if mode.execution == "graph" and cls.kernel is not None else None

    @classmethod
    def version_limitation(cls, config: AttentionConfig) -> str | None:
        """The argument that the installed torch does not have, by its version: a built-in function has no signature."""
        if config.num_heads == config.num_kv_heads or (installed := Version(version("torch"))) >= GROUPED_SINCE:
            return None
        return f"scaled_dot_product_attention of torch {installed} has no argument enable_gqa"

    def __init__(self, primitives: Primitives, config: AttentionConfig) -> None:
        super().__init__(primitives, config)
        self.torch, self.nn_attention = (primitives.framework[name] for name in ("torch", "torch.nn.attention"))
        self.is_causal = is_causal_alone(config)  # now: torch.compile cannot trace the fields of a model

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.config.layout == "ds":
            return super().linear(x, weight, bias)
        return self.torch.nn.functional.linear(x, weight, bias)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, operands: Operands) -> Tensor:
        c = self.config
        mask = None if self.is_causal else self.combined_mask(operands, query)
        with self.select_kernel():
            return self.torch.nn.functional.scaled_dot_product_attention(
                query,
                key,
                value,
                attn_mask=None if mask is None else mask.reshape((1, 1, 1, *mask.shape)[-4:]),
                is_causal=self.is_causal,
                scale=c.scale,
                **{"enable_gqa": True} if c.num_heads != c.num_kv_heads else {},
            )

    def combined_mask(self, operands: Operands, like: Tensor) -> Tensor | None:
        """Masks and additive terms as the single argument `attn_mask`: boolean if nothing is added."""
        visible, bias = self.visible(operands, like), self.additive_bias(operands)
        return visible if bias is None else bias if visible is None else self.ops.where(visible, bias, -math.inf)

    def select_kernel(self) -> AbstractContextManager[object]:
        if self.kernel is None:
            return nullcontext()
        kernels = self.nn_attention.SDPBackend
        return self.nn_attention.sdpa_kernel(getattr(kernels, self.kernel))


class MathAttention(ScaledDotProductAttention):
    """The same with its unfused kernel, which supports everything that the operation does."""

    kernel = "MATH"


class FlashAttention(ScaledDotProductAttention):
    """The same with its flash kernel: on the CPU with masks and in every dtype, on GPUs without masks, in 16 bits."""

    kernel = "FLASH_ATTENTION"
    devices = ("cpu", "cuda:*")

    @classmethod
    def unsupported(cls, config: AttentionConfig, check: Check) -> str | None:
        c, on_gpu = config, check.device != "cpu"
        by_both = {
            "the flash kernel needs keys and values of one width": c.value_dim != c.head_dim,
            UNIT_STRIDE: _strides(c),
            NO_MASK_GRADIENT: check.direction == "grad" and adds_to_scores(c),
        }
        by_gpu = {
            "the flash kernel of GPUs computes in float16 and bfloat16": check.dtype not in SIXTEEN_BITS,
            "the flash kernel of GPUs takes no mask": _masks(c) and not is_causal_alone(c),
            "the flash kernel of GPUs is causal for as many queries as keys": is_causal_alone(c)
            and c.q_len != c.kv_len,
            "the flash kernel of GPUs has at most 256 features": c.head_dim > 256,
            "the kernels of GPUs need a query and a key": not (c.q_len and c.kv_len),
        }
        return super().unsupported(c, check) or first_reason(by_both | by_gpu if on_gpu else by_both)


class EfficientAttention(ScaledDotProductAttention):
    """The same with its memory-efficient kernel, which exists on GPUs."""

    kernel = "EFFICIENT_ATTENTION"
    devices = ("cuda:*",)

    @classmethod
    def unsupported(cls, config: AttentionConfig, check: Check) -> str | None:
        c, step = config, 8 if check.dtype in SIXTEEN_BITS else 4
        return super().unsupported(c, check) or first_reason(
            {
                "the efficient kernel has no float64": check.dtype == "float64",
                f"the efficient kernel needs multiples of {step} features in {check.dtype}": bool(
                    c.head_dim % step or c.value_dim % step
                ),
                UNIT_STRIDE: _strides(c),
                "the kernels of GPUs need a query and a key": not (c.q_len and c.kv_len),
            }
        )


class CudnnAttention(ScaledDotProductAttention):
    """The same with cuDNN."""

    kernel = "CUDNN_ATTENTION"
    devices = ("cuda:*",)

    @classmethod
    def unsupported(cls, config: AttentionConfig, check: Check) -> str | None:
        c = config
        return super().unsupported(c, check) or first_reason(
            {
                "the cuDNN kernel computes in float16 and bfloat16": check.dtype not in SIXTEEN_BITS,
                "the cuDNN kernel needs multiples of 8 features, at most 128": bool(
                    c.head_dim % 8 or c.value_dim % 8 or max(c.head_dim, c.value_dim) > 128
                ),
                "the cuDNN kernel needs two keys": c.kv_len == 1,
                UNIT_STRIDE: _strides(c),
                NO_MASK_GRADIENT: check.direction == "grad" and adds_to_scores(c),
                "the kernels of GPUs need a query and a key": not (c.q_len and c.kv_len),
            }
        )


GROUPED_SINCE = Version("2.5")
SIXTEEN_BITS = ("float16", "bfloat16")
UNIT_STRIDE = "fused kernels need the features of a token side by side in memory"
NO_KERNEL_IN_A_GRAPH = "a graph of torch.export calls scaled_dot_product_attention, and not the kernel that was chosen"
EMPTY_MASK_GRADIENT = "where there is nothing to attend to, no mask is connected to the zeros that are returned"
NO_MASK_GRADIENT = "the kernel has no gradient of an additive mask"


def _strides(config: AttentionConfig) -> bool:
    """Whether the features of a token are not adjacent in memory; what a projection returns is contiguous."""
    apart = any(config.memory_of(name) in ("transposed", "strided") for name in ("query", "key", "value"))
    return config.layout == "ds" or (apart and config.projections is None)


def is_causal_alone(config: AttentionConfig) -> bool:
    """Whether the flag `is_causal`, aligned at the first query and exclusive with a mask, expresses all masks."""
    return config.causal == "top_left" and hiding_fields(config) == {"causal"} and not adds_to_scores(config)


def _masks(config: AttentionConfig) -> bool:
    return bool(hiding_fields(config)) or adds_to_scores(config)
