"""Arrays as expressions of a program, bit for bit."""

from __future__ import annotations

import base64

import numpy as np

from backends.parts.dialect import NUMPY, Dialect
from specs.arithmetic.formats import Array, dtype_name

INLINE = 64  # the largest size of an array that is written as numbers; larger ones are written as bytes


def operand_line(name: str, array: Array, dialect: Dialect) -> str:
    """A line that makes the operand, bit for bit, with its strides where tensors have them."""
    has_strides = dialect.tensor == "{array}" and not array.flags.c_contiguous and array.size
    negative = any(stride < 0 for stride in array.strides)
    expression = array_expression if not has_strides or (negative and dialect.library == "torch") else _strided
    return f"{name} = {dialect.tensor.format(array=expression(array, dialect))}"


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
