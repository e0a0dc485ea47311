"""Results of the right dtype that were computed in another one, and arguments of einsum that are ignored."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from backends.base import Computation
from backends.numpy import EINSUMS, Numpy, dtype_arguments
from backends.parts.contraction import Contraction
from specs.arithmetic.formats import Array
from specs.case.einsum import EinsumConfig
from tests.faulty.fault import fault
from tests.faulty.wrong import CustomEinsum, Einsum, cast, name_dtype


@fault(
    "promoted_in_the_narrower",
    values=[
        "einsum/mixed_dtypes::float32_and_float64[einsum-float64]",
        "einsum/mixed_dtypes::float64_and_float32[einsum-optimized-float64]",
        "einsum/mixed_dtypes::long_float16_and_float32[einsum-optimized-float32]",
        "einsum/mixed_dtypes::elementwise[einsum-float64]",
        "einsum/mixed_dtypes::with_a_scalar[einsum-float64]",
        "einsum/mixed_dtypes::narrow_pair_of_doubles[einsum-float64]",
    ],
)
class PromotedInTheNarrower(CustomEinsum):
    """Operands of two floating dtypes are converted to the narrower one, and the result to the wider."""

    def contract(self, einsum: Einsum, equation: str, *operands: Array) -> Array:
        dtypes = {name_dtype(x) for x in operands}
        if len(dtypes) == 1 or not dtypes <= {"float16", "float32", "float64"}:
            return einsum(equation, *operands)
        narrowest, *_, widest = sorted(dtypes)
        return cast(einsum(equation, *(cast(x, narrowest) for x in operands)), widest)


@fault(
    "asked_for_at_the_end",
    exact=[
        "einsum/asked_for_dtype::int8_as_int32_beyond_int8[einsum-int32]",
        "einsum/asked_for_dtype::product_of_int8_as_int32[einsum-int32]",
        "einsum/asked_for_dtype::sum_of_int8_as_int32[einsum-optimized-int32]",
        "einsum/asked_for_dtype::uint8_as_int32_beyond_uint8[einsum-optimized-int32]",
        "einsum/asked_for_dtype::trues_counted_as_int32[einsum-int32]",
    ],
    values=[
        "einsum/asked_for_dtype::float32_as_float64[einsum-float64]",
        "einsum/asked_for_dtype::elementwise_of_float32_as_float64[einsum-optimized-float64]",
    ],
)
class AskedForAtTheEnd(CustomEinsum):
    """Computed in the operands' own dtype, and only the result is converted, so that int8 wraps around at 128."""

    def contract(self, einsum: Einsum, equation: str, *operands: Array) -> Array:
        options = dict(getattr(einsum, "keywords", {}))
        asked_for = options.pop("dtype", None) or options.pop("preferred_element_type", None)  # NumPy's, JAX's name
        if asked_for is None:
            return einsum(equation, *operands)
        options.pop("casting", None)
        return cast(einsum.func(equation, *operands, **options), np.dtype(asked_for).name)  # type: ignore[attr-defined]


class CustomEinsumCall(Numpy):
    """NumPy with `call_einsum` in place of np.einsum where keyword arguments of einsum are checked."""

    def einsum(self, config: EinsumConfig, implementation: str) -> Computation:
        return Contraction(
            partial(EINSUMS[implementation], einsum=self.call_einsum), config.equation, dtype_arguments(config)
        )

    def call_einsum(self, equation: str, *operands: Array, **options: Any) -> Array:
        raise NotImplementedError


@fault(
    "out_written_to_a_copy",
    nan=[
        "einsum/output_array::product[einsum-out-float32]",
        "einsum/output_array::scores[einsum-out-float32]",
        "einsum/output_array::empty[einsum-out-float32]",
        "einsum/output_array::promoted[einsum-out-float64]",
    ],
    exact=[
        "einsum/output_array::product[einsum-out-int8]",
        "einsum/output_array::asked_for[einsum-out-int32]",
    ],
)
class OutWrittenToACopy(CustomEinsumCall):
    """The result goes to `out.ravel()`, which is a copy unless the array lies in memory row by row."""

    def call_einsum(self, equation: str, *operands: Array, out: Array, **options: Any) -> Array:
        out.ravel()[...] = np.ravel(np.einsum(equation, *operands, **options))
        return out


@fault(
    "out_not_used",
    raised=[
        "einsum/output_array::product[einsum-out-float32]",
        "einsum/output_array::inner[einsum-out-float32]",
    ],
)
class OutNotUsed(CustomEinsumCall):
    """A new array is returned, and `out` is left unchanged."""

    def call_einsum(self, equation: str, *operands: Array, out: Array, **options: Any) -> Array:
        return np.asarray(np.einsum(equation, *operands, **options))


@fault(
    "order_ignored",
    raised=[
        "einsum/memory_order::product[einsum-order-f-float32]",
        "einsum/memory_order::outer[einsum-order-f-float32]",
        "einsum/memory_order::elementwise[einsum-order-c-float32]",
        "einsum/memory_order::chain[einsum-order-f-float32]",
    ],
)
class OrderIgnored(CustomEinsumCall):
    """The result has the memory order of the operands whatever `order` is, as the optimized path of NumPy once did."""

    def call_einsum(self, equation: str, *operands: Array, order: str, **options: Any) -> Array:
        return np.einsum(equation, *operands, **options)


@fault(
    "unsafe_by_default",
    raised=[
        "einsum/casting::float64_to_float32[einsum-casting-float32]",
        "einsum/casting::int64_to_int8[einsum-casting-int8]",
        "einsum/casting::sum_of_float64_to_float32[einsum-casting-float32]",
    ],
)
class UnsafeByDefault(CustomEinsumCall):
    """Operands are silently converted to the requested dtype, whatever is lost: np.einsum(optimize=True) does so."""

    def call_einsum(self, equation: str, *operands: Array, **options: Any) -> Array:
        return np.einsum(equation, *operands, **options | {"casting": "unsafe"})
