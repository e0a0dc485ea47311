"""What a program expects of a result: for every number the right value, and the lowest and the highest that fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from backends.base import Backend
from specs.arithmetic.double_double import to_float64
from specs.arithmetic.formats import BFLOAT16, DTYPES, Array, Bools, Direction, Float64, Format, round_to, spacing
from specs.case.common import RESULT
from specs.inputs import inputs
from specs.reference.reference import Reference
from specs.verdict.check import Check
from specs.verdict.comparison import error_ratio
from specs.verdict.direction import DIRECTIONS


@dataclass(frozen=True)
class Expected:
    """The expectation for one result, in the framework's convention; complex numbers have their parts in a last axis.

    right     the right values: float64 for inexact dtypes, the dtype itself for exact ones
    lowest    the lowest number that fits; NaN where every number fits; where only NaN fits, lowest is inf
    highest   the highest number that fits; NaN where every number fits; where only NaN fits, highest is -inf
    zeros     where 0 fits although it lies outside, because subnormal numbers may be flushed; None: nowhere
    signed    whether zeros must have the right sign
    """

    dtype: str
    right: Array
    lowest: Array
    highest: Array
    zeros: Bools | None = None
    signed: bool = False

    @property
    def inexact(self) -> bool:
        return DTYPES[self.dtype].inexact

    @property
    def exact(self) -> bool:
        """Whether only the right values fit: the dtype is exact, or no error is allowed anywhere."""
        return np.array_equal(self.lowest, self.right) and np.array_equal(self.right, self.highest)


def expected_result(check: Check, backend: Backend, label: str = RESULT) -> Expected:
    """What the suite (`specs.verdict.comparison`) accepts as the output of this label."""
    precision = None
    if DTYPES[check.dtype].inexact:  # the dtype of the result; operands may have others
        precision = backend.precision(check)
    operands = inputs.operands(check.case, check.dtype)
    direction = DIRECTIONS[check.direction]
    right = direction.reference(check.case, check.dtype, operands, precision, label=label)
    if right.error is None or right.precision is None:
        value = np.asarray(right.value)
        return Expected(right.dtype.name, value, value, value)
    value, (low, high, zeros) = to_float64(right.value), _fitting(right)
    if direction.conjugated and backend.conjugates and right.dtype.kind == "complex":
        value, low, high = (np.stack(parts, -1) for parts in _conjugate(value, low, high))
    return Expected(right.dtype.name, value, low, high, zeros if np.any(zeros) else None, right.signed)


def _conjugate(value: Array, low: Array, high: Array) -> tuple[tuple[Array, Array], ...]:
    """Real and imaginary parts of each, conjugated; where only NaN fits, the interval stays empty."""
    return tuple((x[..., 0], -y[..., 1]) for x, y in ((value, value), (low, high), (high, low)))


def _fitting(right: Reference) -> tuple[Array, Array, Bools]:
    """The lowest and the highest number of the result's format that fit, and where 0 fits outside of them."""
    assert right.error is not None
    assert right.precision is not None
    precision, format, value = right.precision, right.precision.storage, to_float64(right.value)
    error = np.broadcast_to(right.error, value.shape)

    def fits(numbers: Float64) -> Bools:
        return np.asarray(error_ratio(numbers, right.value, error, precision) <= 1)

    nearest = round_to(value, format)
    with np.errstate(all="ignore"):
        low, high = (round_to(value + sign * error, format) for sign in (-1, 1))
        if precision.truncates:
            low, high = low - spacing(low, format), high + spacing(high, format)
    limited = np.isfinite(value) & np.isfinite(error)
    low = _end(np.minimum(low, nearest), fits, limited, format, "down")
    high = _end(np.maximum(high, nearest), fits, limited, format, "up")
    zeros = fits(np.zeros(value.shape)) & limited & ((low > 0) | (high < 0))
    low, high = np.where(np.isinf(value), value, low), np.where(np.isinf(value), value, high)
    low, high = np.where(np.isnan(value), np.inf, low), np.where(np.isnan(value), -np.inf, high)
    low, high = np.where(np.isinf(error), np.nan, low), np.where(np.isinf(error), np.nan, high)
    stored = np.dtype("float32" if format is BFLOAT16 else format.name)  # holds them exactly
    return low.astype(stored), high.astype(stored), zeros


def _end(
    start: Float64, fits: Callable[[Float64], Bools], limited: Bools, format: Format, outwards: Direction
) -> Float64:
    """The last number that fits in the direction `outwards`, searched from `start`, in both directions if needed.

    Only where `limited` is True; elsewhere `start` is returned.
    """
    end = start
    while np.any(outside := limited & ~fits(end)):
        end = np.where(outside, _next(end, format, "up" if outwards == "down" else "down"), end)
    while np.any(inside := limited & np.isfinite(end) & fits(_next(end, format, outwards))):
        end = np.where(inside, _next(end, format, outwards), end)
    return end


def _next(numbers: Float64, format: Format, direction: Direction) -> Float64:
    """The neighbour of each number in a format."""
    with np.errstate(all="ignore"):
        return round_to(np.nextafter(numbers, np.inf if direction == "up" else -np.inf), format, direction)
