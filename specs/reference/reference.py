"""The reference of a result: a value in higher precision, and the largest error of correct arithmetic.

Deriving that error from the sum of magnitudes is the idea of ARM TOSA's dot-product compliance.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from specs.arithmetic.double_double import DoubleDouble
from specs.arithmetic.formats import Array, DType, Float64
from specs.arithmetic.precision import Precision


@dataclass(frozen=True)
class Reference:
    """The reference of a check.

    value      float64 or DoubleDouble for inexact dtypes (a trailing axis of 2 for complex ones); of the dtype itself
               for exact ones
    error      per element, the largest error before the output is rounded; inf: no limit (a sum may overflow).
               None for exact dtypes
    precision  declared precision; None for exact dtypes
    facts      how the bound was derived, for the record
    signed     whether the sign of a zero is compared: where values are only copied
    deviation  per element, the standard deviation of the error of correct arithmetic before the output is rounded; inf
               where it is not valid.  None where errors do not average out: data that are not random, exact dtypes,
               accumulators below float32, truncation
    shared     per element, the largest error besides that does not average out (of a scale, of underflow)
    correlated_elements
               number of elements that share one rounding, so that their errors are correlated; 1: none
    direction  per element, the derivative of the result by the logarithm of a scale within the computation; None: the
               result itself
    """

    dtype: DType
    value: Array | DoubleDouble
    error: Float64 | None = None
    precision: Precision | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    signed: bool = False
    deviation: Float64 | None = None
    shared: Float64 | None = None
    correlated_elements: float = 1.0
    direction: Float64 | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape[:-1] if self.dtype.kind == "complex" else self.value.shape
