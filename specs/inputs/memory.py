"""The memory layout of operands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from specs.arithmetic.formats import Array
from specs.case.case import Config
from specs.case.common import Memory
from specs.case.operands import FIXED

LINE = 64  # bytes to which frameworks align, at most
MOST_BLOCKS, MOST_BYTES = 8, 2**20  # to spoil; NumPy keeps up to 7 small blocks of each size for itself


def lay_out_all(config: Config, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The operands with the memory layout of the case; those that share a tensor are one array.

    `broadcast` and `shared` replace values; operands whose values follow from the config keep them.
    """
    laid_out: dict[str, Array] = {}
    for name, array in arrays.items():
        memory = config.memory_of(name)
        if name in FIXED and memory in ("broadcast", "shared"):
            memory = "contiguous"
        laid_out[name] = lay_out(array, memory)
        if memory == "shared":
            first = (other for other in laid_out.values() if (other.shape, other.dtype) == (array.shape, array.dtype))
            laid_out[name] = next(first)
    return laid_out


def lay_out(array: Array, memory: Memory) -> Array:
    """The same values, except for `broadcast`, with the strides that `Common.memory` describes."""
    if array.ndim == 0:
        return array
    if memory == "transposed":
        return np.asfortranarray(array)
    if memory == "strided":
        spread = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
        spread[..., ::2] = array
        return spread[..., ::2]
    if memory == "reversed":
        return np.flip(np.ascontiguousarray(np.flip(array)))
    if memory == "broadcast":
        axis = next((axis for axis, size in enumerate(array.shape) if size > 1), 0)
        return np.broadcast_to(np.ascontiguousarray(array.take([0], axis)), array.shape) if array.size else array
    if memory == "unaligned":
        return unaligned(array)
    return np.ascontiguousarray(array)  # an array built in another layout is not


def copy_all(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """A `copy` of each array; where several names have one array, they have one copy."""
    copies = {id(array): copy(array) for array in arrays.values()}
    return {name: copies[id(array)] for name, array in arrays.items()}


def copy(array: Array) -> Array:
    """A writable copy with the array's strides and alignment (modulo 64 bytes).

    Its `base` is all memory that belongs to it, as bytes: gaps between elements, and some room on either side.
    """
    if array.flags.c_contiguous and array.size:
        # NumPy allows any stride for an axis of one element, but a framework may look at it
        below, span, strides = 0, array.nbytes, None
    else:
        steps = [(size - 1) * stride for size, stride in zip(array.shape, array.strides, strict=True) if array.size]
        below, strides = -sum(step for step in steps if step < 0), array.strides
        span = below + sum(step for step in steps if step > 0) + array.itemsize
    buffer = np.zeros(span + LINE, np.uint8)
    offset = (_address(array) - below - _address(buffer)) % LINE + below
    own: Array = np.ndarray(array.shape, array.dtype, buffer, offset, strides)
    own[...] = array
    return own


def unaligned(array: Array) -> Array:
    """The same values, one element beyond a multiple of 64 bytes: never aligned for vector instructions."""
    buffer = np.zeros(array.nbytes + array.itemsize + LINE, np.uint8)
    offset = -_address(buffer) % LINE + array.itemsize
    own: Array = np.ndarray(array.shape, array.dtype, buffer, offset)
    own[...] = array
    return own


def exchange(arrays: Iterable[Array]) -> None:
    """Let elements of each array change places; the first and the last of more than three stay where they are.

    Each array is rolled by another distance, so that pairs of elements do not stay together.  What has one element in
    several places is left alone.
    """
    distinct = {id(array): array for array in arrays if not any(_repeats(array))}
    for distance, array in enumerate(distinct.values()):
        values = array.flatten()
        inner = values[1:-1] if values.size > 3 else values
        if inner.size > 1:
            inner[...] = np.roll(inner, 1 + distance % (inner.size - 1))
            array[...] = values.reshape(array.shape)


def _repeats(array: Array) -> Iterator[bool]:
    return (stride == 0 and size > 1 for stride, size in zip(array.strides, array.shape, strict=True))


def spoil_free_memory(size: int, pattern: int) -> None:
    """Fill memory that is free, so that whoever asks for `size` bytes next, and writes nothing, finds `pattern`.

    Allocators hand out what was freed last.  Those of frameworks add room for alignment, so two sizes are filled.
    """
    count = max(2, min(MOST_BLOCKS, MOST_BYTES // max(size, 1)))
    blocks = [np.empty(bytes_, np.uint8) for bytes_ in (size, size + 2 * LINE) for _ in range(count)]
    for block in blocks:
        block.fill(pattern)


def _address(array: Array) -> int:
    address: int = array.__array_interface__["data"][0]
    return address
