"""What an operand can lose on its way into a contraction whose result has another dtype."""

from __future__ import annotations

import numpy as np

from specs.arithmetic.formats import DTYPES, FLOAT16, FLOAT32, FLOAT64, Array, Format, dtype_name, round_to
from specs.arithmetic.precision import Precision


def converts_exactly(operand: Array, to: Format) -> bool:
    """Whether `to` holds every value of an operand (of a complex one, both parts).

    Of integers it may say no where the largest is beyond 2**precision and yet a number of the format.
    """
    if operand.dtype.kind in "iu":
        return largest(operand) <= 2 ** min(to.precision, FLOAT64.precision)
    parts = np.stack([operand.real, operand.imag]).astype(np.float64)
    return np.array_equal(round_to(parts, to), parts, equal_nan=True)


def digits(operand: Array) -> int:
    """How many binary digits a number of the operand can have: by its format, or by the largest integer there is."""
    format = DTYPES[dtype_name(operand.dtype)].format
    if format is not None:
        return format.precision
    return largest(operand).bit_length()


def smallest_read(operand: Array, precision: Precision) -> float:
    """The magnitude beneath which a number may be read as zero: 0 where subnormals are kept.

    float16 is converted before anything is computed, so there the limit is that of float32.
    """
    if not precision.flushes:
        return 0.0
    formats = (precision.storage, DTYPES[dtype_name(operand.dtype)].format)
    return max((FLOAT32 if format is FLOAT16 else format).tiny for format in formats if format)


def largest(integers: Array) -> int:
    """The largest magnitude; 0 of none."""
    return max(-int(integers.min()), int(integers.max())) if integers.size else 0
