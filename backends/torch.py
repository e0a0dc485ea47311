"""PyTorch on the CPU, CUDA and Apple's Metal."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np

from backends.base import AnyComputation, Backend, Computation, Pullback
from backends.by_hand import Attention, Einsum, LinearLayer, Matmul, Operands, Primitives, Tensor
from specs.case import Config, EinsumConfig
from specs.formats import DTYPES, Array

# Marked "(limited support)" in the table of types: https://docs.pytorch.org/docs/2.3/tensors.html
LIMITED = frozenset({"uint16", "uint32", "uint64"})


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


class Torch(Backend):
    """PyTorch; `jit` is torch.compile with its default compiler."""

    name = "torch"
    distribution = "torch"
    related = ("triton",)
    formulations = {
        "einsum": Einsum,
        "matmul": Matmul,
        "linear-layer": TorchLinear,
        "sdpa": ScaledDotProductAttention,
    }
    implementations = {"einsum": ("einsum",), "attention": tuple(formulations)}
    modes = ("eager", "jit")
    differentiates = True
    conjugates = True  # https://docs.pytorch.org/docs/stable/notes/autograd.html#autograd-for-complex-numbers

    def __init__(self) -> None:
        import torch

        self.torch: Any = torch
        self.primitives = Primitives(
            einsum=torch.einsum,
            permute=torch.permute,
            reshape=torch.reshape,
            repeat=torch.repeat_interleave,
            where=torch.where,
            any=lambda x, axis: torch.any(x, axis, keepdim=True),
            softmax=torch.softmax,
            tanh=torch.tanh,
            arange=lambda length, like: torch.arange(length, device=like.device),
            lowest=lambda like: torch.finfo(like.dtype).min,
        )

    def devices(self) -> list[str]:
        cuda = [f"cuda:{i}" for i in range(self.torch.cuda.device_count())]
        return ["cpu", *cuda, *(["mps"] if self.torch.backends.mps.is_available() else [])]

    def dtypes(self, device: str) -> frozenset[str]:
        known = frozenset(name for name in DTYPES if hasattr(self.torch, name))
        # Metal has no 64-bit floating point
        return known - {"float64", "complex128"} if device == "mps" else known

    def unsupported(self, config: Config, implementation: str, mode: str, dtype: str, device: str) -> str | None:
        if isinstance(config, EinsumConfig) and dtype in LIMITED:
            return f"torch documents only limited support of {dtype}"
        return super().unsupported(config, implementation, mode, dtype, device)

    def settings(self) -> dict[str, Any]:
        torch = self.torch
        matmul = torch.backends.cuda.matmul
        return {
            "float32_matmul_precision": torch.get_float32_matmul_precision(),
            # Newer versions have a setting of their own, and reading the old one after the new was set is an error
            "cuda_float32": matmul.fp32_precision if hasattr(matmul, "fp32_precision") else matmul.allow_tf32,
            "cuda_float16_reduced_precision": str(matmul.allow_fp16_reduced_precision_reduction),
            "cuda_bfloat16_reduced_precision": str(matmul.allow_bf16_reduced_precision_reduction),
            "deterministic": torch.are_deterministic_algorithms_enabled(),
            "num_threads": torch.get_num_threads(),
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            "mkldnn": torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled,
            "NVIDIA_TF32_OVERRIDE": os.environ.get("NVIDIA_TF32_OVERRIDE"),
        }

    def from_numpy(self, array: Array, device: str) -> Tensor:
        own = np.array(array, order="C")  # a copy: torch warns of read-only memory and refuses negative strides
        if own.dtype == ml_dtypes.bfloat16:
            return self.torch.from_numpy(own.view(np.int16)).view(self.torch.bfloat16).to(device)
        return self.torch.from_numpy(own).to(device)

    def to_numpy(self, tensor: Tensor) -> Array:
        tensor = tensor.detach().cpu().resolve_conj().resolve_neg()
        if tensor.dtype == self.torch.bfloat16:
            return np.asarray(tensor.view(self.torch.int16).numpy().view(ml_dtypes.bfloat16))
        return np.asarray(tensor.numpy())

    def compiled(self, computation: AnyComputation, mode: str) -> AnyComputation:
        if mode != "jit":
            return super().compiled(computation, mode)
        # All cases share the formulations' code, and after 8 compilations of one function torch would run it eagerly
        self.torch.compiler.reset()
        return self.torch.compile(computation, fullgraph=True, dynamic=False)

    def pullback(self, computation: Computation, variables: Sequence[str], mode: str) -> Pullback:
        forward = self.compiled(computation, mode)  # compiling it compiles its gradient too

        def pulled(operands: Operands, cotangent: Tensor) -> Mapping[str, Tensor | None]:
            for name in variables:
                operands[name].requires_grad_()
            inputs = [operands[name] for name in variables]
            found = self.torch.autograd.grad(forward(operands), inputs, cotangent, allow_unused=True)
            return dict(zip(variables, found, strict=True))

        return pulled
