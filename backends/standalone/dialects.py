"""How each framework's tensors are written in a program: a table, and by it the line that makes an operand."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import numpy as np

from specs.arithmetic.formats import Array, dtype_name

INLINE = 64  # numbers of an array that are written as such; more are bytes


@dataclass(frozen=True)
class Dialect:
    """How a framework's tensors are made and read in a program.

    imports   modules of which a program imports those that it uses
    tensor    makes a tensor of `{array}`, an expression for an array of `library`
    dtype     the name of the dtype of `result`
    array     `result` as an array of NumPy
    narrow    the expression for bfloat16
    library   which of the modules has `array`, `frombuffer` and `zeros`: np or torch
    widened   a `result` of bfloat16 in a dtype that NumPy has, where `array` needs one; empty: it does not
    """

    imports: tuple[str, ...]
    tensor: str
    dtype: str
    array: str
    narrow: str
    library: str = "np"
    widened: str = ""


NUMPY = Dialect(("numpy as np",), "{array}", "str(result.dtype)", "np.asarray(result)", "")
DIALECTS = {
    "numpy": NUMPY,
    "jax": Dialect(
        ("jax", "jax.numpy as jnp", "numpy as np"),
        "jnp.asarray({array})",
        "str(result.dtype)",
        "np.asarray(result)",
        "jnp.bfloat16",
    ),
    "tensorflow": Dialect(
        ("numpy as np", "tensorflow as tf"),
        "tf.constant({array})",
        "result.dtype.name",
        "result.numpy()",
        "tf.bfloat16.as_numpy_dtype",
    ),
    "torch": Dialect(
        ("numpy as np", "torch"),
        "{array}",
        'str(result.dtype).removeprefix("torch.")',
        "result.detach().cpu().resolve_conj().resolve_neg().numpy()",
        "torch.bfloat16",
        "torch",
        "result.double()",
    ),
}


def operand(name: str, array: Array, dialect: Dialect) -> str:
    """A line that makes the operand, the same to the last bit."""
    return f"{name} = {dialect.tensor.format(array=written(array, dialect))}"


def written(array: Array, dialect: Dialect = NUMPY) -> str:
    """An expression for an array of the dialect's library, the same to the last bit."""
    library = dialect.library
    named = dtype_name(array.dtype)
    dtype = dialect.narrow if named == "bfloat16" else f"{library}.{named}"
    if array.size == 0:
        return f"{library}.zeros({array.shape}, dtype={dtype})"
    if array.size <= INLINE and (values := _literal(array)):
        return f"{library}.{'tensor' if library == 'torch' else 'array'}({values}, dtype={dtype})"
    text = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    buffer = f'bytearray(base64.b64decode("{text}"))'
    return f"{library}.frombuffer({buffer}, dtype={dtype}).reshape({array.shape})"


def _literal(array: Array) -> str | None:
    """Nested lists, of a narrow format of the shortest numbers that round to these; None if that loses a bit."""
    if array.dtype.kind == "c":  # a part that is infinite or -0.0 has no literal
        return None
    narrow = dtype_name(array.dtype) in ("float32", "float16", "bfloat16")
    values = np.array([float(str(each)) for each in array.ravel()]).reshape(array.shape) if narrow else array
    listed = values.tolist()  # numbers of Python's own, which read back as they were
    again = np.array(listed, dtype=array.dtype)
    return repr(listed) if again.tobytes() == np.ascontiguousarray(array).tobytes() else None
