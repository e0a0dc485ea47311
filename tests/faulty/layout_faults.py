"""Operands read as if they lay in memory in another way than they do."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping

import numpy as np

from backends.numpy import Numpy
from specs.arithmetic.formats import Array
from specs.verdict.check import Check
from tests.faulty.backward import Backward
from tests.faulty.fault import fault

PRODUCT = "einsum/memory::product"


class ReadsWrongly(Numpy):
    """Each operand is replaced by what `reinterpret` finds in its memory."""

    def from_numpy(self, array: Array, device: str) -> Array:
        return self.reinterpret(array) if array.size > 1 else array

    def reinterpret(self, array: Array) -> Array:
        raise NotImplementedError


@fault(
    "steps_between_elements_ignored",
    values=[
        "attention/memory::layouts/strided-bshd[einsum-float32]",
        "attention/memory::additive_mask[matmul-float32]",
        f"{PRODUCT}/strided[einsum-float32]",
    ],
)
class StepsIgnored(ReadsWrongly):
    """Rows are read as whole vectors, though their elements do not follow each other."""

    def reinterpret(self, array: Array) -> Array:
        if min(array.strides) <= array.itemsize:
            return array
        memory = (ctypes.c_char * array.nbytes).from_address(array.ctypes.data)
        return np.frombuffer(memory, array.dtype).reshape(array.shape).copy()


@fault(
    "order_of_axes_ignored",
    values=[
        "attention/memory::layouts/transposed-bhsd[einsum-float32]",
        "attention/memory::longer_than_a_block[matmul-float32]",
        f"{PRODUCT}/transposed[einsum-float32]",
    ],
)
class OrderOfAxesIgnored(ReadsWrongly):
    """A transposed matrix is read row by row."""

    def reinterpret(self, array: Array) -> Array:
        return array.ravel(order="K").reshape(array.shape) if min(array.strides) > 0 else array


@fault(
    "negative_strides_as_positive",
    values=[
        "attention/memory::reversed/reversed-bhsd[matmul-float32]",
        "attention/memory::reversed/reversed-bshd[einsum-float32]",
        f"{PRODUCT}/reversed[einsum-float32]",
    ],
)
class NegativeStridesAsPositive(ReadsWrongly):
    """Strides are unsigned, and memory is read from its lowest address on."""

    def reinterpret(self, array: Array) -> Array:
        return array[tuple(slice(None, None, -1 if stride < 0 else 1) for stride in array.strides)]


@fault(
    "broadcast_axis_written_once",
    values=[
        "attention/memory::reversed/broadcast-bhsd[einsum-float32]",
        "attention/memory::reversed/broadcast-bshd[matmul-float32]",
        f"{PRODUCT}/broadcast[einsum-float32]",
    ],
)
class BroadcastAxisWrittenOnce(ReadsWrongly):
    """Of an axis with a stride of 0 only the first element is copied, and the rest of the copy is 0."""

    def reinterpret(self, array: Array) -> Array:
        copy = np.zeros(array.shape, array.dtype)
        first = tuple(slice(1) if stride == 0 else slice(None) for stride in array.strides)
        copy[first] = array[first]
        return copy


@fault(
    "read_from_aligned_address",
    values=[
        "attention/memory::reversed/unaligned-bhsd[einsum-float32]",
        "attention/memory::reversed/unaligned-bshd[matmul-float32]",
        f"{PRODUCT}/unaligned[einsum-float32]",
    ],
)
class ReadFromAlignedAddress(ReadsWrongly):
    """A vector is loaded from the multiple of its size below its address."""

    def reinterpret(self, array: Array) -> Array:
        if array.ctypes.data % 16 == 0:
            return array
        memory = (ctypes.c_char * array.nbytes).from_address(array.ctypes.data // 16 * 16)
        return np.frombuffer(memory, array.dtype).reshape(array.shape).copy()


@fault("one_tensor_scaled_for_all", values=["attention/memory::one_tensor[einsum-float32]"])
class OneTensorScaledForAll(Numpy):
    """The query is scaled in a buffer that is found by its address, and so are keys that are the same tensor."""

    def outputs(self, check: Check, operands: Mapping[str, Array]) -> Mapping[str, Array]:
        first = next(iter(operands.values()))
        shared = {name: x * x.dtype.type(0.5) for name, x in operands.items() if x is first}
        return super().outputs(check, {**operands, **shared} if len(shared) > 1 else operands)


@fault("one_tensor_transposed_for_all", values=["einsum/memory::one_tensor[einsum-float32]"])
class OneTensorTransposedForAll(Numpy):
    """A transposed copy is found by the address of its operand, also by another operand that is the same tensor."""

    def outputs(self, check: Check, operands: Mapping[str, Array]) -> Mapping[str, Array]:
        first, *others = operands.values()
        same = any(first is other for other in others) and first.ndim == 2
        return super().outputs(check, {name: x.T for name, x in operands.items()} if same else operands)


# Cotangents -----------------------------------------------------------------------------------------------------------


class ReceivesWrongly(Backward):
    """The cotangent is replaced by what `reinterpret` finds in its memory."""

    def receive(self, cotangent: Array) -> Array:
        return self.reinterpret(cotangent)

    def reinterpret(self, array: Array) -> Array:
        raise NotImplementedError


@fault("strides_of_cotangent_ignored", values=["attention/memory::cotangent/transposed[einsum-float32-grad]"])
class StridesOfCotangentIgnored(ReceivesWrongly):
    """A cotangent is read in memory order, as if it were contiguous."""

    def reinterpret(self, array: Array) -> Array:
        return array.ravel(order="K").reshape(array.shape)


@fault("cotangent_read_forwards", values=["attention/memory::cotangent/reversed[einsum-float32-grad]"])
class CotangentReadForwards(ReceivesWrongly):
    """The strides of a cotangent are unsigned."""

    reinterpret = NegativeStridesAsPositive.reinterpret


@fault("broadcast_cotangent_written_once", values=["attention/memory::cotangent/broadcast[einsum-float32-grad]"])
class BroadcastCotangentWrittenOnce(ReceivesWrongly):
    """Of a cotangent with a stride of 0, as that of a mean, only the first element is copied."""

    reinterpret = BroadcastAxisWrittenOnce.reinterpret
