"""How each framework's tensors are written in a program: a table, and the line that makes an operand."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import numpy as np

from specs.arithmetic.formats import Array, dtype_name

INLINE = 64  # the largest size of an array that is written as numbers; larger ones are written as bytes


@dataclass(frozen=True)
class Dialect:
    """How a framework's tensors are made and read in a program; expressions unless stated otherwise.

    imports    modules; a program imports those that it uses
    tensor     a tensor made from `{array}`, an array of `library`
    dtype      the name of the dtype of `result`
    array      `result` as a NumPy array
    bfloat16   the dtype
    library    name of the module that has `array` (torch: `tensor`), `frombuffer` and `zeros`: np or torch
    widened    a `result` of bfloat16 in a dtype that NumPy has, where `array` needs one; else empty
    """

    imports: tuple[str, ...]
    tensor: str
    dtype: str
    array: str
    bfloat16: str
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
