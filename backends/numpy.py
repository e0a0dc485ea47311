"""NumPy: no devices, no compiler, no fused attention; the plainest statement of both formulations."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import numpy as np  # not left to __init__: the suite itself needs it

from backends.attention.base import Primitives
from backends.attention.by_hand import Einsum, Matmul
from backends.base import Backend, Computation, Contraction, Declaration
from specs.case import EinsumConfig
from specs.formats import DTYPES, Array

EINSUMS: dict[str, Callable[..., Array]] = {
    "einsum": np.einsum,
    "einsum-optimized": partial(np.einsum, optimize=True),
}


class Numpy(Backend):
    """NumPy on the CPU."""

    name = "numpy"
    distribution = "numpy"
    formulations = {"einsum": Einsum, "matmul": Matmul}
    implementations = {"einsum": tuple(EINSUMS), "attention": tuple(formulations)}
    declarations = (
        Declaration(
            {"accumulate": "float16"},
            implementation="einsum",
            dtype="float16",
            reason="np.einsum stores each partial sum in the output's dtype; only contiguous inner loops hold float32",
        ),
    )
    primitives = Primitives(
        einsum=np.einsum,
        permute=np.transpose,
        reshape=np.reshape,
        repeat=np.repeat,
        where=np.where,
        any=lambda x, axis: np.any(x, axis=axis, keepdims=True),
        softmax=lambda x, axis: softmax(x, axis),
        tanh=np.tanh,
        arange=lambda length, like: np.arange(length),
        lowest=lambda like: np.finfo(like.dtype).min,  # of its dtype: NumPy 1 would widen for a float
    )

    def devices(self) -> list[str]:
        return ["cpu"]

    def dtypes(self, device: str) -> frozenset[str]:
        # ml_dtypes lets an array hold bfloat16, but neither einsum nor matmul computes with it
        return frozenset(DTYPES) - {"bfloat16"}

    def settings(self) -> dict[str, Any]:
        built: Any = np.show_config(mode="dicts")
        blas = built["Build Dependencies"]["blas"]
        return {
            "blas": f"{blas['name']} {blas['version']}",
            "simd": built["SIMD Extensions"].get("found", []),
            "OPENBLAS_CORETYPE": os.environ.get("OPENBLAS_CORETYPE"),
            "OPENBLAS_NUM_THREADS": os.environ.get("OPENBLAS_NUM_THREADS"),
        }

    def from_numpy(self, array: Array, device: str) -> Array:
        return np.array(array)

    def to_numpy(self, tensor: Array) -> Array:
        return np.asarray(tensor)  # a full contraction is a scalar

    def on(self, device: str) -> AbstractContextManager[object]:
        return np.errstate(all="ignore")  # overflow and NaN show in the result; the others do not warn either

    def einsum(self, config: EinsumConfig, implementation: str) -> Computation:
        return Contraction(EINSUMS[implementation], config.equation)


def softmax(x: Array, axis: int) -> Array:
    """exp(x) / sum exp(x), shifted by the largest of each row so that nothing overflows."""
    numerator = np.exp(x - x.max(axis=axis, keepdims=True, initial=-np.inf))  # initial: a row may be empty
    return np.asarray(numerator / numerator.sum(axis=axis, keepdims=True))
