"""The reference's own arithmetic: float64 for dtypes that are narrower, double-double for float64 and complex128."""

from __future__ import annotations

from typing import Any

import numpy as np

from specs.arithmetic.conversion import largest_magnitude
from specs.arithmetic.double_double import DoubleDouble
from specs.arithmetic.formats import Array, DType
from specs.case.error import CaseError

# The reference's own arithmetic: float64 for narrower dtypes, double-double (with margin) for float64.
U_REFERENCE = {False: 2.0**-53, True: 2.0**-100}


def high(values: Array, dtype: DType) -> Any:
    """Operand values in the arithmetic of the dtype's reference (for complex ones call with a component).

    Raises CaseError for integers whose digits double-double would hold, and float64 does not.
    """
    wide = np.asarray(values).astype(np.float64)
    if not uses_double_double(dtype):
        return wide
    if values.dtype.kind in "iu" and largest_magnitude(values) > 2**53:
        raise CaseError(
            "dtype", f"an integer beyond 2**53 in a sum of {dtype.name} is more than the reference can hold"
        )
    return DoubleDouble(wide)


def uses_double_double(dtype: DType) -> bool:
    return dtype.name in ("float64", "complex128")
