"""What an einsum is, as closely as the reference can say it: double-double for float64, float64 for what is narrower.

Operands may have dtypes of their own; `dtype` is always the result's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from specs.arithmetic.double_double import DoubleDouble, concat
from specs.arithmetic.formats import Array, DType
from specs.case.equation import Contraction
from specs.reference.contraction import contract
from specs.reference.working_precision import high


def value(contraction: Contraction, operands: Sequence[Array], dtype: DType) -> Array | DoubleDouble:
    """The exact result as closely as the reference knows it (complex: real and imaginary part in a last axis).

    Operands enter as they are, whatever their conversion to `dtype` may lose.
    """
    if dtype.kind != "complex":
        return contract(contraction, [high(operand, dtype) for operand in operands])
    parts = _complex_parts(contraction, [(high(x.real, dtype), high(x.imag, dtype)) for x in operands])
    return concat([part.reshape((*part.shape, 1)) for part in parts], axis=-1)


def exact_value(contraction: Contraction, operands: Sequence[Array], dtype: DType) -> Array:
    """Integers modulo 2**bits; for bool, whether any term has all its factors true."""
    wide = np.uint64 if dtype.name.startswith("u") else np.int64
    total = contract(contraction, [operand.astype(wide) for operand in operands])
    return (total != 0) if dtype.kind == "boolean" else total.astype(dtype.numpy)


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
