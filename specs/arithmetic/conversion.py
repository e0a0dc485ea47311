"""What an operand can lose when it is converted for a contraction whose result has another dtype."""

from __future__ import annotations

import numpy as np

from specs.arithmetic.formats import DTYPES, FLOAT16, FLOAT32, FLOAT64, Array, Format, dtype_name, round_to
from specs.arithmetic.precision import Precision


def converts_exactly(operand: Array, format: Format) -> bool:
    """Whether `format` represents every value of an operand exactly (both parts of a complex one).

    For integers this can be a false negative: it is False if the largest magnitude exceeds 2**precision, even where
    the format does represent it.
    """
    if operand.dtype.kind in "iu":
        return largest_magnitude(operand) <= 2 ** min(format.precision, FLOAT64.precision)
    parts = np.stack([operand.real, operand.imag]).astype(np.float64)
    return np.array_equal(round_to(parts, format), parts, equal_nan=True)


def significant_bits(operand: Array) -> int:
    """Upper bound on the significant bits of an element: the format's precision, or for integers the bits in use."""
    format = DTYPES[dtype_name(operand.dtype)].format
    if format is not None:
        return format.precision
    return largest_magnitude(operand).bit_length()


def flush_threshold(operand: Array, precision: Precision) -> float:
    """The magnitude below which an element may be read as zero; 0 if subnormals are kept.

    float16 is converted to float32 before anything is computed, so its threshold is that of float32.
    """
    if not precision.flushes:
        return 0.0
    formats = (precision.storage, DTYPES[dtype_name(operand.dtype)].format)
    return max((FLOAT32 if format is FLOAT16 else format).tiny for format in formats if format)


def largest_magnitude(integers: Array) -> int:
    """The largest magnitude in an integer array; 0 if it is empty."""
    return max(-int(integers.min()), int(integers.max())) if integers.size else 0
