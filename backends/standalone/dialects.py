"""How each framework's tensors are written in a program: a table, and by it the line that makes an operand."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from math import inf, nan

import numpy as np

from specs.arithmetic.formats import Array, dtype_name

INLINE = 64  # numbers of an operand that are written as such; more are bytes


@dataclass(frozen=True)
class Dialect:
    """How a framework's tensors are made and read in a program.

    imports   modules that are always imported
    tensor    makes a tensor of `{array}`, an expression for an array of `library`
    library   which of them has `array`, `frombuffer` and `zeros`: np or torch
    dtype     the name of the dtype of `result`
    narrow    the expression for bfloat16
    """

    imports: tuple[str, ...]
    tensor: str
    dtype: str
    narrow: str
    library: str = "np"


DIALECTS = {
    "numpy": Dialect(("numpy as np",), "{array}", "str(result.dtype)", ""),
    "jax": Dialect(
        ("jax", "jax.numpy as jnp", "numpy as np"), "jnp.asarray({array})", "str(result.dtype)", "jnp.bfloat16"
    ),
    "tensorflow": Dialect(
        ("numpy as np", "tensorflow as tf"),
        "tf.constant({array})",
        "result.dtype.name",
        "tf.bfloat16.as_numpy_dtype",
    ),
    "torch": Dialect(("torch",), "{array}", 'str(result.dtype).removeprefix("torch.")', "torch.bfloat16", "torch"),
}


def operand(name: str, array: Array, dialect: Dialect) -> str:
    """A line that makes the operand, the same to the last bit."""
    library = dialect.library
    named = dtype_name(array.dtype)
    dtype = dialect.narrow if named == "bfloat16" else f"{library}.{named}"
    if array.size == 0:
        made = f"{library}.zeros({array.shape}, dtype={dtype})"
    elif array.size <= INLINE and (values := _literal(array)):
        made = f"{library}.{'tensor' if library == 'torch' else 'array'}({values}, dtype={dtype})"
    else:
        text = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
        buffer = f'bytearray(base64.b64decode("{text}"))'
        made = f"{library}.frombuffer({buffer}, dtype={dtype}).reshape({array.shape})"
    return f"{name} = {dialect.tensor.format(array=made)}"


def _literal(array: Array) -> str | None:
    """Nested lists, of a narrow format of the shortest numbers that round to these; None if that loses a bit."""
    if array.dtype.kind == "c":  # a part that is infinite or -0.0 has no literal
        return None
    narrow = dtype_name(array.dtype) in ("float32", "float16", "bfloat16")
    values = np.array([float(str(each)) for each in array.ravel()]).reshape(array.shape) if narrow else array
    text = repr(values.tolist())
    again = np.array(eval(text, {"nan": nan, "inf": inf}), dtype=array.dtype)
    return text if again.tobytes() == np.ascontiguousarray(array).tobytes() else None
