"""What precision a computation declares, in the terms of the error bound.

A backend states one `Precision` for each of its (device, implementation, mode, dtype); the bound allows exactly the
roundings which that statement admits.  Anything coarser is a finding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from specs.arithmetic.formats import BFLOAT16, FLOAT16, FLOAT32, FORMATS, DType, Format


@dataclass(frozen=True)
class Precision:
    """Formats that a computation passes through; all symbols are those of the bound's derivation.

    storage       operands and output                                                  (the dtype itself)
    multiply      operands are rounded to this before they are multiplied              (u_m; storage = not rounded)
    accumulate    sums                                                                 (u_a)
    intermediate  results stored between steps: partial contractions, attention scores (u_s)
    weights       softmax weights as they enter the second product                     (u_p)
    softmax       the softmax itself                                                   (u_x)
    truncates     accumulation and output truncate instead of rounding to nearest (some tensor cores)
    flushes       subnormal inputs and results may be replaced by zero
    """

    storage: Format
    multiply: Format
    accumulate: Format
    intermediate: Format
    weights: Format
    softmax: Format
    truncates: bool = False
    flushes: bool = False

    @property
    def u_a(self) -> float:
        return self.accumulate.unit_roundoff * (2 if self.truncates else 1)

    @property
    def u_m(self) -> float:
        """Zero where operands enter the product as they are stored."""
        if self.multiply.precision >= self.storage.precision:
            return 0.0
        return self.multiply.unit_roundoff * (2 if self.truncates else 1)

    @property
    def u_s(self) -> float:
        return _coarser(self.intermediate, self.accumulate)

    @property
    def u_p(self) -> float:
        return _coarser(self.weights, self.accumulate)

    @property
    def u_x(self) -> float:
        return self.softmax.unit_roundoff

    def but(self, **formats: str | bool) -> Precision:
        """This precision with some fields replaced, formats given by name: `but(multiply="tf32")`."""
        fields = {k: FORMATS[v] if isinstance(v, str) else v for k, v in formats.items()}
        return replace(self, **fields)  # type: ignore[arg-type]

    def as_json(self) -> dict[str, str | bool]:
        """Field → format name, as a record carries it."""
        return {field: value.name if isinstance(value, Format) else value for field, value in vars(self).items()}

    @classmethod
    def from_json(cls, fields: Mapping[str, str | bool]) -> Precision:
        """The precision that a record carries."""
        return cls(**{name: FORMATS[v] if isinstance(v, str) else v for name, v in fields.items()})  # type: ignore[arg-type]


def _coarser(format: Format, than: Format) -> float:
    return format.unit_roundoff if format.precision < than.precision else 0.0


def declared(dtype: DType, **formats: str | bool) -> Precision:
    """The precision that a floating or complex dtype promises, with the exceptions that a backend declares.

    Without exceptions: 16-bit dtypes are summed in float32 and everything stored between steps has the dtype;
    nothing is flushed or truncated.  Integer dtypes have no precision: do not ask.
    """
    if dtype.format is None:
        raise ValueError(f"{dtype.name} arithmetic is exact; it has no precision to declare")
    wide = FLOAT32 if dtype.format in (FLOAT16, BFLOAT16) else dtype.format
    f = dtype.format
    return Precision(storage=f, multiply=f, accumulate=wide, intermediate=f, weights=f, softmax=wide).but(**formats)
