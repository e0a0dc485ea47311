"""The precision that a computation declares, in the symbols of the error bound.

A backend declares one `Precision` for each (device, implementation, mode, dtype); the bound allows exactly the
roundings that it implies.  Anything coarser is a finding.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from specs.arithmetic.formats import BFLOAT16, FLOAT16, FLOAT32, FORMATS, DType, Format


@dataclass(frozen=True)
class Precision:
    """The formats used in a computation; symbols are those of the bound's derivation.

    storage       operands and output                                                  (the dtype itself)
    multiply      operands are rounded to this before multiplication                   (u_m; storage = not rounded)
    accumulate    sums                                                                 (u_a)
    intermediate  results stored between steps: partial contractions, attention scores (u_s)
    weights       softmax weights as operands of the second product                    (u_p)
    softmax       the softmax itself                                                   (u_x)
    scaled        query or keys that are multiplied by the scale before their product  (u_q; accumulate: they are not)
    partial       a gradient to which the products of one block of queries or keys,
                  or of one head of a group, are added after the other                 (u_b; accumulate: none is stored)
    truncates     accumulation and output truncate instead of rounding to nearest (some tensor cores)
    flushes       subnormal inputs and results may be replaced by zero
    """

    storage: Format
    multiply: Format
    accumulate: Format
    intermediate: Format
    weights: Format
    softmax: Format
    scaled: Format
    partial: Format
    truncates: bool = False
    flushes: bool = False

    @property
    def u_a(self) -> float:
        """Unit roundoff of sums."""
        return self.accumulate.unit_roundoff * (2 if self.truncates else 1)

    @property
    def u_m(self) -> float:
        """Unit roundoff of operands before multiplication; zero if they are multiplied as stored."""
        if self.multiply.precision >= self.storage.precision:
            return 0.0
        return self.multiply.unit_roundoff * (2 if self.truncates else 1)

    @property
    def u_s(self) -> float:
        """Unit roundoff of stored intermediates; zero if they are stored as they were accumulated."""
        return _unit_roundoff_if_coarser(self.intermediate, self.accumulate)

    @property
    def u_p(self) -> float:
        """Unit roundoff of softmax weights; zero if they enter the second product as accumulated."""
        return _unit_roundoff_if_coarser(self.weights, self.accumulate)

    @property
    def u_q(self) -> float:
        """Unit roundoff of a query or keys that are scaled beforehand and stored; zero if they are not."""
        return _unit_roundoff_if_coarser(self.scaled, self.accumulate)

    @property
    def u_b(self) -> float:
        """Unit roundoff of a gradient to which blocks are added; zero if their sum is stored once."""
        return _unit_roundoff_if_coarser(self.partial, self.accumulate)

    @property
    def u_x(self) -> float:
        return self.softmax.unit_roundoff

    def replace(self, **fields: str | bool) -> Precision:
        """A copy with some fields replaced; formats are given by name: `replace(multiply="tf32")`."""
        values = {name: FORMATS[value] if isinstance(value, str) else value for name, value in fields.items()}
        return dataclasses.replace(self, **values)  # type: ignore[arg-type]

    def as_json(self) -> dict[str, str | bool]:
        """Field → format name or flag, as in a record."""
        return {field: value.name if isinstance(value, Format) else value for field, value in vars(self).items()}

    @classmethod
    def from_json(cls, fields: Mapping[str, str | bool]) -> Precision:
        """The inverse of `as_json`."""
        return cls(**{name: FORMATS[v] if isinstance(v, str) else v for name, v in fields.items()})  # type: ignore[arg-type]


def _unit_roundoff_if_coarser(format: Format, other: Format) -> float:
    return format.unit_roundoff if format.precision < other.precision else 0.0


def declared_precision(dtype: DType, **fields: str | bool) -> Precision:
    """The default precision of a floating or complex dtype, with the fields that a backend declares to differ.

    By default, 16-bit dtypes accumulate in float32, stored intermediates have the dtype, products are scaled after they
    are summed, and nothing is flushed or truncated.  Raises ValueError for integer dtypes and bool.
    """
    if dtype.format is None:
        raise ValueError(f"{dtype.name} arithmetic is exact; it has no precision to declare")
    wide = FLOAT32 if dtype.format in (FLOAT16, BFLOAT16) else dtype.format
    f = dtype.format
    precision = Precision(
        f, multiply=f, accumulate=wide, intermediate=f, weights=f, softmax=wide, scaled=wide, partial=wide
    )
    return precision.replace(**fields)
