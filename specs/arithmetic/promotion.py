"""Promotion of several dtypes to one, and which other result dtypes may be requested.

* NumPy's dtypes follow `numpy.result_type`, which implements the array API standard's promotions and defines those
  that the standard leaves open, such as int32 with float32 (https://numpy.org/doc/stable/reference/arrays.promotion.html,
  https://data-apis.org/array-api/latest/API_specification/type_promotion.html).
* bfloat16, which neither defines, follows the JAX lattice: with float16 the result is float32, with a wider inexact
  dtype that dtype, with integers bfloat16 (https://docs.jax.dev/en/latest/jep/9407-type-promotion.html).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from specs.arithmetic.formats import DTYPES, dtype_name

KINDS = ("boolean", "unsigned", "signed", "float", "complex")  # each casts to itself and those after it


def result_type(names: Sequence[str]) -> str:
    """The result dtype of operands with these dtypes (at least one).

    >>> result_type(["int32", "float32"]), result_type(["float16", "bfloat16"])
    ('float64', 'float32')
    """
    numpy_names = [name for name in names if name != "bfloat16"]
    if not numpy_names:
        return "bfloat16"
    result = dtype_name(np.result_type(*(DTYPES[name].numpy for name in numpy_names)))
    if len(numpy_names) == len(names):
        return result
    if not DTYPES[result].inexact:
        return "bfloat16"
    return "float32" if result == "float16" else result


def is_same_kind_cast(operand: str, result: str) -> bool:
    """Whether casting can lose only precision or range, never sign, fraction or imaginary part.

    This is NumPy's casting rule "same_kind" (https://numpy.org/doc/stable/reference/generated/numpy.can_cast.html).
    """
    return KINDS.index(_kind(operand)) <= KINDS.index(_kind(result))


def _kind(name: str) -> str:
    if DTYPES[name].kind == "integer":
        return "unsigned" if name.startswith("u") else "signed"
    return DTYPES[name].kind
