"""The dtype that follows from several, and which may be asked for instead.

* Of dtypes that NumPy has: `numpy.result_type`, which keeps the promotions of the array API standard and defines those
  that the standard leaves open, such as int32 with float32 (https://numpy.org/doc/stable/reference/arrays.promotion.html,
  https://data-apis.org/array-api/latest/API_specification/type_promotion.html).
* bfloat16, which neither has, as in the lattice of JAX: with float16 it makes float32, with a wider dtype that dtype,
  and with integers it stays (https://docs.jax.dev/en/latest/jep/9407-type-promotion.html).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from specs.arithmetic.formats import DTYPES, dtype_name

KINDS = ("boolean", "unsigned", "signed", "float", "complex")  # each can be converted to those after it


def promoted(names: Sequence[str]) -> str:
    """What operands of these dtypes, at least one, have for their result.

    >>> promoted(["int32", "float32"]), promoted(["float16", "bfloat16"])
    ('float64', 'float32')
    """
    known = [name for name in names if name != "bfloat16"]
    if not known:
        return "bfloat16"
    result = dtype_name(np.result_type(*(DTYPES[name].numpy for name in known)))
    if len(known) == len(names):
        return result
    if not DTYPES[result].inexact:
        return "bfloat16"
    return "float32" if result == "float16" else result


def keeps_kind(operand: str, result: str) -> bool:
    """Whether a conversion can lose digits or range but neither sign, fraction nor imaginary part.

    NumPy's casting rule "same_kind" (https://numpy.org/doc/stable/reference/generated/numpy.can_cast.html).
    """
    return KINDS.index(_kind(operand)) <= KINDS.index(_kind(result))


def _kind(name: str) -> str:
    if DTYPES[name].kind == "integer":
        return "unsigned" if name.startswith("u") else "signed"
    return DTYPES[name].kind
