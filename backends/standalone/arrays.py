"""Arrays as expressions of a program, bit for bit."""

from __future__ import annotations

import base64

import numpy as np

from backends.parts.dialect import NUMPY, Dialect
from specs.arithmetic.formats import Array, dtype_name
from specs.case.common import Memory

INLINE = 64  # the largest size of an array that is written as numbers; larger ones are written as bytes


# Functions of a program that has an operand with this memory layout, by the library of its arrays
UNALIGNED = {
    "np": """\
def unaligned(array):
    \"\"\"The array, one element beyond a multiple of 64 bytes.\"\"\"
    room = np.zeros(array.size + 1 + 64 // array.itemsize, array.dtype)
    start = -room.ctypes.data % 64 // array.itemsize + 1
    copy = room[start : start + array.size].reshape(array.shape)
    copy[...] = array
    return copy""",
    "torch": """\
def unaligned(tensor):
    \"\"\"The tensor, one element beyond a multiple of 64 bytes.\"\"\"
    room = torch.zeros(tensor.numel() + 1 + 64 // tensor.element_size(), dtype=tensor.dtype)
    start = -room.data_ptr() % 64 // tensor.element_size() + 1
    return room[start : start + tensor.numel()].reshape(tensor.shape).copy_(tensor)""",
}


def operand_line(name: str, array: Array, dialect: Dialect, memory: Memory = "contiguous") -> str:
    """A line that makes the operand, bit for bit, with its memory layout where tensors have one."""
    has_layout = dialect.tensor == "{array}" and array.size and array.ndim
    is_strided = has_layout and not array.flags.c_contiguous
    negative = any(stride < 0 for stride in array.strides)
    expression = array_expression if not is_strided or (negative and dialect.library == "torch") else _strided
    text = expression(array, dialect)
    if has_layout and memory == "unaligned":
        text = f"unaligned({text})"
    return f"{name} = {dialect.tensor.format(array=text)}"


def _strided(array: Array, dialect: Dialect) -> str:
    """An expression for a view with the array's strides of elements that lie side by side."""
    steps = [stride // array.itemsize for stride in array.strides]
    spans = [(size - 1) * step for size, step in zip(array.shape, steps, strict=True)]
    start = -sum(span for span in spans if span < 0)
    flat = np.zeros(start + sum(span for span in spans if span > 0) + 1, array.dtype)
    np.lib.stride_tricks.as_strided(flat[start:], array.shape, array.strides)[...] = array
    text = array_expression(flat, dialect)
    if dialect.library == "torch":
        return f"torch.as_strided({text}, {array.shape}, {tuple(steps)}, {start})"
    return f"np.lib.stride_tricks.as_strided({text}[{start}:], {array.shape}, {array.strides})"


def array_expression(array: Array, dialect: Dialect = NUMPY) -> str:
    """An expression for the array in the dialect's library, bit for bit."""
    library, name = dialect.library, dtype_name(array.dtype)
    dtype = dialect.bfloat16 if name == "bfloat16" else f"{library}.{name}"
    if array.size == 0:
        return f"{library}.zeros({array.shape}, dtype={dtype})"
    if array.size <= INLINE and (values := _literal(array)):
        return f"{library}.{'tensor' if library == 'torch' else 'array'}({values}, dtype={dtype})"
    text = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    buffer = f'bytearray(base64.b64decode("{text}"))'
    return f"{library}.frombuffer({buffer}, dtype={dtype}).reshape({array.shape})"


def _literal(array: Array) -> str | None:
    """Nested lists, for narrow formats of the shortest numbers that round to these; None if a bit would be lost."""
    if array.dtype.kind == "c":  # a part that is infinite or -0.0 has no literal
        return None
    narrow = dtype_name(array.dtype) in ("float32", "float16", "bfloat16")
    values = np.array([float(str(number)) for number in array.ravel()]).reshape(array.shape) if narrow else array
    numbers = values.tolist()  # Python's own numbers, whose repr reads back unchanged
    restored = np.array(numbers, dtype=array.dtype)
    return repr(numbers) if restored.tobytes() == np.ascontiguousarray(array).tobytes() else None
