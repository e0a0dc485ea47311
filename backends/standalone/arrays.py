"""Arrays as expressions of a program, bit for bit."""

from __future__ import annotations

import base64

import numpy as np

from backends.parts.dialect import NUMPY, Dialect
from specs.arithmetic.formats import Array, dtype_name

INLINE = 64  # the largest size of an array that is written as numbers; larger ones are written as bytes


def operand_line(name: str, array: Array, dialect: Dialect) -> str:
    """A line that makes the operand, bit for bit."""
    return f"{name} = {dialect.tensor.format(array=array_expression(array, dialect))}"


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
