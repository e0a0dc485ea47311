"""Calls that do more than return a result, and results that their operands alone do not determine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from backends.numpy import Numpy
from specs.arithmetic.formats import Array
from specs.verdict.check import Check
from tests.faulty.fault import fault
from tests.faulty.wrong import CustomEinsum, Einsum, LongestSum

# The same as in NumPy, in the cases that are named: the result is right, or within its bound
PRODUCTS = ["einsum/products::larger[einsum-float32]", "einsum/products::larger[einsum-optimized-float64]"]
ATTENTION = ["attention/lengths::equal[einsum-float32]", "attention/masks::boolean[einsum-float64]"]

STRIDED = ["attention/memory::layouts/strided-bshd[einsum-float32]"]


@fault("operands_doubled", changed=[*PRODUCTS, *STRIDED])
class OperandsDoubled(Numpy):
    """The arrays of the suite are doubled in place, and the result is that of the doubled ones."""

    def outputs(self, check: Check, operands: Mapping[str, Array]) -> dict[str, Array]:
        for operand in operands.values():
            operand *= 2
        return super().outputs(check, operands)


@fault("query_scaled_in_place", changed=ATTENTION)
class QueryScaledInPlace(CustomEinsum):
    """A kernel scales its first tensor in place instead of a copy."""

    def contract(self, einsum: Einsum, equation: str, *operands: Array) -> Array:
        result = einsum(equation, *operands)
        operands[0][...] *= 0.5
        return result


@fault("gap_overwritten", changed=STRIDED)
class GapOverwritten(Numpy):
    """A kernel writes whole vectors over elements that lie apart, and so into the memory between them."""

    def outputs(self, check: Check, operands: Mapping[str, Array]) -> dict[str, Array]:
        results = super().outputs(check, operands)
        first = next(iter(operands.values()))
        gap = first.ctypes.data - first.base.ctypes.data + first.itemsize  # behind its first element
        first.base[gap] = 1
        return results


@fault("one_buffer_for_all_results", buffer=[*PRODUCTS, *ATTENTION])
class OneBufferForAllResults(Numpy):
    """Each shape has one buffer, in which every result is returned: the next call replaces what a caller holds."""

    def __init__(self) -> None:
        super().__init__()
        self.buffers: dict[Any, Array] = {}

    def outputs(self, check: Check, operands: Mapping[str, Array]) -> dict[str, Array]:
        return {label: self.keep(array) for label, array in super().outputs(check, operands).items()}

    def keep(self, array: Array) -> Array:
        buffer = self.buffers.setdefault((array.shape, array.dtype), np.empty_like(array))
        buffer[...] = array
        return buffer


@fault("order_by_number_of_call", bits=["einsum/products::matrix_product[einsum-float32]"])
class OrderByNumberOfCall(CustomEinsum):
    """Every second call sums backwards, as a scheduler of threads may."""

    calls = 0

    def contract(self, einsum: Einsum, equation: str, *operands: Array) -> Array:
        self.calls += 1
        backwards = LongestSum(equation, operands).part(None, None, -1 if self.calls % 2 else 1)
        return einsum(equation, *backwards)


@fault("remainder_of_earlier_call", bits=[*PRODUCTS, *ATTENTION])
class RemainderOfEarlierCall(CustomEinsum):
    """An accumulator is not quite cleared: a trace of the last result is added to the next one of its shape."""

    def __init__(self) -> None:
        super().__init__()
        self.last: dict[Any, Array] = {}

    def contract(self, einsum: Einsum, equation: str, *operands: Array) -> Array:
        result = einsum(equation, *operands)
        rest = self.last.get(result.shape, np.zeros((), result.dtype))
        self.last[result.shape] = result
        return result + np.finfo(result.dtype).eps * rest


@fault("kept_by_first_elements", kept=[*PRODUCTS, *ATTENTION])
class KeptByFirstElements(Numpy):
    """Results are kept for later calls, by a key in which each operand is only its shape and its first element."""

    def __init__(self) -> None:
        super().__init__()
        self.results: dict[Any, dict[str, Array]] = {}

    def outputs(self, check: Check, operands: Mapping[str, Array]) -> dict[str, Array]:
        key = (check, *((array.shape, array.flat[0].tobytes()) for array in operands.values()))
        if key not in self.results:
            self.results[key] = super().outputs(check, operands)
        return {label: array.copy() for label, array in self.results[key].items()}
