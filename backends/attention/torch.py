"""PyTorch's own attention.

What a kernel refuses is known from its sources: aten/src/ATen/native/transformers/sdp_utils_cpp.{h,cpp} for the CPU,
cuda/sdp_utils.cpp beside them for GPUs.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import version
from typing import Any, ClassVar

from packaging.version import Version

from backends.attention.base import Attention, first
from backends.attention.by_hand import LinearLayer
from backends.attention.heads import HEADS
from backends.attention.visibility import VISIBILITY
from backends.parts.primitives import Operands, Primitives, Tensor
from specs.case.attention import AttentionConfig
from specs.verdict.check import Check


class TorchLinear(LinearLayer):
    """torch.nn.Linear."""

    def __init__(self, primitives: Primitives, config: AttentionConfig) -> None:
        self.torch = primitives.framework["torch"]
        super().__init__(primitives, config)

    def layer(self, outputs: int, inputs: int, bias: bool) -> Any:
        # On `meta` weights have a shape and no memory
        return self.torch.nn.Linear(inputs, outputs, bias=bias, device="meta")

    def applied(self, layer: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        parameters = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
        return self.torch.func.functional_call(layer, parameters, (x,))


class ScaledDotProductAttention(Attention):
    """torch.nn.functional.scaled_dot_product_attention.

    kernel   the only one it may use, a name of torch.nn.attention.SDPBackend; None: it chooses
    """

    kernel: ClassVar[str | None] = None
    axes = "bhsd"
    understands = HEADS | VISIBILITY | {"num_kv_heads", "value_dim", "scale"}
    lacks = {
        "softcap": "scaled_dot_product_attention has no softcap",
        "sink": "scaled_dot_product_attention has no sink",
        "relative": "scaled_dot_product_attention has no relative positions",
        "scale_at": "scaled_dot_product_attention scales the scores only",
    }

    @classmethod
    def unsupported(cls, config: AttentionConfig, check: Check) -> str | None:
        empty = 0 in (config.batch, config.q_len, config.kv_len)
        lacks = super().unsupported(config, check) or cls.asks_for_later(config)
        return lacks or first({NO_MASK_GRADIENT_OF_NOTHING: check.direction == "grad" and _adds(config) and empty})

    @classmethod
    def asks_for_later(cls, config: AttentionConfig) -> str | None:
        """Why the installed torch cannot be asked: a built-in function has no signature to look at."""
        if config.num_heads == config.num_kv_heads or (installed := Version(version("torch"))) >= GROUPED_SINCE:
            return None
        return f"scaled_dot_product_attention of torch {installed} has no argument enable_gqa"

    def __init__(self, primitives: Primitives, config: AttentionConfig) -> None:
        super().__init__(primitives, config)
        self.torch, self.nn_attention = (primitives.framework[name] for name in ("torch", "torch.nn.attention"))

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.config.layout == "ds":
            return super().linear(x, weight, bias)
        return self.torch.nn.functional.linear(x, weight, bias)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, operands: Operands) -> Tensor:
        c = self.config
        is_causal = is_causal_alone(c)
        mask = None if is_causal else self.one_mask(operands, query)
        with self.chosen_kernel():
            return self.torch.nn.functional.scaled_dot_product_attention(
                query,
                key,
                value,
                attn_mask=None if mask is None else mask.reshape((1, 1, 1, *mask.shape)[-4:]),
                is_causal=is_causal,
                scale=c.scale,
                **{"enable_gqa": True} if c.num_heads != c.num_kv_heads else {},
            )

    def one_mask(self, operands: Operands, like: Tensor) -> Tensor | None:
        """All that is added and masked, as the one argument there is: boolean if nothing is added."""
        keep, added = self.visible(operands, like), self.added(operands)
        return keep if added is None else added if keep is None else self.ops.where(keep, added, -math.inf)

    def chosen_kernel(self) -> AbstractContextManager[object]:
        if self.kernel is None:
            return nullcontext()
        kernels = self.nn_attention.SDPBackend
        return self.nn_attention.sdpa_kernel(getattr(kernels, self.kernel))


class MathAttention(ScaledDotProductAttention):
    """The same by its unfused kernel, which does whatever the operation can."""

    kernel = "MATH"


class FlashAttention(ScaledDotProductAttention):
    """The same by its flash kernel: on the CPU one with masks and every dtype, on GPUs without and in 16 bits."""

    kernel = "FLASH_ATTENTION"
    devices = ("cpu", "cuda:*")

    @classmethod
    def unsupported(cls, config: AttentionConfig, check: Check) -> str | None:
        c, on_gpu = config, check.device != "cpu"
        by_both = {
            "the flash kernel needs keys and values of one width": c.value_dim != c.head_dim,
            UNIT_STRIDE: _strides(c),
            NO_MASK_GRADIENT: check.direction == "grad" and _adds(c),
        }
        by_gpu = {
            "the flash kernel of GPUs computes in float16 and bfloat16": check.dtype not in SIXTEEN_BITS,
            "the flash kernel of GPUs takes no mask": _masks(c) and not is_causal_alone(c),
            "the flash kernel of GPUs is causal for as many queries as keys": is_causal_alone(c)
            and c.q_len != c.kv_len,
            "the flash kernel of GPUs has at most 256 features": c.head_dim > 256,
            "the kernels of GPUs need a query and a key": not (c.q_len and c.kv_len),
        }
        return super().unsupported(c, check) or first(by_both | by_gpu if on_gpu else by_both)


class EfficientAttention(ScaledDotProductAttention):
    """The same by its memory-efficient kernel, which GPUs have."""

    kernel = "EFFICIENT_ATTENTION"
    devices = ("cuda:*",)

    @classmethod
    def unsupported(cls, config: AttentionConfig, check: Check) -> str | None:
        c, step = config, 8 if check.dtype in SIXTEEN_BITS else 4
        return super().unsupported(c, check) or first(
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
    """The same by cuDNN."""

    kernel = "CUDNN_ATTENTION"
    devices = ("cuda:*",)

    @classmethod
    def unsupported(cls, config: AttentionConfig, check: Check) -> str | None:
        c = config
        return super().unsupported(c, check) or first(
            {
                "the cuDNN kernel computes in float16 and bfloat16": check.dtype not in SIXTEEN_BITS,
                "the cuDNN kernel needs multiples of 8 features, at most 128": bool(
                    c.head_dim % 8 or c.value_dim % 8 or max(c.head_dim, c.value_dim) > 128
                ),
                "the cuDNN kernel needs two keys": c.kv_len == 1,
                UNIT_STRIDE: _strides(c),
                NO_MASK_GRADIENT: check.direction == "grad" and _adds(c),
                "the kernels of GPUs need a query and a key": not (c.q_len and c.kv_len),
            }
        )


GROUPED_SINCE = Version("2.5")
SIXTEEN_BITS = ("float16", "bfloat16")
UNIT_STRIDE = "fused kernels need the features of a token side by side in memory"
NO_MASK_GRADIENT_OF_NOTHING = "where there is nothing to attend to, no mask is connected to the zeros that are returned"
NO_MASK_GRADIENT = "the kernel has no gradient of an additive mask"


def _strides(config: AttentionConfig) -> bool:
    """Whether there is room between the features of a token; what a projection returns has none."""
    return config.layout == "ds" or (config.memory != "contiguous" and config.projections is None)


def is_causal_alone(config: AttentionConfig) -> bool:
    """Whether the flag says it all: it is aligned at the first query, and cannot be combined with a mask."""
    return config.causal == "top_left" and not (_adds(config) or _hides(config))


def _masks(config: AttentionConfig) -> bool:
    return config.causal != "none" or _adds(config) or _hides(config)


def _adds(config: AttentionConfig) -> bool:
    return config.bias is not None or (config.mask is not None and config.mask.type == "additive")


def _hides(config: AttentionConfig) -> bool:
    """Keys, for another reason than being after the query."""
    c = config
    return c.window is not None or c.kv_lengths is not None or (c.mask is not None and c.mask.type == "bool")
