"""The reference's own arithmetic: float64 for dtypes that are narrower, double-double for float64 and complex128."""

from __future__ import annotations

from typing import Any

import numpy as np

from specs.arithmetic.conversion import largest_magnitude
from specs.arithmetic.double_double import DoubleDouble
from specs.arithmetic.formats import Array, DType
from specs.case.error import CaseError

# Unit roundoff by `uses_double_double`; that of double-double has a margin
U_REFERENCE = {False: 2.0**-53, True: 2.0**-100}


def to_working_precision(values: Array, dtype: DType) -> Any:
    """Convert operand values to the arithmetic of the dtype's reference (complex ones one component at a time).

    Raises CaseError for integers beyond 2**53 in a float64 case, as conversion to float64 would round them.
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
