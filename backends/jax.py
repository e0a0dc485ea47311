"""JAX on every platform it finds: the CPU always, GPUs and TPUs where there are plugins for them."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from backends.attention.by_hand import Einsum, Matmul
from backends.attention.jax import CudnnAttention, DotProductAttention
from backends.base import AnyComputation, Computation, Declaration, Pullback
from backends.hosts.keras import FUSED_KERAS, UNFUSED_KERAS, KerasHost
from backends.parts.contraction import Contraction, too_long_a_search
from backends.parts.framework import INSTALLED, Framework
from backends.parts.primitives import Operands, Primitives, Tensor
from specs.arithmetic.formats import DTYPES, Array
from specs.case.einsum import EinsumConfig
from specs.verdict.check import Check

EINSUMS: dict[str, dict[str, Any]] = {
    "einsum": {},
    "einsum-unoptimized": {"optimize": False},
    "einsum-optimal": {"optimize": "optimal"},
    "einsum-highest": {"precision": "highest"},
}
# What JAX's own tests leave out there: supported_dtypes in jax/_src/test_util.py
NOT_ON_TPU = frozenset({"float64", "complex128", "int64", "uint64"})


class Jax(KerasHost):
    """JAX with 64-bit types enabled; `jit` is jax.jit."""

    name = "jax"
    distribution = "jax"
    related = ("jaxlib", "ml_dtypes", "opt_einsum")
    formulations = {
        "einsum": Einsum,
        "matmul": Matmul,
        "dot-product-attention": DotProductAttention,
        "dot-product-attention-cudnn": CudnnAttention,
    }
    implementations = {"einsum": tuple(EINSUMS), "attention": tuple(formulations)}
    modes = ("eager", "jit")
    default_modes = ("eager", "jit")
    differentiates = True
    conjugates = (
        False  # https://docs.jax.dev/en/latest/notebooks/autodiff_cookbook.html#complex-numbers-and-differentiation
    )
    declarations = (
        *(
            Declaration(
                {"softmax": dtype},
                kind="attention",
                implementation=unfused,
                dtype=dtype,
                reason="jax.nn.softmax computes exp, sum and quotient in the dtype of its argument",
            )
            for dtype in ("float16", "bfloat16")
            for unfused in ("einsum", "matmul", *UNFUSED_KERAS)
        ),
        *(
            Declaration(
                {"intermediate": "float32"},
                kind="attention",
                implementation=fused,
                dtype="*float16",
                reason="dot_product_attention asks for its scores in float32",
            )
            for fused in ("dot-product-attention*", *FUSED_KERAS)
        ),
        *(
            Declaration({"flushes": True}, device="cpu", dtype=dtype, reason="XLA on the CPU flushes subnormals")
            for dtype in ("float64", "float32", "bfloat16", "complex64", "complex128")
        ),
    )

    def __init__(self, framework: Framework = INSTALLED) -> None:
        super().__init__(framework)
        # Several workers share a GPU; JAX would take three quarters of its memory at once
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        jax, jnp, backend = (framework[name] for name in ("jax", "jax.numpy", "jax.extend.backend"))
        self.jax = jax
        self.jax.config.update("jax_enable_x64", True)  # without it 64-bit types silently become 32 bits wide
        # Early versions tell of the default platform only
        platforms = backend.backends() if hasattr(backend, "backends") else [jax.default_backend()]
        # Only local devices: on several hosts each has its own
        found = (device for platform in platforms for device in jax.local_devices(backend=platform))
        self.places = {_name(device): device for device in found}
        self.primitives = Primitives(
            einsum=jnp.einsum,
            permute=jnp.transpose,
            reshape=jnp.reshape,
            spread=jnp.broadcast_to,
            join=jnp.concatenate,
            repeat=jnp.repeat,
            where=jnp.where,
            any=lambda x, axis: jnp.any(x, axis, keepdims=True),
            softmax=jax.nn.softmax,
            tanh=jnp.tanh,
            arange=lambda length, like: jnp.arange(length),
            lowest=lambda like: float(jnp.finfo(like.dtype).min),
            framework=framework,
        )

    @classmethod
    def distinct_einsums(cls, config: EinsumConfig, device: str) -> Mapping[str, bool]:
        return {
            "einsum-unoptimized": config.operand_count > 2,  # below that there is one path
            "einsum-optimal": config.operand_count > 4,  # up to there the default, auto, is optimal
            "einsum-highest": device != "cpu",  # which has one precision
        }

    def devices(self) -> list[str]:
        return sorted(self.places)

    def dtypes(self, device: str) -> frozenset[str]:
        return frozenset(DTYPES) - (NOT_ON_TPU if device.startswith("tpu") else frozenset())

    def unsupported(self, check: Check) -> str | None:
        config = check.case.config
        if isinstance(config, EinsumConfig) and check.implementation == "einsum-optimal":
            return too_long_a_search(config) or super().unsupported(check)
        return super().unsupported(check)

    def settings(self) -> dict[str, Any]:
        config = self.jax.config
        return {
            "default_matmul_precision": config.jax_default_matmul_precision,
            "enable_x64": config.jax_enable_x64,
            "numpy_dtype_promotion": str(config.jax_numpy_dtype_promotion),
            "XLA_FLAGS": os.environ.get("XLA_FLAGS"),
            "NVIDIA_TF32_OVERRIDE": os.environ.get("NVIDIA_TF32_OVERRIDE"),
        }

    def keep_compiled(self, folder: Path) -> None:
        """JAX's own key is made of the program, the versions, the flags and the devices; here it is the processor too.

        XLA compiles for what the processor has, and would load a program for another one with no more than a warning.
        """
        own = folder / hashlib.sha256(_processor().encode()).hexdigest()[:16]
        with suppress(OSError):  # without it everything is compiled, as if there were no cache
            own.mkdir(parents=True, exist_ok=True)
        if os.access(own, os.W_OK):
            self.jax.config.update("jax_compilation_cache_dir", str(own))
            self.jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
            self.jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

    def from_numpy(self, array: Array, device: str) -> Tensor:
        own = np.array(array)  # a copy: on the CPU an array would often share its memory
        return self.jax.device_put(own, self.places[device])

    def to_numpy(self, tensor: Tensor) -> Array:
        return np.asarray(tensor)

    def on(self, device: str) -> AbstractContextManager[object]:
        return self.jax.default_device(self.places[device])

    def einsum(self, config: EinsumConfig, implementation: str) -> Computation:
        options = EINSUMS[implementation]
        if config.requested_dtype is not None:
            options = options | {"preferred_element_type": DTYPES[config.requested_dtype].numpy}
        return Contraction(self.jax.numpy.einsum, config.equation, tuple(options.items()))

    def compiled(self, computation: AnyComputation, check: Check) -> AnyComputation:
        if check.mode != "jit":
            return super().compiled(computation, check)
        return self.jax.jit(computation)

    def pullback(self, computation: Computation, variables: Sequence[str], check: Check) -> Pullback:
        def pulled(operands: Operands, cotangent: Tensor) -> Mapping[str, Tensor | None]:
            def of_variables(varied: Operands) -> Tensor:
                return computation({**operands, **varied})

            _, transposed = self.jax.vjp(of_variables, {name: operands[name] for name in variables})
            (found,) = transposed(cotangent)
            return found

        return self.compiled(pulled, check)


def _processor() -> str:
    """What tells one kind of processor from another."""
    with suppress(OSError), open("/proc/cpuinfo") as told:
        return "".join(sorted({line for line in told if line.startswith(("model name", "flags", "Features"))}))
    return f"{platform.machine()} {platform.processor()}"


def _name(device: Any) -> str:
    """`cpu`, `cuda:0`, `rocm:0`, `tpu:0`: as the other backends name the same place."""
    kind = device.platform
    if kind == "gpu":
        kind = "rocm" if "rocm" in device.client.platform_version.lower() else "cuda"
    return "cpu" if (kind, device.id) == ("cpu", 0) else f"{kind}:{device.id}"
