"""Number formats: what a dtype can represent, and how a real number is rounded to it.

A `Format` is a binary floating-point format in the sense of error analysis (including TF32, which no array has); a
`DType` is an element type by its name in case files.  Rounding is implemented here because the frameworks' casts from
float64 to bfloat16 (in torch and TensorFlow also to float16) round twice, through float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import ml_dtypes
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Float64 = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Direction = Literal["nearest", "down", "up"]


@dataclass(frozen=True)
class Format:
    """A binary format: `precision` significand bits (including the implicit one), normal numbers from 2**emin up."""

    name: str
    precision: int
    emin: int
    emax: int

    @property
    def unit_roundoff(self) -> float:
        """Largest relative error of one rounding to nearest: 2**-precision."""
        return 2.0**-self.precision

    @property
    def tiny(self) -> float:
        """Smallest positive normal number."""
        return 2.0**self.emin

    @property
    def smallest(self) -> float:
        """Smallest positive subnormal number (for float64 2**-1074)."""
        return 2.0 ** (self.emin - self.precision + 1)

    @property
    def max(self) -> float:
        """Largest finite number."""
        return (2.0 - 2.0 ** (1 - self.precision)) * 2.0**self.emax


FLOAT64 = Format("float64", 53, -1022, 1023)
FLOAT32 = Format("float32", 24, -126, 127)
TF32 = Format("tf32", 11, -126, 127)
FLOAT16 = Format("float16", 11, -14, 15)
BFLOAT16 = Format("bfloat16", 8, -126, 127)

FORMATS = {f.name: f for f in (FLOAT64, FLOAT32, TF32, FLOAT16, BFLOAT16)}


@dataclass(frozen=True)
class DType:
    """An element type, by its name in case files.

    `format` is the format of a real number or of one component of a complex one; None for integers and bool, whose
    arithmetic is exact.
    """

    name: str
    numpy: np.dtype[Any]
    kind: Literal["float", "complex", "integer", "boolean"]
    format: Format | None = None

    @property
    def inexact(self) -> bool:
        return self.format is not None

    @property
    def widest(self) -> DType:
        """The widest dtype of the same kind; for inexact dtypes only."""
        return DTYPES["complex128" if self.kind == "complex" else "float64"]


def _dtypes() -> dict[str, DType]:
    dtypes = [DType(f.name, np.dtype(f.name), "float", f) for f in (FLOAT64, FLOAT32, FLOAT16)]
    dtypes.append(DType("bfloat16", np.dtype(ml_dtypes.bfloat16), "float", BFLOAT16))
    dtypes.append(DType("complex128", np.dtype("complex128"), "complex", FLOAT64))
    dtypes.append(DType("complex64", np.dtype("complex64"), "complex", FLOAT32))
    integers = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
    dtypes += [DType(name, np.dtype(name), "integer") for name in integers]
    dtypes.append(DType("bool", np.dtype(np.bool_), "boolean"))
    return {dtype.name: dtype for dtype in dtypes}


DTYPES = _dtypes()
_NAMES = {dtype.numpy: dtype.name for dtype in DTYPES.values()}
_EXPONENT_BITS = np.uint64(0x7FF0_0000_0000_0000)  # of a float64; alone, they are the power of two below a magnitude


def dtype_name(dtype: np.dtype[Any]) -> str:
    """The project's name for a NumPy dtype, or NumPy's own name if the project has none."""
    return _NAMES.get(dtype) or str(dtype)


def spacing(values: Float64, format: Format) -> Float64:
    """One unit in the last place (ulp) of `format` at each finite value; at and near zero, the subnormal spacing."""
    power = (values.view(np.uint64) & _EXPONENT_BITS).view(np.float64)
    return np.asarray(np.maximum(power * 2.0 ** (1 - format.precision), format.smallest))


_ROUND_INTEGER = {"nearest": np.rint, "down": np.floor, "up": np.ceil}


def round_to(values: npt.ArrayLike, format: Format, direction: Direction = "nearest") -> Float64:
    """Round float64 values to `format` in one rounding; the result is float64, each value representable in `format`.

    "nearest" is IEEE round-half-even and overflows to infinity from max + half an ulp; "down" and "up" are the
    directed roundings.  Subnormals are kept.  NaN and infinities are returned unchanged.
    """
    x = np.asarray(values, np.float64)
    if format.precision >= FLOAT64.precision:
        return x.copy()
    with np.errstate(all="ignore"):
        quantum = spacing(x, format)
        rounded = np.asarray(_ROUND_INTEGER[direction](x / quantum) * quantum)
        if np.abs(rounded).max(initial=0.0) <= format.max:
            return rounded
        overflowed = np.abs(rounded) > format.max
        toward_zero = (direction == "down") & (x > 0) | (direction == "up") & (x < 0)
        limit = np.where(toward_zero, format.max, np.inf)
        rounded = np.where(overflowed, np.copysign(limit, x), rounded)
    return np.where(np.isfinite(x), rounded, x)


def cast(values: npt.ArrayLike, dtype: DType) -> Array:
    """Convert float64, complex128 or integer values to `dtype`, rounding each once (integers wrap)."""
    x = np.asarray(values)
    with np.errstate(all="ignore"):
        if dtype.kind == "complex":
            assert dtype.format is not None
            out = np.empty(x.shape, dtype.numpy)
            out.real = round_to(x.real, dtype.format)
            out.imag = round_to(x.imag, dtype.format)
            return out
        if dtype.format is not None:
            return round_to(x, dtype.format).astype(dtype.numpy, copy=False)
        return x.astype(dtype.numpy)


def components(result: Array) -> Float64:
    """Values as float64; complex values get a new last axis holding real and imaginary part."""
    if result.dtype.kind == "c":
        return np.stack([result.real, result.imag], axis=-1).astype(np.float64)
    return result.astype(np.float64)
