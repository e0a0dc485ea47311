"""JAX on every platform it finds: the CPU always, GPUs and TPUs where there are plugins for them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from backends.attention.by_hand import Einsum, Matmul
from backends.attention.jax import CudnnAttention, DotProductAttention
from backends.base import AnyComputation, Computation, Declaration, Pullback
from backends.hosts.keras import FUSED_KERAS, SCALED_QUERIES, UNFUSED_KERAS, KerasHost
from backends.parts.compiled import seal_programs
from backends.parts.contraction import Contraction, search_limitation
from backends.parts.dialect import Dialect
from backends.parts.framework import INSTALLED, Framework
from backends.parts.mode import COMPILED, EAGER, Mode
from backends.parts.primitives import Operands, Primitives, Tensor
from specs.arithmetic.formats import DTYPES, Array
from specs.case.einsum import EinsumConfig
from specs.case.features import features
from specs.verdict import memory, processor
from specs.verdict.check import Check
from specs.verdict.place import Share

EINSUMS: dict[str, dict[str, Any]] = {
    "einsum": {},
    "einsum-unoptimized": {"optimize": False},
    "einsum-optimal": {"optimize": "optimal"},
    "einsum-highest": {"precision": "highest"},
}
# Left out on TPUs by JAX's own tests: supported_dtypes in jax/_src/test_util.py
NOT_ON_TPU = frozenset({"float64", "complex128", "int64", "uint64"})


class NamedContraction(Contraction):
    """A contraction that jax.jit compiles under the name that an eager einsum has, so that both are one program."""

    @property
    def __name__(self) -> str:
        return "_einsum"


MANY_FEATURES = 8  # of one attention
BY_HAND = 1.5  # times the kernels of an attention of JAX's own
SHARED_DTYPE = "float32"  # of eager attention where there is a choice: cases share its compiled operations
NOT_SHARED = 1.5  # times as dear in any other
BYTES_FOLDED_EACH_SECOND = 1e8  # as `memory.estimate` counts them
EINSUM_COSTS = {("jit", "forward"): 45.0, ("jit", "grad"): 90.0, ("eager", "forward"): 10.0, ("eager", "grad"): 300.0}


def constant_seconds(check: Check) -> float:
    """CPU seconds of a check whose operands are constants: XLA evaluates what it folds element by element."""
    return Jax.cost(check) / 1000.0 + memory.estimate(check) / BYTES_FOLDED_EACH_SECOND


class Jax(KerasHost):
    """JAX with 64-bit types enabled; its compiled modes are those of jax.jit."""

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
    modes = {"eager": EAGER, "jit": COMPILED, "constant": Mode("compiled", constants=True)}
    default_modes = ("eager", "jit")
    usual_mode = "jit"
    cheap_modes = frozenset()
    costs = {("jit", "forward"): 170.0, ("jit", "grad"): 400.0, ("eager", "forward"): 425.0, ("eager", "grad"): 1300.0}
    shares = {"constant": Share({"standard": 8.0, "full": 60.0}, {"standard": 0.01, "full": 0.05}, constant_seconds)}
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
                direction="forward",
                reason="dot_product_attention asks for its scores in float32; on the way back it rounds that of "
                "the weights to the dtype, as it did the weights",
            )
            for fused in ("dot-product-attention*", *FUSED_KERAS)
        ),
        *SCALED_QUERIES,
        *(
            Declaration({"flushes": True}, device="cpu", dtype=dtype, reason="XLA on the CPU flushes subnormals")
            for dtype in ("float64", "float32", "bfloat16", "complex64", "complex128")
        ),
    )

    dialect = Dialect(
        imports=("jax", "jax.numpy as jnp", "numpy as np"),
        tensor="jnp.asarray({array})",
        dtype="str(result.dtype)",
        array="np.asarray(result)",
        bfloat16="jnp.bfloat16",
    )

    def __init__(self, framework: Framework = INSTALLED) -> None:
        super().__init__(framework)
        # Several workers share a GPU; by default JAX takes three quarters of its memory at once
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        jax, jnp, backend = (framework[name] for name in ("jax", "jax.numpy", "jax.extend.backend"))
        self.jax = jax
        self.jax.config.update("jax_enable_x64", True)  # without it 64-bit types silently become 32 bits wide
        # Early versions list the default platform only
        platforms = backend.backends() if hasattr(backend, "backends") else [jax.default_backend()]
        # Only local devices: with several hosts each has its own
        devices = (device for platform in platforms for device in jax.local_devices(backend=platform))
        self.devices_by_name = {_device_name(device): device for device in devices}
        self.primitives = Primitives(
            einsum=jnp.einsum,
            permute_dims=jnp.transpose,
            reshape=jnp.reshape,
            broadcast_to=jnp.broadcast_to,
            concat=jnp.concatenate,
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
            "einsum-unoptimized": config.operand_count > 2,  # with two there is only one path
            "einsum-optimal": config.operand_count > 4,  # up to four the default, auto, is optimal
            "einsum-highest": device != "cpu",  # the CPU has only one precision
        }

    @classmethod
    def cost(cls, check: Check) -> float:
        """An einsum has few operations, and eager it is the program of its jit; many features are many operations."""
        config = check.case.config
        if cls.mode_of(check).constants:  # each call compiles a program of its own
            return 2.0 * cls.cost(replace(check, mode="jit"))
        if isinstance(config, EinsumConfig):
            return EINSUM_COSTS.get((check.mode, check.direction), super().cost(check))
        cost = super().cost(check) * (1.0 if len(features(config)) <= MANY_FEATURES else 3.0)
        if cls.mode_of(check).execution == "eager":
            return cost * (1.0 if check.dtype == SHARED_DTYPE else NOT_SHARED)
        return cost * (BY_HAND if cls.is_handwritten(check) else 1.0)

    def devices(self) -> list[str]:
        return sorted(self.devices_by_name)

    def dtypes(self, device: str) -> frozenset[str]:
        return frozenset(DTYPES) - (NOT_ON_TPU if device.startswith("tpu") else frozenset())

    def unsupported(self, check: Check) -> str | None:
        config = check.case.config
        if isinstance(config, EinsumConfig) and check.implementation == "einsum-optimal":
            return search_limitation(config) or super().unsupported(check)
        return super().unsupported(check)

    def settings(self) -> dict[str, Any]:
        config = self.jax.config
        return {
            "default_matmul_precision": config.jax_default_matmul_precision,
            "enable_x64": config.jax_enable_x64,
            "numpy_dtype_promotion": str(config.jax_numpy_dtype_promotion),
            "XLA_FLAGS": os.environ.get("XLA_FLAGS"),
            "NPROC": os.environ.get("NPROC"),
            "NVIDIA_TF32_OVERRIDE": os.environ.get("NVIDIA_TF32_OVERRIDE"),
        }

    def keep_compiled(self, folder: Path) -> None:
        """Use JAX's compilation cache, in a subfolder for this kind of processor.

        JAX's own keys hold the program, versions, flags and devices.  XLA also compiles for the processor's features,
        and would load a program made for another processor with no more than a warning.  Entries have a checksum, which
        JAX gives them not.
        """
        subfolder = folder / hashlib.sha256(processor.describe().encode()).hexdigest()[:16]
        with suppress(OSError):  # without the folder everything is compiled, as if there were no cache
            subfolder.mkdir(parents=True, exist_ok=True)
        if os.access(subfolder, os.W_OK):
            seal_programs(self.framework)
            self.jax.config.update("jax_compilation_cache_dir", str(subfolder))
            self.jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
            self.jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
            if hasattr(self.jax.config, "jax_persistent_cache_enable_xla_caches"):
                # XLA's own caches are for GPUs, and their path would be part of every key: none of a moved folder fits
                self.jax.config.update("jax_persistent_cache_enable_xla_caches", "none")

    def from_numpy(self, array: Array, device: str) -> Tensor:
        copy = np.array(array)  # because on the CPU device_put often shares the memory of an array
        return self.jax.device_put(copy, self.devices_by_name[device])

    def to_numpy(self, tensor: Tensor) -> Array:
        return np.asarray(tensor)

    def on(self, device: str) -> AbstractContextManager[object]:
        return self.jax.default_device(self.devices_by_name[device])

    def einsum(self, config: EinsumConfig, implementation: str) -> Computation:
        options = EINSUMS[implementation]
        if config.requested_dtype is not None:
            options = options | {"preferred_element_type": DTYPES[config.requested_dtype].numpy}
        return NamedContraction(self.jax.numpy.einsum, config.equation, tuple(options.items()))

    def compile(self, computation: AnyComputation, check: Check) -> AnyComputation:
        mode = self.mode_of(check)
        if mode.execution == "eager":
            return super().compile(computation, check)
        if mode.constants:  # XLA may compute with the operands when it compiles
            return lambda *arguments: self.jax.jit(lambda: computation(*arguments))()
        return self.jax.jit(computation)

    def pullback(self, computation: Computation, variables: Sequence[str], check: Check) -> Pullback:
        def pull_back(operands: Operands, cotangent: Tensor) -> Mapping[str, Tensor | None]:
            def of_variables(varied: Operands) -> Tensor:
                return computation({**operands, **varied})

            _, transposed = self.jax.vjp(of_variables, {name: operands[name] for name in variables})
            (gradients,) = transposed(cotangent)
            return gradients

        return self.compile(pull_back, check)


def _device_name(device: Any) -> str:
    """`cpu`, `cuda:0`, `rocm:0`, `tpu:0`: the name that other backends give to the same device."""
    kind = device.platform
    if kind == "gpu":
        kind = "rocm" if "rocm" in device.client.platform_version.lower() else "cuda"
    return "cpu" if (kind, device.id) == ("cpu", 0) else f"{kind}:{device.id}"
