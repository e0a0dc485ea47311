"""The reference value of an einsum: in double-double for float64, in float64 for narrower dtypes.

Operands may have their own dtypes; `dtype` is always the result's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from specs.arithmetic.double_double import DoubleDouble, concat
from specs.arithmetic.formats import Array, DType
from specs.case.equation import Contraction
from specs.reference.contraction import contract
from specs.reference.working_precision import to_working_precision


def evaluate(contraction: Contraction, operands: Sequence[Array], dtype: DType) -> Array | DoubleDouble:
    """The result in the reference's precision (complex: real and imaginary part in a last axis).

    Operands are not converted to `dtype` first, which might round them.
    """
    if dtype.kind != "complex":
        return contract(contraction, [to_working_precision(operand, dtype) for operand in operands])
    parts = _complex_parts(
        contraction, [(to_working_precision(x.real, dtype), to_working_precision(x.imag, dtype)) for x in operands]
    )
    return concat([part.reshape((*part.shape, 1)) for part in parts], axis=-1)


def evaluate_exactly(contraction: Contraction, operands: Sequence[Array], dtype: DType) -> Array:
    """The result of an exact dtype: integers modulo 2**bits; for bool, whether any term has only true factors."""
    wide = np.uint64 if dtype.name.startswith("u") else np.int64
    total = contract(contraction, [operand.astype(wide) for operand in operands])
    return np.asarray(total != 0 if dtype.kind == "boolean" else total.astype(dtype.numpy))


def _complex_parts(contraction: Contraction, operands: list[Any]) -> tuple[Any, Any]:
    """Real and imaginary part: a contraction is linear in each operand, so each pair is split in turn."""
    split = next((i for i, operand in enumerate(operands) if isinstance(operand, tuple)), None)
    if split is None:
        return contract(contraction, operands), None
    x, y = operands[split]
    real_x, imaginary_x = _complex_parts(contraction, [*operands[:split], x, *operands[split + 1 :]])
    real_y, imaginary_y = _complex_parts(contraction, [*operands[:split], y, *operands[split + 1 :]])
    if imaginary_x is None:
        return real_x, real_y
    return real_x - imaginary_y, imaginary_x + real_y
