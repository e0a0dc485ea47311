"""The memory layout of operands."""

from __future__ import annotations

import numpy as np

from specs.arithmetic.formats import Array
from specs.case.common import Memory


def lay_out(array: Array, memory: Memory) -> Array:
    """The same values, with the strides that `Common.memory` describes."""
    if array.ndim == 0:
        return array
    if memory == "contiguous":  # an array built in another layout is not
        return np.ascontiguousarray(array)
    if memory == "transposed":
        return np.asfortranarray(array)
    spread = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
    spread[..., ::2] = array
    return spread[..., ::2]


def unaligned(array: Array) -> Array:
    """The same values, one element beyond a multiple of 64 bytes: never aligned for vector instructions."""
    buffer = np.zeros(array.nbytes + array.itemsize + 64, np.uint8)
    offset = -buffer.ctypes.data % 64 + array.itemsize
    own: Array = np.ndarray(array.shape, array.dtype, buffer, offset)
    own[...] = array
    return own
