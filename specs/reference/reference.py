"""What a result is compared with: a value in higher precision, and the largest error that correct arithmetic can make.

That such an error follows from the sum of magnitudes is the idea of ARM TOSA's dot-product compliance.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from specs.arithmetic.double_double import DoubleDouble
from specs.arithmetic.formats import Array, DType, Float64
from specs.arithmetic.precision import Precision


@dataclass(frozen=True)
class Reference:
    """What a check is compared with.

    value      float64 or DoubleDouble for inexact dtypes (a trailing axis of 2 for complex ones); of the dtype itself
               for exact ones
    error      per element, the largest error before the output is rounded; inf: no limit (a sum may overflow).
               None for exact dtypes
    precision  what was declared; None for exact dtypes
    facts      how the bound came about, for the record
    signed     whether the sign of a zero is implied and compared: nothing is computed, only copied
    deviation  per element, the standard deviation of the error of correct arithmetic before the output is rounded; inf
               where the form does not hold.  None where errors are not known to average out: data that are not random,
               exact dtypes, accumulators below float32, truncation
    shared     per element, what may be added to such an error and does not average out (of a scale, of underflow)
    coherent   of how many elements one rounding may enter, because they share what was rounded; 1: none
    direction  per element, how a relative change of a scale within the computation moves the result; None: as the
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
    coherent: float = 1.0
    direction: Float64 | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape[:-1] if self.dtype.kind == "complex" else self.value.shape
