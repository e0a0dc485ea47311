"""PyTorch on the CPU, CUDA and Apple's Metal."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np

from backends.attention.by_hand import Einsum, Matmul
from backends.attention.torch import (
    CudnnAttention,
    EfficientAttention,
    FlashAttention,
    MathAttention,
    ScaledDotProductAttention,
    TorchLinear,
)
from backends.attention.torch_by_hand import WAYS
from backends.attention.torch_flex import FlexAttention
from backends.attention.torch_multihead import (
    FastMultiheadAttention,
    MultiheadAttention,
    MultiheadAttentionWithWeights,
)
from backends.base import AnyComputation, Computation, Declaration, Pullback
from backends.hosts.keras import FUSED_KERAS, SCALED_QUERIES, KerasHost
from backends.parts import inductor
from backends.parts.contraction import Contraction, has_sublists, interleave
from backends.parts.dialect import Dialect
from backends.parts.framework import INSTALLED, Framework
from backends.parts.mode import COMPILED, EAGER, Mode
from backends.parts.primitives import Operands, Primitives, Tensor
from specs.arithmetic.formats import DTYPES, Array
from specs.case.einsum import EinsumConfig
from specs.case.operands import LOGITS
from specs.inputs import memory
from specs.verdict import processor
from specs.verdict.check import Check
from specs.verdict.place import Share

# On processors with such instructions: VDPBF16PS and TDPBF16PS read subnormal numbers as 0 and return none
BFLOAT16_PRODUCTS = (
    Declaration(
        {"flushes": True},
        device="cpu",
        dtype="bfloat16",
        reason="oneDNN multiplies by the processor's own instructions for bfloat16, which know no subnormal numbers",
    ),
)

EAGER_FLEX = 35.0  # CPU milliseconds


class Torch(KerasHost):
    """PyTorch; its compiled modes are those of torch.compile."""

    name = "torch"
    distribution = "torch"
    related = ("triton", "opt_einsum")
    formulations = {
        "einsum": Einsum,
        "matmul": Matmul,
        "linear-layer": TorchLinear,
        "sdpa": ScaledDotProductAttention,
        "sdpa-math": MathAttention,
        "sdpa-flash": FlashAttention,
        "sdpa-efficient": EfficientAttention,
        "sdpa-cudnn": CudnnAttention,
        "flex": FlexAttention,
        "multihead": MultiheadAttention,
        "multihead-weights": MultiheadAttentionWithWeights,
        "multihead-fast": FastMultiheadAttention,
        **WAYS,
    }
    implementations = {
        "einsum": ("einsum", "einsum-unoptimized", "einsum-sublists"),
        "attention": tuple(formulations),
    }
    on_request = frozenset({"einsum-sublists"})
    modes = {
        "eager": EAGER,
        "jit": COMPILED,
        "dynamic": Mode("compiled", any_sizes=True),
        "export": Mode("graph"),  # which torch.export makes
    }
    modes_of = dict.fromkeys(WAYS, tuple(name for name, mode in modes.items() if mode.execution == "compiled"))
    shares = {
        "jit": Share({"standard": 100.0, "full": 900.0}, {"standard": 0.08, "full": 0.75}, inductor.seconds),
        "dynamic": Share({"standard": 10.0, "full": 120.0}, {"standard": 0.01, "full": 0.1}, inductor.seconds),
        "export": Share({"standard": 8.0, "full": 60.0}, {"standard": 0.01, "full": 0.05}, lambda check: 0.15),
    }
    declarations = (
        *(
            Declaration(
                {"intermediate": "float32"},
                kind="attention",
                implementation=fused,
                dtype="*float16",
                reason="the fused kernels keep their scores in float32",
            )
            for fused in ("sdpa*", "flex", "multihead", *FUSED_KERAS)
        ),
        *(
            Declaration(
                {"intermediate": dtype},
                kind="attention",
                implementation="flex",
                dtype=dtype,
                feature=logit,
                reason="the kernel stores its result before what a sink leaves of it is computed",
            )
            for dtype in ("float16", "bfloat16")
            for logit in sorted(LOGITS)
        ),
        *(
            Declaration(
                {"partial": dtype},
                kind="attention",
                device="cpu",
                implementation=fused,
                dtype=dtype,
                direction="grad",
                reason="the flash kernel of CPUs adds the products of each block of queries or keys to gradients of "
                "the dtype (cpu_flash_attention_backward in aten/src/ATen/native/cpu/FlashAttentionKernel.cpp)",
            )
            for dtype in ("float16", "bfloat16")
            for fused in ("sdpa", "sdpa-flash", "multihead", *FUSED_KERAS)
        ),
        *(
            Declaration(
                {"partial": dtype},
                kind="attention",
                device="cpu",
                implementation="matmul-divided",
                mode="jit",
                dtype=dtype,
                direction="grad",
                reason="torch.compile makes scaled_dot_product_attention of this formula, and so its flash kernel",
            )
            for dtype in ("float16", "bfloat16")
        ),
        *(
            Declaration(
                {"scaled": dtype},
                kind="attention",
                implementation="multihead-weights",
                dtype=dtype,
                reason="multi_head_attention_forward multiplies the query by the scale before the product",
            )
            for dtype in ("float16", "bfloat16")
        ),
        *(
            Declaration(
                {"scaled": dtype},
                kind="attention",
                implementation="matmul-baddbmm",
                dtype=dtype,
                direction="grad",
                reason="baddbmm multiplies the gradients of its matrices by alpha once they are stored "
                "(tools/autograd/derivatives.yaml)",
            )
            for dtype in ("float16", "bfloat16")
        ),
        *SCALED_QUERIES,
        Declaration(
            {"weights": "float32"},
            kind="attention",
            implementation="sdpa-math",
            dtype="*float16",
            reason="the unfused kernel converts 16-bit operands to float32, unless reduced precision is allowed",
        ),
    )
    conjugates = True  # https://docs.pytorch.org/docs/stable/notes/autograd.html#autograd-for-complex-numbers

    dialect = Dialect(
        imports=("numpy as np", "torch"),
        tensor="{array}",
        dtype='str(result.dtype).removeprefix("torch.")',
        array="result.detach().cpu().resolve_conj().resolve_neg().numpy()",
        bfloat16="torch.bfloat16",
        library="torch",
        widened="result.double()",
        spellings={"torch.dtype": str, "torch.device": lambda device: f'torch.device("{device}")'},
        substitutes={
            "torch.compile": lambda function, **_: function,
            "torch.compiler.reset": lambda: None,
            "torch.export.export": lambda module, _: SimpleNamespace(module=lambda: module),
        },
    )

    def __init__(self, framework: Framework = INSTALLED) -> None:
        super().__init__(framework)
        # Else it starts a pool of processes that import torch: for longer than the one kernel of most checks takes
        os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
        torch = self.torch = framework["torch"]
        self.opt_einsum = framework["torch.backends.opt_einsum"]  # torch 2.4 does not import it by itself
        self.primitives = Primitives(
            einsum=torch.einsum,
            permute_dims=torch.permute,
            reshape=torch.reshape,
            broadcast_to=torch.broadcast_to,
            # cat takes slices of one feature for images (channels last) and puts heads innermost: fused kernels refuse
            concat=lambda tensors, axis: torch.cat(tensors, axis).contiguous(),
            repeat=torch.repeat_interleave,
            where=torch.where,
            any=lambda x, axis: torch.any(x, axis, keepdim=True),
            softmax=torch.softmax,
            tanh=torch.tanh,
            arange=lambda length, like: torch.arange(length, device=like.device),
            lowest=lambda like: torch.finfo(like.dtype).min,
            framework=framework,
        )

    @classmethod
    def distinct_einsums(cls, config: EinsumConfig, device: str) -> Mapping[str, bool]:
        return {
            "einsum-unoptimized": config.operand_count > 2,  # with two there is only one path
            "einsum-sublists": has_sublists(config.equation, config.operand_count),
        }

    @classmethod
    def rows(cls) -> tuple[Declaration, ...]:
        return cls.declarations + (BFLOAT16_PRODUCTS if processor.meets("avx512_bf16|amx_bf16") else ())

    @classmethod
    def cost(cls, check: Check) -> float:
        """Eager, flex_attention maps functions of one score over all of them."""
        is_mapped = check.implementation == "flex" and cls.mode_of(check).execution == "eager"
        return EAGER_FLEX if is_mapped else super().cost(check)

    def devices(self) -> list[str]:
        cuda = [f"cuda:{i}" for i in range(self.torch.cuda.device_count())]
        return ["cpu", *cuda, *(["mps"] if self.torch.backends.mps.is_available() else [])]

    def dtypes(self, device: str) -> frozenset[str]:
        known = frozenset(name for name in DTYPES if hasattr(self.torch, name))
        # Metal has no 64-bit floating point
        return known - {"float64", "complex128"} if device == "mps" else known

    def keep_compiled(self, folder: Path) -> None:
        """Use the caches of torch's compiler, in a subfolder for what it compiles with and for."""
        torch = self.torch
        inductor.keep(folder, torch.__version__, torch.__config__.show(), torch.get_num_threads())

    def unsupported(self, check: Check) -> str | None:
        config, compiled = check.case.config, self.mode_of(check).execution == "compiled"
        if compiled and check.device == "cpu" and (reason := inductor.missing()):
            return reason
        if isinstance(config, EinsumConfig):
            if check.implementation != "keras" and config.asks_for_dtype:
                return "torch.einsum has no argument for the result's dtype"
            if check.implementation == "einsum-unoptimized" and compiled:
                return "torch.compile does not trace the switch that turns opt_einsum off"
        return super().unsupported(check)

    def returns_view(self, check: Check) -> bool:
        """torch.einsum returns a view where it only rearranges its one operand, and so does its gradient; the gradient
        of what is added to the result is a view of the cotangent.
        """
        config = check.case.config
        if isinstance(config, EinsumConfig):
            return config.operand_count == 1
        return check.direction == "grad" and config.projections is not None and config.projections.output

    def settings(self) -> dict[str, Any]:
        torch = self.torch
        matmul = torch.backends.cuda.matmul
        return {
            "opt_einsum": self.opt_einsum.is_available() and self.opt_einsum.strategy,
            "float32_matmul_precision": torch.get_float32_matmul_precision(),
            # Newer versions have a new setting, and reading the old one after the new one was set is an error
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
        refused = any(stride < 0 for stride in array.strides)
        copy = array.copy() if refused else memory.copy(array)  # torch also warns of read-only memory
        if copy.dtype == ml_dtypes.bfloat16:
            return self.torch.from_numpy(copy.view(np.int16)).view(self.torch.bfloat16).to(device)
        return self.torch.from_numpy(copy).to(device)

    def to_numpy(self, tensor: Tensor) -> Array:
        tensor = tensor.detach().cpu().resolve_conj().resolve_neg()
        if tensor.dtype == self.torch.bfloat16:
            return np.asarray(tensor.view(self.torch.int16).numpy().view(ml_dtypes.bfloat16))
        return np.asarray(tensor.numpy())

    def einsum(self, config: EinsumConfig, implementation: str) -> Computation:
        torch = self.torch

        def from_sublists(equation: str, *operands: Tensor) -> Tensor:
            return torch.einsum(*interleave(equation, operands))

        def unoptimized(equation: str, *operands: Tensor) -> Tensor:
            """Contract from left to right, whether or not opt_einsum is installed."""
            with self.opt_einsum.flags(enabled=False):
                return torch.einsum(equation, *operands)

        functions = {"einsum": torch.einsum, "einsum-unoptimized": unoptimized, "einsum-sublists": from_sublists}
        return Contraction(functions[implementation], config.equation)

    def compile(self, computation: AnyComputation, check: Check) -> AnyComputation:
        mode = self.mode_of(check)
        if mode.execution == "eager":
            return super().compile(computation, check)
        if mode.execution == "graph":
            return self._exported(computation)
        # All cases share the code of a formulation, and after 8 compilations of one function torch runs it eagerly
        self.torch.compiler.reset()
        compiled = self.torch.compile(computation, fullgraph=True, dynamic=mode.any_sizes)
        reused = mode.any_sizes and check.case.kind == "einsum" and check.direction == "forward"
        return self._reused(compiled) if reused else compiled

    def _exported(self, computation: Computation) -> Computation:
        """The computation as a graph that torch.export makes of it, for each set of dtypes."""
        graphs: dict[object, Computation] = {}

        def run(operands: Operands) -> Any:
            key = tuple(x.dtype for x in operands.values())
            if key not in graphs:
                module = self.torch.nn.Module()
                module.forward = lambda operands: computation(operands)  # a function: its code is looked at
                graphs[key] = self.torch.export.export(module, (operands,)).module()
            return graphs[key](operands)

        return run

    def _reused(self, compiled: Computation) -> Computation:
        """A compiled einsum that computes something else before: ones whose axes of more than two are one longer."""

        def run(operands: Operands) -> Tensor:
            compiled({name: x.new_ones([size + (size > 2) for size in x.shape]) for name, x in operands.items()})
            return compiled(operands)

        return run

    def pullback(self, computation: Computation, variables: Sequence[str], check: Check) -> Pullback:
        forward = self.compile(computation, check)  # this compiles its gradient too

        def pull_back(operands: Operands, cotangent: Tensor) -> Mapping[str, Tensor | None]:
            for name in variables:
                operands[name].requires_grad_()
            inputs = [operands[name] for name in variables]
            gradients = self.torch.autograd.grad(forward(operands), inputs, cotangent, allow_unused=True)
            return dict(zip(variables, gradients, strict=True))

        return pull_back
