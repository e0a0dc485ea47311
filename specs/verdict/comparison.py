"""Compare one result with its reference: shape, dtype, non-finite pattern, then every value against its bound.

A result is right where some error within the bound E explains it after the output has been rounded:
    RN(y - E) <= result <= RN(y + E)
with RN the rounding to the output's format (outward where hardware truncates), so overflow, subnormal results and pure
copies (E = 0: the same bits) need no special case.  The error ratio of an element is the smallest error that explains
it, divided by E; that of a result is the largest of these: 0 if it is correctly rounded, at most 1 if it is right.

Even where every element is right on its own, the errors of all elements together may be larger than chance allows; the
result is then wrong (`specs.verdict.aggregate`).

Zeros of either sign are equal, except where elements are only copied (`Reference.signed`: one operand, nothing summed):
there the sign must be preserved like every other bit.  In a sum the sign depends on the initial value of the
accumulator, for -0 + -0 is -0 and 0 + -0 is 0, and IEEE arithmetic does not specify that value.  The sign of a product
follows from its factors, but is not required either: a kernel that adds it to an accumulator of 0, as np.einsum does
and every matrix product may, computes the same contraction.
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
from specs.verdict.record import Measurement, WorstElement


@dataclass(frozen=True)
class Comparison:
    """The outcome of a comparison; `problem` is empty where the result is right."""

    problem: str
    measurement: Measurement


def compare(result: Array, reference: Reference) -> Comparison:
    """Compare a backend's result with the reference.  No content of `result` makes it raise."""
    dtype = DTYPES.get(dtype_name(result.dtype))
    numbers = components(result) if dtype and dtype.inexact else np.zeros(0)
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
        problem = f"dtype is {dtype_name(result.dtype)}, expected {reference.dtype.name}"
        return Comparison(problem, measurement)
    if reference.error is None or reference.precision is None:
        return _compare_exact(result, reference, measurement)
    return _compare_inexact(numbers, reference, reference.error, reference.precision, measurement)


def digest(result: Array) -> str:
    """Hash of the result's bits: equal digests mean equal results, with -0.0 and NaN payloads distinguished."""
    return hashlib.sha256(np.ascontiguousarray(result).tobytes()).hexdigest()[:16]


def _describe(reference: Reference) -> dict[str, object]:
    precision = reference.precision.as_json() if reference.precision else "exact"
    return {"precision": precision, **reference.facts}


def _compare_exact(result: Array, reference: Reference, measurement: Measurement) -> Comparison:
    expected = np.asarray(reference.value)
    wrong = result != expected
    if result.dtype == np.bool_ and (strange := np.count_nonzero(np.ascontiguousarray(result).view(np.uint8) > 1)):
        return Comparison(f"{strange} of {result.size} values are stored as neither 0 nor 1", measurement)
    if not np.any(wrong):
        return Comparison("", replace(measurement, error_ratio=0.0, max_ulp=0.0, max_abs=0.0))
    index = tuple(int(i) for i in np.unravel_index(np.argmax(wrong), wrong.shape))
    worst = WorstElement(index, str(expected[index]), str(result[index]), "0")
    difference = float(np.max(np.abs(result.astype(np.float64) - expected.astype(np.float64))))
    measurement = replace(measurement, error_ratio=np.inf, max_abs=difference, worst=worst)
    return Comparison(f"{int(wrong.sum())} of {wrong.size} exact values differ", measurement)


def _compare_inexact(
    got: Float64, reference: Reference, error: Float64, precision: Precision, measurement: Measurement
) -> Comparison:
    """Compare the components of a result of the right shape and dtype."""
    format = precision.storage
    error = np.broadcast_to(error, got.shape)
    value = to_float64(reference.value)
    ratio = error_ratio(got, reference.value, error, precision)
    opposite = opposite_zeros(got, reference)
    if reference.signed:
        ratio = np.where(opposite, np.inf, ratio)
    with np.errstate(all="ignore"):
        difference = _difference(reference.value, got)
        aggregated = aggregate(difference, got, reference)
        # The distance of an infinite result that is right is 0
        distance = np.where(got == round_to(value, format), 0.0, np.abs(difference))
        distance = np.where(np.isnan(got) & np.isnan(value), 0.0, distance)
        ulps = distance / spacing(np.where(np.isfinite(value), value, 0.0), format)
    measurement = replace(
        measurement,
        error_ratio=float(ratio.max(initial=0.0)),
        max_ulp=_largest_finite(ulps),
        max_abs=_largest_finite(distance),
        rms=aggregated.rms if aggregated else None,
        bias=aggregated.bias if aggregated else None,
        worst=_worst_element(got, value, error, ratio, len(reference.shape)),
    )
    problem = _first_problem(got, value, ratio, opposite) or (aggregated.problem if aggregated else "")
    return Comparison(problem, measurement)


def _worst_element(got: Float64, value: Float64, error: Float64, ratio: Float64, rank: int) -> WorstElement | None:
    """The element with the largest ratio, of a result with `rank` axes; None if there is no element."""
    if not ratio.size:
        return None
    index = tuple(map(int, np.unravel_index(ratio.argmax(), ratio.shape)))
    expected, found, bound = (repr(float(numbers[index])) for numbers in (value, got, error))
    return WorstElement(index[:rank], expected, found, bound)  # without the trailing axis of complex components


def opposite_zeros(got: Float64, reference: Reference) -> Bools:
    """Mask of the elements that are a zero of the wrong sign where the sign is implied; `got` holds the components."""
    if not reference.signed:
        return np.zeros(got.shape, bool)
    value = to_float64(reference.value)
    return (got == 0) & (value == 0) & (np.signbit(got) != np.signbit(value))


def _first_problem(got: Float64, value: Float64, ratio: Float64, opposite: Bools) -> str:
    """The first kind of difference that occurs: positions of NaN, positions of infinities, values, signs of zeros."""
    too_large = ratio > 1
    if not too_large.any():
        return ""
    wrong = too_large & ~opposite
    nan = wrong & (np.isnan(got) != np.isnan(value))
    infinite = wrong & (np.isinf(got) != np.isinf(value)) & ~nan
    masks = {
        "are NaN on one side only": nan,
        "are infinite on one side only": infinite,
        "are outside the error bound": wrong,
        "are zeros of the other sign": opposite,
    }
    return next(
        (f"{int(mask.sum())} of {ratio.size} values {kind}" for kind, mask in masks.items() if np.any(mask)), ""
    )


def error_ratio(got: Float64, value: Array | DoubleDouble, error: Float64, precision: Precision) -> Float64:
    """Per element, the smallest error before output rounding that explains `got`, divided by the bound `error`.

    NaN matches only NaN; where the reference is infinite, only that infinity is right; where the bound is infinite,
    everything is.  An element whose bound is 0 has ratio 0 or inf.
    """
    y = to_float64(value)
    with np.errstate(all="ignore"):
        below, above = _reach(got, precision)
        difference = _difference(value, got)
        needed = np.maximum(0.0, np.maximum(difference - above, -difference - below))
        are_finite = bool((np.isfinite(got) & np.isfinite(y)).all())
        if not are_finite:  # an infinite result is explained by every value that rounds to it
            limit = precision.storage.max + (0.0 if precision.truncates else _spacing_at_max(precision.storage) / 2)
            needed = np.where(np.isinf(got), np.maximum(0.0, limit - np.copysign(1.0, got) * y), needed)
        ratio = np.where(needed == 0, 0.0, needed / error)
        # At a tie between two neighbours a zero bound allows only the one that rounding to nearest even chooses
        is_exact = error == 0
        if is_exact.any() and not precision.truncates and not precision.flushes:
            ratio = np.where(is_exact & (got != round_to(y, precision.storage)), np.inf, ratio)
        if not are_finite:
            ratio = np.where(np.isinf(y), np.where(got == y, 0.0, np.inf), ratio)
            ratio = np.where(np.isnan(y) | np.isnan(got), np.where(np.isnan(y) & np.isnan(got), 0.0, np.inf), ratio)
    return np.where(np.isinf(error), 0.0, ratio)


def _spacing_at_max(format: Format) -> float:
    return 2.0 ** (format.emax - format.precision + 1)


def _difference(value: Array | DoubleDouble, got: Float64) -> Float64:
    """Reference minus result, without losing the reference's extra digits."""
    if isinstance(value, DoubleDouble):
        return (value.hi - got) + value.lo
    return value - got


def _reach(got: Float64, precision: Precision) -> tuple[Float64, Float64]:
    """Distances below and above a result within which numbers round to it: half the gap to either neighbour."""
    format = precision.storage
    gap = spacing(got, format)
    toward_zero = np.where(np.abs(np.frexp(got)[0]) == 0.5, np.maximum(gap / 2, format.smallest), gap)
    fraction = 1.0 if precision.truncates else 0.5
    below = fraction * np.where(got > 0, toward_zero, gap)
    above = fraction * np.where(got < 0, toward_zero, gap)
    if precision.flushes:
        below, above = (np.where(got == 0, format.tiny, reach) for reach in (below, above))
    return below, above


def _largest_finite(values: Float64) -> float | None:
    finite = values[np.isfinite(values)]
    return float(finite.max()) if finite.size else (0.0 if not values.size else None)
