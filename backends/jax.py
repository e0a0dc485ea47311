"""JAX on every platform it finds: the CPU always, GPUs and TPUs where there are plugins for them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from backends.attention.base import Operands, Primitives, Tensor
from backends.attention.by_hand import Einsum, Matmul
from backends.attention.jax import DotProductAttention
from backends.base import AnyComputation, Backend, Computation, Declaration, Pullback
from specs.formats import DTYPES, Array

# What JAX's own tests leave out there: supported_dtypes in jax/_src/test_util.py
NOT_ON_TPU = frozenset({"float64", "complex128", "int64", "uint64"})


class Jax(Backend):
    """JAX with 64-bit types enabled; `jit` is jax.jit."""

    name = "jax"
    distribution = "jax"
    related = ("jaxlib", "ml_dtypes")
    formulations = {"einsum": Einsum, "matmul": Matmul, "dot-product-attention": DotProductAttention}
    implementations = {"einsum": ("einsum",), "attention": tuple(formulations)}
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
                implementation=by_hand,
                dtype=dtype,
                reason="jax.nn.softmax computes exp, sum and quotient in the dtype of its argument",
            )
            for dtype in ("float16", "bfloat16")
            for by_hand in ("einsum", "matmul")
        ),
        *(
            Declaration({"flushes": True}, device="cpu", dtype=dtype, reason="XLA on the CPU flushes subnormals")
            for dtype in ("float64", "float32", "bfloat16", "complex64", "complex128")
        ),
    )

    def __init__(self) -> None:
        # Several workers share a GPU; JAX would take three quarters of its memory at once
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        import jax
        import jax.numpy as jnp
        from jax.extend import backend

        self.jax: Any = jax
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
            repeat=jnp.repeat,
            where=jnp.where,
            any=lambda x, axis: jnp.any(x, axis, keepdims=True),
            softmax=jax.nn.softmax,
            tanh=jnp.tanh,
            arange=lambda length, like: jnp.arange(length),
            lowest=lambda like: float(self.jax.numpy.finfo(like.dtype).min),
        )

    def devices(self) -> list[str]:
        return sorted(self.places)

    def dtypes(self, device: str) -> frozenset[str]:
        return frozenset(DTYPES) - (NOT_ON_TPU if device.startswith("tpu") else frozenset())

    def settings(self) -> dict[str, Any]:
        config = self.jax.config
        return {
            "default_matmul_precision": config.jax_default_matmul_precision,
            "enable_x64": config.jax_enable_x64,
            "numpy_dtype_promotion": str(config.jax_numpy_dtype_promotion),
            "XLA_FLAGS": os.environ.get("XLA_FLAGS"),
            "NVIDIA_TF32_OVERRIDE": os.environ.get("NVIDIA_TF32_OVERRIDE"),
        }

    def from_numpy(self, array: Array, device: str) -> Tensor:
        own = np.array(array)  # a copy: on the CPU an array would often share its memory
        return self.jax.device_put(own, self.places[device])

    def to_numpy(self, tensor: Tensor) -> Array:
        return np.asarray(tensor)

    def on(self, device: str) -> AbstractContextManager[object]:
        return self.jax.default_device(self.places[device])

    def compiled(self, computation: AnyComputation, mode: str) -> AnyComputation:
        if mode != "jit":
            return super().compiled(computation, mode)
        return self.jax.jit(computation)

    def pullback(self, computation: Computation, variables: Sequence[str], mode: str) -> Pullback:
        def pulled(operands: Operands, cotangent: Tensor) -> Mapping[str, Tensor | None]:
            def of_variables(varied: Operands) -> Tensor:
                return computation({**operands, **varied})

            _, transposed = self.jax.vjp(of_variables, {name: operands[name] for name in variables})
            (found,) = transposed(cotangent)
            return found

        return self.compiled(pulled, mode)


def _name(device: Any) -> str:
    """`cpu`, `cuda:0`, `rocm:0`, `tpu:0`: as the other backends name the same place."""
    platform = device.platform
    if platform == "gpu":
        platform = "rocm" if "rocm" in device.client.platform_version.lower() else "cuda"
    return "cpu" if (platform, device.id) == ("cpu", 0) else f"{platform}:{device.id}"
