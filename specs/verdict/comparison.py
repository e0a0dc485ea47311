"""One result against its reference: shape, dtype, non-finite pattern, then every value against its bound.

A result is right where some error within the bound explains it once the output is rounded:
    RN(y - E) <= result <= RN(y + E)
with RN the rounding to the output's format (outward where hardware truncates), so overflow, subnormal results and pure
copies (E = 0: the same bits) need no case of their own.  The error ratio is the smallest error that explains the
result over E, the largest over all elements: 0 for a correctly rounded result, at most 1 for a right one.

Where every element is right by itself, all of them together may still be off further than chance makes them, and are
wrong then (`specs.verdict.aggregate`).

Zeros of either sign are equal, except where elements are only copied (`Reference.signed`: one operand, nothing summed):
there the sign is kept, as every other bit is.  In a sum it depends on what the accumulator starts from, for -0 + -0 is
-0 and 0 + -0 is 0, and IEEE arithmetic says nothing about that.  A product has the sign of its factors by itself, but
is not held to it either: a kernel that adds it to an accumulator of 0, as np.einsum does and every matrix product may,
computes the same contraction.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from specs.arithmetic.double_double import DoubleDouble, to_float64
from specs.arithmetic.formats import DTYPES, Array, Bools, Float64, Format, components, dtype_name, round_to, spacing
from specs.arithmetic.precision import Precision
from specs.reference.reference import Reference
from specs.verdict.aggregate import aggregate
from specs.verdict.record import Measurement, Worst


@dataclass(frozen=True)
class Comparison:
    """What was found; `problem` is empty where the result is right."""

    problem: str
    measurement: Measurement


def compare(result: Array, reference: Reference) -> Comparison:
    """Compare a backend's result with the reference.  Never raises for what `result` holds."""
    known = DTYPES.get(dtype_name(result.dtype))
    numbers = components(result) if known and known.inexact else np.zeros(0)
    measurement = Measurement(
        output_dtype=dtype_name(result.dtype),
        output_shape=tuple(result.shape),
        nan=int(np.count_nonzero(np.isnan(numbers))),
        infinite=int(np.count_nonzero(np.isinf(numbers))),
        digest=digest(result),
        bound=_describe(reference),
    )
    if tuple(result.shape) != reference.shape:
        return Comparison(f"shape is {tuple(result.shape)}, expected {reference.shape}", measurement)
    if result.dtype != reference.dtype.numpy:
        found = f"dtype is {dtype_name(result.dtype)}, expected {reference.dtype.name}"
        return Comparison(found, measurement)
    if reference.error is None or reference.precision is None:
        return _compare_exact(result, reference, measurement)
    return _compare_inexact(result, reference, reference.error, reference.precision, measurement)


def digest(result: Array) -> str:
    """Of the result's bits: equal digests are equal results, -0.0 and NaN payloads told apart."""
    return hashlib.sha256(np.ascontiguousarray(result).tobytes()).hexdigest()[:16]


def _describe(reference: Reference) -> dict[str, object]:
    precision = reference.precision.as_json() if reference.precision else "exact"
    return {"precision": precision, **reference.facts}


def _compare_exact(result: Array, reference: Reference, measurement: Measurement) -> Comparison:
    expected = np.asarray(reference.value)
    wrong = result != expected
    if not np.any(wrong):
        return Comparison("", replace(measurement, error_ratio=0.0, max_ulp=0.0, max_abs=0.0))
    index = tuple(int(i) for i in np.unravel_index(np.argmax(wrong), wrong.shape))
    worst = Worst(index, str(expected[index]), str(result[index]), "0")
    difference = float(np.max(np.abs(result.astype(np.float64) - expected.astype(np.float64))))
    measured = replace(measurement, error_ratio=np.inf, max_abs=difference, worst=worst)
    return Comparison(f"{int(wrong.sum())} of {wrong.size} exact values differ", measured)


def _compare_inexact(
    result: Array, reference: Reference, error: Float64, precision: Precision, measurement: Measurement
) -> Comparison:
    format = precision.storage
    got = components(result)
    error = np.broadcast_to(error, got.shape)
    value = to_float64(reference.value)
    ratio = error_ratio(got, reference.value, error, precision)
    opposite = opposite_zeros(got, reference)
    ratio = np.where(opposite, np.inf, ratio)
    with np.errstate(all="ignore"):
        together = aggregate(_difference(reference.value, got), got, reference)
        # Where an infinite result is right there is no distance to speak of
        distance = np.where(got == round_to(value, format), 0.0, np.abs(_difference(reference.value, got)))
        distance = np.where(np.isnan(got) & np.isnan(value), 0.0, distance)
        ulps = distance / spacing(np.where(np.isfinite(value), value, 0.0), format)
    measured = replace(
        measurement,
        error_ratio=float(np.max(ratio, initial=0.0)),
        max_ulp=_largest_finite(ulps),
        max_abs=_largest_finite(distance),
        rms=together.rms if together else None,
        bias=together.bias if together else None,
    )
    if ratio.size:
        index = np.unravel_index(np.argmax(ratio), ratio.shape)
        worst = Worst(
            _element(index, result.ndim), repr(float(value[index])), repr(float(got[index])), repr(float(error[index]))
        )
        measured = replace(measured, worst=worst)
    return Comparison(_problem(got, value, ratio, opposite) or (together.problem if together else ""), measured)


def opposite_zeros(got: Float64, reference: Reference) -> Bools:
    """Where a result is a zero whose sign is implied, and has the other one; `got` holds the result's components."""
    value = to_float64(reference.value)
    return reference.signed & (got == 0) & (value == 0) & (np.signbit(got) != np.signbit(value))


def _problem(got: Float64, value: Float64, ratio: Float64, opposite: Bools) -> str:
    """The first kind of difference that there is: where NaN stands, where infinities stand, values, signs of zeros."""
    wrong = (ratio > 1) & ~opposite
    nan = wrong & (np.isnan(got) != np.isnan(value))
    infinite = wrong & (np.isinf(got) != np.isinf(value)) & ~nan
    found = {
        "are NaN on one side only": nan,
        "are infinite on one side only": infinite,
        "are outside the error bound": wrong,
        "are zeros of the other sign": opposite,
    }
    return next((f"{int(at.sum())} of {ratio.size} values {what}" for what, at in found.items() if np.any(at)), "")


def error_ratio(got: Float64, value: Array | DoubleDouble, error: Float64, precision: Precision) -> Float64:
    """Per element, the smallest error before output rounding that explains `got`, over the bound `error`.

    NaN explains NaN alone; where the reference is infinite only that infinity is right; where the bound is infinite
    anything is.  An element whose bound is 0 has ratio 0 or inf.
    """
    y = to_float64(value)
    with np.errstate(all="ignore"):
        below, above = _reach(got, precision)
        difference = _difference(value, got)
        needed = np.maximum(0.0, np.maximum(difference - above, -difference - below))
        # An infinite result is explained by anything that rounds to it
        limit = precision.storage.max + (0.0 if precision.truncates else _spacing_at_max(precision.storage) / 2)
        needed = np.where(np.isinf(got), np.maximum(0.0, limit - np.copysign(1.0, got) * y), needed)
        ratio = np.where(needed == 0, 0.0, needed / error)
        # At a tie between two neighbours a zero bound still allows only the one that rounding chooses
        if not precision.truncates and not precision.flushes:
            ratio = np.where((error == 0) & (got != round_to(y, precision.storage)), np.inf, ratio)
        ratio = np.where(np.isinf(y), np.where(got == y, 0.0, np.inf), ratio)
        ratio = np.where(np.isnan(y) | np.isnan(got), np.where(np.isnan(y) & np.isnan(got), 0.0, np.inf), ratio)
    return np.where(np.isinf(error), 0.0, ratio)


def _spacing_at_max(format: Format) -> float:
    return 2.0 ** (format.emax - format.precision + 1)


def _difference(value: Array | DoubleDouble, got: Float64) -> Float64:
    """Reference minus result, without cancelling the reference's extra digits."""
    if isinstance(value, DoubleDouble):
        return (value.hi - got) + value.lo
    return value - got


def _reach(got: Float64, precision: Precision) -> tuple[Float64, Float64]:
    """How far below and above a result the numbers lie that round to it: half the gap to either neighbour."""
    format = precision.storage
    gap = spacing(got, format)
    toward_zero = np.where(np.abs(np.frexp(got)[0]) == 0.5, np.maximum(gap / 2, format.smallest), gap)
    share = 1.0 if precision.truncates else 0.5
    below = share * np.where(got > 0, toward_zero, gap)
    above = share * np.where(got < 0, toward_zero, gap)
    if precision.flushes:
        below, above = (np.where(got == 0, format.tiny, reach) for reach in (below, above))
    return below, above


def _largest_finite(values: Float64) -> float | None:
    finite = values[np.isfinite(values)]
    return float(np.max(finite)) if finite.size else (0.0 if not values.size else None)


def _element(index: tuple[np.intp, ...], ndim: int) -> tuple[int, ...]:
    """Index of the array's element (a component's last axis dropped)."""
    return tuple(int(i) for i in index[:ndim])
