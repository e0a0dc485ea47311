"""NumPy: no devices, no compiler, no fused attention; both formulations at their plainest."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Literal

import numpy as np  # not imported lazily: the suite itself needs it

from backends.attention.by_hand import Einsum, Matmul
from backends.base import Backend, Computation, Declaration
from backends.parts.contraction import Contraction, has_sublists, interleave, search_limitation
from backends.parts.dialect import NUMPY
from backends.parts.framework import INSTALLED, Framework
from backends.parts.primitives import Primitives
from specs.arithmetic.formats import DTYPES, Array
from specs.case.einsum import EinsumConfig
from specs.case.equation import bind
from specs.inputs import memory
from specs.verdict.check import Check

Function = Callable[..., Array]


def einsum_sublists(equation: str, *operands: Array, numpy: Any = np, **options: Any) -> Array:
    return numpy.einsum(*interleave(equation, operands), **options)


def einsum_out(equation: str, *operands: Array, einsum: Function = np.einsum, numpy: Any = np, **options: Any) -> Array:
    """Write into an array in Fortran order that holds other values; ValueError if it is not what is returned."""
    dtype = numpy.dtype(options.get("dtype") or numpy.result_type(*operands))
    fill = np.nan if dtype.kind in "fc" else np.iinfo(dtype).max if dtype.kind in "iu" else True
    out = numpy.full(bind(equation, [x.shape for x in operands]).output_shape, fill, dtype, order="F")
    if einsum(equation, *operands, out=out, **options) is not out:
        raise ValueError("np.einsum did not return the array that it was given as out=")
    return out


def einsum_ordered(
    order: Literal["C", "F"],
    equation: str,
    *operands: Array,
    einsum: Function = np.einsum,
    numpy: Any = np,
    **options: Any,
) -> Array:
    """Ask for another memory order than that of the operands; ValueError if the result has a different one."""
    arranged = (numpy.asarray(x, order="C" if order == "F" else "F") for x in operands)
    result: Array = numpy.asarray(einsum(equation, *arranged, order=order, **options))
    if not (result.flags.c_contiguous if order == "C" else result.flags.f_contiguous):
        raise ValueError(f"np.einsum was asked for order={order!r} and returned strides {result.strides}")
    return result


def einsum_cast(equation: str, *operands: Array, einsum: Function = np.einsum, **options: Any) -> Array:
    """Pass casting="unsafe"; ValueError if that makes no difference."""
    try:
        einsum(equation, *operands, dtype=options["dtype"])
    except TypeError:
        return einsum(equation, *operands, **options | {"casting": "unsafe"})
    raise ValueError(f"np.einsum converted to {options['dtype']} although casting='safe' is the default")


def plain_einsums(numpy: Any) -> dict[str, Function]:
    """The implementations that leave the order of contraction to np.einsum, by name."""
    functions = {"einsum": numpy.einsum, "numpy": numpy}
    return {
        "einsum": numpy.einsum,
        "einsum-sublists": partial(einsum_sublists, numpy=numpy),
        "einsum-out": partial(einsum_out, **functions),
        "einsum-order-c": partial(einsum_ordered, "C", **functions),
        "einsum-order-f": partial(einsum_ordered, "F", **functions),
        "einsum-casting": partial(einsum_cast, einsum=numpy.einsum),
    }


def einsums(numpy: Any) -> dict[str, Function]:
    """All implementations of einsum, by name."""
    optimized = partial(numpy.einsum, optimize=True)
    return plain_einsums(numpy) | {
        "einsum-optimized": optimized,
        "einsum-optimized-out": partial(einsum_out, einsum=optimized, numpy=numpy),
        "einsum-optimal": partial(numpy.einsum, optimize="optimal"),
    }


def make_primitives(framework: Framework) -> Primitives:
    """The primitives of the module `numpy` of this framework."""
    numpy = framework["numpy"]
    return Primitives(
        einsum=numpy.einsum,
        permute_dims=numpy.transpose,
        reshape=numpy.reshape,
        broadcast_to=numpy.broadcast_to,
        concat=numpy.concatenate,
        repeat=numpy.repeat,
        where=numpy.where,
        any=lambda x, axis: numpy.any(x, axis=axis, keepdims=True),
        softmax=lambda x, axis: softmax(x, axis, numpy),
        tanh=numpy.tanh,
        arange=lambda length, like: numpy.arange(length),
        lowest=lambda like: np.finfo(like.dtype).min,  # a scalar of that dtype: NumPy 1 would widen for a float
        framework=framework,
    )


PLAIN = tuple(plain_einsums(np))
EINSUMS = einsums(np)


class Numpy(Backend):
    """NumPy on the CPU."""

    name = "numpy"
    distribution = "numpy"
    formulations = {"einsum": Einsum, "matmul": Matmul}
    implementations = {"einsum": tuple(EINSUMS), "attention": tuple(formulations)}
    on_request = frozenset(PLAIN) - {"einsum"} | {"einsum-optimized-out"}
    declarations = (
        *(
            Declaration(
                {"accumulate": "float16"},
                implementation=plain,
                dtype="float16",
                reason="np.einsum stores partial sums in the output's dtype; only contiguous inner loops hold float32",
            )
            for plain in PLAIN
        ),
        Declaration(
            {"softmax": "float16"},
            kind="attention",
            dtype="float16",
            reason="np.exp, np.sum and the quotient each round to the dtype of their argument",
        ),
    )
    dialect = NUMPY
    primitives = make_primitives(INSTALLED)

    def __init__(self, framework: Framework = INSTALLED) -> None:
        super().__init__(framework)
        if framework is not INSTALLED:  # the class attribute holds those of INSTALLED
            self.primitives = make_primitives(framework)

    @classmethod
    def distinct_einsums(cls, config: EinsumConfig, device: str) -> Mapping[str, bool]:
        return {
            "einsum-sublists": has_sublists(config.equation, config.operand_count),
            # A case without a result has no output shape either
            "einsum-out": config.expected_error is None,
            "einsum-optimized-out": config.expected_error is None,
            "einsum-casting": "casting" in dict(dtype_arguments(config)),
            "einsum-optimal": config.operand_count > 2,  # with two there is only one path
        }

    def devices(self) -> list[str]:
        return ["cpu"]

    def dtypes(self, device: str) -> frozenset[str]:
        # ml_dtypes gives arrays bfloat16, but np.einsum refuses to sum it, and with optimize=True it returns float32
        return frozenset(DTYPES) - {"bfloat16"}

    def unsupported(self, check: Check) -> str | None:
        config = check.case.config
        if isinstance(config, EinsumConfig) and check.implementation == "einsum-optimal":
            return search_limitation(config) or super().unsupported(check)
        return super().unsupported(check)

    def returns_view(self, check: Check) -> bool:
        """np.einsum returns a view where it only rearranges its one operand."""
        return isinstance(check.case.config, EinsumConfig) and check.case.config.operand_count == 1

    def settings(self) -> dict[str, Any]:
        build: Any = np.show_config(mode="dicts")
        blas = build["Build Dependencies"]["blas"]
        return {
            "blas": f"{blas['name']} {blas['version']}",
            "simd": build["SIMD Extensions"].get("found", []),
            "OPENBLAS_CORETYPE": os.environ.get("OPENBLAS_CORETYPE"),
            "OPENBLAS_NUM_THREADS": os.environ.get("OPENBLAS_NUM_THREADS"),
        }

    def from_numpy(self, array: Array, device: str) -> Array:
        return memory.copy(array)

    def to_numpy(self, tensor: Array) -> Array:
        return np.asarray(tensor)  # a full contraction is a scalar

    def on(self, device: str) -> AbstractContextManager[object]:
        return np.errstate(all="ignore")  # overflow and NaN show in the result; other frameworks do not warn either

    def einsum(self, config: EinsumConfig, implementation: str) -> Computation:
        return Contraction(einsums(self.framework["numpy"])[implementation], config.equation, dtype_arguments(config))


def dtype_arguments(config: EinsumConfig) -> tuple[tuple[str, Any], ...]:
    """The arguments that request a dtype, with a casting rule only where the default, "safe", would refuse."""
    if config.requested_dtype is None:
        return ()
    dtype = DTYPES[config.requested_dtype].numpy
    operands = (DTYPES[name].numpy for name in config.operand_dtypes or [config.requested_dtype])
    if all(np.can_cast(operand, dtype) for operand in operands):
        return (("dtype", dtype),)
    return (("dtype", dtype), ("casting", "same_kind"))


def softmax(x: Array, axis: int, numpy: Any = np) -> Array:
    """exp(x) / sum exp(x), shifted by the maximum of each row so that nothing overflows."""
    numerator = numpy.exp(x - x.max(axis=axis, keepdims=True, initial=-np.inf))  # initial: a row may be empty
    return numpy.asarray(numerator / numerator.sum(axis=axis, keepdims=True))
