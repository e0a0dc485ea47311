"""Results that are nearly right: some step is rounded to fewer digits than the dtype promises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from ml_dtypes import bfloat16

from backends.attention.by_hand import ByHand
from backends.numpy import Numpy
from backends.parts.primitives import Primitives, Tensor
from specs.arithmetic.formats import Array
from specs.case.attention import AttentionConfig
from tests.faulty.fault import fault
from tests.faulty.wrong import CustomEinsum, Einsum, LongestSum, Misread, cast, name_dtype

# Operands -------------------------------------------------------------------------------------------------------------


class NarrowFloat32(CustomEinsum):
    """A float32 interface, with products in a narrower format."""

    narrow: Callable[[Array], Array]

    def contract(self, einsum: Einsum, equation: str, *operands: Array) -> Array:
        return einsum(equation, *(type(self).narrow(x) if name_dtype(x) == "float32" else x for x in operands))


@fault(
    "bfloat16_behind_float32",
    values=[
        "einsum/long_sums::inner/65536[einsum-float32]",
        "einsum/long_sums::matrix_product/4096[einsum-optimized-float32]",
        "einsum/attention_parts::scores_bshd[einsum-float32]",
        "attention/lengths::longer_than_a_block[einsum-float32]",
    ],
    in_bfloat16=[
        "einsum/products::matrix_product[einsum-float32]",
        "einsum/products::larger[einsum-optimized-float32]",
        "attention/lengths::equal[einsum-float32]",
    ],
)
class Bfloat16BehindFloat32(NarrowFloat32):
    """Products in bfloat16 behind a float32 interface: TPUs by default, and fast-math settings of CPUs and GPUs."""

    narrow = staticmethod(lambda x: cast(cast(x, "bfloat16"), "float32"))


@fault(
    "tf32_behind_float32",
    values=[
        "einsum/products::larger[einsum-optimized-float32]",
        "einsum/long_sums::inner/65536[einsum-float32]",
    ],
    in_tf32=[
        "einsum/products::matrix_product[einsum-float32]",
        "einsum/long_sums::matrix_product/4096[einsum-float32]",
        "attention/lengths::equal[einsum-float32]",
    ],
)
class Tf32BehindFloat32(NarrowFloat32):
    """Operands cut to TF32's ten bits, as tensor cores do with float32 once that is allowed."""

    narrow = staticmethod(lambda x: (x.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32))


@fault(
    "float64_through_float32",
    in_float32=[
        "einsum/products::matrix_product[einsum-float64]",
        "attention/lengths::equal[einsum-float64]",
    ],
    values=[
        "einsum/products::larger[einsum-optimized-float64]",
        "einsum/long_sums::inner/65536[einsum-float64]",
    ],
)
class Float64ThroughFloat32(CustomEinsum):
    """float64 computed in float32 and cast back: JAX without x64, or an unintended cast."""

    def contract(self, einsum: Einsum, equation: str, *operands: Array) -> Array:
        if any(name_dtype(x) != "float64" for x in operands):
            return einsum(equation, *operands)
        return cast(einsum(equation, *(cast(x, "float32") for x in operands)), "float64")


@fault(
    "three_bfloat16_products_behind_float32",
    together=[
        "einsum/long_sums::transposed_matrix_product[einsum-float32]",
        "einsum/values::uniform[einsum-optimized-float32]",
    ],
)
class ThreeBfloat16ProductsBehindFloat32(CustomEinsum):
    """Each operand split in two of bfloat16, and three of the four products added: JAX's precision "high" on TPUs."""

    def contract(self, einsum: Einsum, equation: str, *operands: Array) -> Array:
        if len(operands) != 2 or any(x.dtype != np.float32 for x in operands):
            return einsum(equation, *operands)
        (a, b), (rest_a, rest_b) = zip(*map(self.split, operands), strict=True)
        return np.asarray(einsum(equation, a, b) + (einsum(equation, a, rest_b) + einsum(equation, rest_a, b)))

    @staticmethod
    def split(x: Array) -> tuple[Array, Array]:
        high = x.astype(bfloat16).astype(np.float32)
        return high, (x - high).astype(bfloat16).astype(np.float32)


# Sums -----------------------------------------------------------------------------------------------------------------


class Float16Sums(CustomEinsum):
    """The sum of each block is right, but these sums are added in float16."""

    outside: type[np.floating]
    block: int

    def contract(self, einsum: Einsum, equation: str, *operands: Array) -> Array:
        longest_sum = LongestSum(equation, operands)
        if longest_sum.length <= self.block or operands[0].dtype != self.outside:
            return einsum(equation, *operands)
        total: Any = np.float16(0)
        for part in longest_sum.blocks(self.block):
            total = (total + einsum(equation, *part)).astype(np.float16)
        return total.astype(self.outside)


@fault(
    "float16_sums_behind_float32",
    values=[
        "einsum/long_sums::inner/1024[einsum-float32]",
        "einsum/long_sums::inner/65536[einsum-float32]",
        "einsum/long_sums::matrix_product/512[einsum-optimized-float32]",
        "einsum/products::larger[einsum-float32]",
    ],
)
class Float16SumsBehindFloat32(Float16Sums):
    """Partial sums of a long contraction are exchanged in float16: split-K kernels with a small workspace."""

    outside, block = np.float32, 64


@fault(
    "float16_sums_behind_float16",
    values=[
        "einsum/long_sums::inner/1024[einsum-optimized-float16]",
        "einsum/long_sums::matrix_product/512[einsum-optimized-float16]",
        "einsum/products::larger[einsum-optimized-float16]",
        "einsum/attention_parts::scores_bshd[einsum-optimized-float16]",
    ],
)
class Float16SumsBehindFloat16(Float16Sums):
    """float16 products summed in float16 where sums in float32 are promised: reduced-precision reduction in cuBLAS."""

    outside, block = np.float16, 4


@fault(
    "integers_through_float32",
    exact=[
        "einsum/products::integers_beyond_float32[einsum-int32]",
        "einsum/products::integers_beyond_float32[einsum-optimized-int64]",
    ],
)
class IntegersThroughFloat32(CustomEinsum):
    """Integers multiplied as float32, because the fast matrix product has no integers: odd results from 2**24 on."""

    through = "float32"

    def contract(self, einsum: Einsum, equation: str, *operands: Array) -> Array:
        dtype = name_dtype(operands[0])
        if "int" not in dtype:
            return einsum(equation, *operands)
        return cast(einsum(equation, *(cast(x, self.through) for x in operands)), dtype)


@fault(
    "integers_through_float64",
    exact=[
        "einsum/products::integers_beyond_float64[einsum-int64]",
        "einsum/products::integers_beyond_float64[einsum-optimized-int64]",
    ],
)
class IntegersThroughFloat64(IntegersThroughFloat32):
    """The same with float64, which hides it until results pass 2**53."""

    through = "float64"


@fault(
    "subnormals_flushed",
    values=[
        "einsum/products::subnormal[einsum-float32]",
        "einsum/products::subnormal[einsum-optimized-float32]",
    ],
)
class SubnormalsFlushed(CustomEinsum):
    """Subnormal results are zero although nothing declares it: flush-to-zero left on by a library built for speed."""

    def contract(self, einsum: Einsum, equation: str, *operands: Array) -> Array:
        result = np.asarray(einsum(equation, *operands))
        if result.dtype.kind != "f":
            return result
        return np.where(np.abs(result) < np.finfo(result.dtype).tiny, result.dtype.type(0), result)


# Attention ------------------------------------------------------------------------------------------------------------


@fault(
    "weights_in_bfloat16",
    values=[
        "attention/lengths::equal[einsum-float32]",
        "attention/lengths::equal[matmul-float32]",
        "attention/lengths::longer_than_a_block[einsum-float32]",
        "seeds/seed_003::values_only[einsum-float32]",
    ],
)
class WeightsInBfloat16(ByHand):
    """Weights are rounded to bfloat16 before they multiply the values: fused kernels written for 16 bits."""

    def __init__(self, primitives: Primitives, config: AttentionConfig) -> None:
        def softmax(x: Tensor, axis: int) -> Tensor:
            return cast(cast(primitives.softmax(x, axis), "bfloat16"), name_dtype(x))

        super().__init__(replace(primitives, softmax=softmax), config)


@fault(
    "approximate_exponential",
    values=[
        "attention/lengths::equal[einsum-float32]",
        "attention/lengths::equal[matmul-float32]",
        "attention/lengths::longer_than_a_block[einsum-float32]",
    ],
)
class ApproximateExponential(Numpy):
    """exp(x) as exp2(1.4427 x), as in fast kernels, but with five digits of a constant that has eight in float32."""

    @staticmethod
    def softmax(x: Array, axis: int) -> Array:
        shifted = x - x.max(axis=axis, keepdims=True, initial=-np.inf)
        numerator = np.exp2(shifted * x.dtype.type(1.4427))
        return numerator / numerator.sum(axis=axis, keepdims=True)

    primitives = replace(Numpy.primitives, softmax=softmax)


@fault(
    "scale_in_bfloat16",
    values=[
        "attention/scale::not_a_power_of_two[einsum-float32]",
        "attention/lengths::odd_head_dim[einsum-float32]",
        "attention/lengths::odd_head_dim[matmul-float32]",
        "attention/lengths::longer_than_a_block[matmul-float32]",
    ],
)
class ScaleInBfloat16(Misread):
    """The scale is a constant of bfloat16, which 1 / 4 and 1 / 8 hide."""

    @staticmethod
    def misread(config: AttentionConfig) -> dict[str, Any]:
        return {"scale": float(bfloat16(config.score_scale))} if config.scale_at == "scores" else {}


@fault(
    "scale_off_in_the_sixth_digit",
    together=[
        "attention/scale::default[einsum-float32]",
        "attention/scale::not_a_power_of_two[matmul-float32]",
        "attention/relative::grouped[einsum-float32]",
        "attention/sinks::grouped/1[matmul-float32]",
    ],
)
class ScaleOffInTheSixthDigit(Misread):
    """A reciprocal square root of hardware without its last step of refinement: one part in a million too much."""

    @staticmethod
    def misread(config: AttentionConfig) -> dict[str, Any]:
        return {"scale": config.score_scale * (1 + 1e-6)} if config.scale_at == "scores" else {}
