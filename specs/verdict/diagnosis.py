"""A likely cause of a wrong result: a factor, or the mildest loss of precision, under which it would be right.

Frameworks trade precision for speed in a few well-known ways.  If a result is outside its own bound but inside the
bound of one of them, the reason may name that loss; this is a hint for the reader and changes no verdict.  A wide bound
explains almost anything, so a loss is named only where the errors look like it:

* They are spread: the result would be wrong without its larger half of errors too.
* They are no multiple of the result, or of what a scale within the computation changes.
* They are as large as the format makes them, which those of the next finer format are not.
* Where sums are rounded, they go up as often as down: a scale that is about as large as the spacing of the format makes
  errors of about the same size, but in one direction.
* Where operands are rounded, they follow the errors that rounding, or cutting off, these operands makes.

A factor is named where it alone makes every element right, and many elements are wrong without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from specs.arithmetic.double_double import to_float64
from specs.arithmetic.formats import FLOAT32, FORMATS, Array, Float64, Format, components, round_to, spacing
from specs.reference.reference import Reference
from specs.verdict.comparison import compare, error_ratio
from specs.verdict.execution import same_bits

# From mild to severe, as changes of the declared precision
LOSSES: Mapping[str, Mapping[str, str]] = {
    "arithmetic in float32": {"multiply": "float32", "accumulate": "float32", "softmax": "float32"},
    "operands rounded to TF32": {"multiply": "tf32"},
    "operands rounded to bfloat16": {"multiply": "bfloat16"},
    "sums in float16": {"accumulate": "float16"},
    "sums in bfloat16": {"accumulate": "bfloat16"},
}
LEAST_ELEMENTS = 4  # that differ from their reference: fewer look like anything
LEAST_SIZE = 0.15  # of errors, in standard deviations of those that a loss makes
MAX_BOUND = 0.25  # of the largest value: a wider bound would explain any result
PROPORTIONAL = 0.9  # of the squared errors: so much of rounding is no multiple of the result
ALIKE = 0.6  # correlation with the errors of rounded operands; weights and intermediates are rounded besides
BIASED = 4.0  # standard deviations of the factor that is nearest to errors without any
NEXT_FORMAT = 8**0.5  # half way, in powers of 2, from one format of operands to the next, which has 3 bits less

# From the operands' values to those of another reference: an operand is converted before anything is computed
Converted = Callable[[Callable[[Array], Array]], Float64]


def diagnose(outcome: Array, expected: Reference, reevaluate: Callable[..., Reference], converted: Converted) -> str:
    """The end of a reason, such as `; consistent with operands rounded to TF32`, or an empty string.

    `reevaluate(precision=...)` returns the reference under another declared precision, `converted(convert)` the value
    of the reference where each operand is converted before.
    """
    declared = expected.precision
    if declared is None or outcome.shape != expected.shape or outcome.dtype != expected.dtype.numpy:
        return ""
    errors = _Errors.of(outcome, expected)
    if errors.size.size < LEAST_ELEMENTS:
        return ""
    if (factor := errors.factor()) is not None:
        return f"; as if scaled by {factor:.12g}"
    if not _are_spread(outcome, expected, errors) or errors.are_proportional():
        return ""
    for loss, formats in LOSSES.items():
        if not all(FORMATS[name].precision < getattr(declared, step).precision for step, name in formats.items()):
            continue
        lossy = reevaluate(precision=declared.replace(**formats))
        if not _is_tight(lossy) or all(compare(outcome, x).problem for x in (lossy, _truncate_operands(lossy))):
            continue
        if loss == "arithmetic in float32":
            alike = same_bits(outcome, narrow(outcome, FLOAT32, cut=False))
        elif "multiply" in formats:
            alike = errors.follow(FORMATS[formats["multiply"]], converted)
        else:
            is_stored = formats["accumulate"] == declared.storage.name
            alike = is_stored and errors.relative_to(lossy) >= LEAST_SIZE and not errors.are_biased()
        if alike:
            return f"; consistent with {loss}"
    return ""


@dataclass(frozen=True)
class _Errors:
    """The errors of those components of a result that are finite and whose reference is not 0.

    used    mask of these
    size    result minus value
    limit   the largest error of correct arithmetic, rounding of the output included
    """

    expected: Reference
    used: Array
    size: Float64
    value: Float64
    limit: Float64

    @classmethod
    def of(cls, outcome: Array, expected: Reference) -> _Errors:
        assert expected.error is not None
        assert expected.precision is not None
        got, value = components(outcome), to_float64(expected.value)
        error = np.broadcast_to(expected.error, value.shape)
        used = np.isfinite(got) & np.isfinite(value) & np.isfinite(error) & (value != 0)
        y = value[used]
        fraction = 1.0 if expected.precision.truncates else 0.5
        return cls(expected, used, got[used] - y, y, error[used] + fraction * spacing(y, expected.precision.storage))

    def factor(self) -> float | None:
        """The factor that explains all of them, where it is certain: most would be wrong without it."""
        weight = 1 / np.maximum(self.limit, np.finfo(float).tiny) ** 2
        share = self._projection(self.value, weight)
        shift = share * self.value
        explained = np.abs(self.size - shift) <= (1 + abs(share)) * 2 * self.limit
        evident = np.count_nonzero(np.abs(shift) > 8 * self.limit)
        if share == -1 or not explained.all() or evident < max(LEAST_ELEMENTS, self.size.size / 2):
            return None
        return 1 + float(f"{share:.3g}")

    def are_proportional(self) -> bool:
        """Whether they are mostly a multiple of the result, or of its derivative by a scale within."""
        weight = 1 / np.maximum(np.abs(self.value), np.max(np.abs(self.value)) * 1e-3) ** 2
        directions = [self.value, np.ones_like(self.value)]
        if self.expected.direction is not None:
            directions.append(np.broadcast_to(self.expected.direction, self.used.shape)[self.used])
        total = float(np.sum(self.size**2 * weight))
        for direction in directions:
            rest = self.size - self._projection(direction, weight) * direction
            if np.sum(rest**2 * weight) < (1 - PROPORTIONAL) * total:
                return True
        return False

    def are_biased(self) -> bool:
        """Whether a multiple of the result, or of its derivative by a scale within, stands out of all together."""
        weight = 1 / np.maximum(self.limit, np.finfo(float).tiny) ** 2
        directions = [self.value]
        if self.expected.direction is not None:
            directions.append(np.broadcast_to(self.expected.direction, self.used.shape)[self.used])
        for direction in directions:
            rest = self.size - (share := self._projection(direction, weight)) * direction
            variance = float(np.mean(rest**2 * weight)) / float(np.sum(direction**2 * weight) or np.inf)
            if abs(share) > BIASED * variance**0.5:
                return True
        return False

    def _without_scale(self, errors: Float64) -> Float64:
        """What no multiple of the result explains."""
        total = float(np.sum(self.value**2))
        return errors - float(np.sum(errors * self.value)) / total * self.value if total > 0 else errors

    def _projection(self, direction: Float64, weight: Float64) -> float:
        """The factor of `direction` that is nearest to the errors."""
        information = float(np.sum(direction**2 * weight))
        return float(np.sum(self.size * direction * weight)) / information if information > 0 else 0.0

    def relative_to(self, lossy: Reference) -> float:
        """Their root mean square, in standard deviations of those that the arithmetic of `lossy` makes."""
        assert lossy.error is not None
        assert lossy.precision is not None
        shape, ulp = self.used.shape, spacing(self.value, lossy.precision.storage)
        if lossy.deviation is None:
            deviation = np.broadcast_to(lossy.error, shape)[self.used] / 8
        else:
            deviation = np.broadcast_to(lossy.deviation, shape)[self.used]
        return float(np.sqrt(np.mean(self.size**2 / (deviation**2 + ulp**2 / 12))))

    def follow(self, format: Format, converted: Converted) -> bool:
        """Whether they are like the errors of operands that are rounded to the format, or cut off.

        Operands that are cut off make all results smaller, as a scale does; what that leaves must be alike too.
        """
        for cut in (False, True):
            predicted = converted(partial(narrow, format=format, cut=cut))[self.used] - self.value
            own, other = float(np.linalg.norm(self.size)), float(np.linalg.norm(predicted))
            if (
                other / NEXT_FORMAT <= own <= other * NEXT_FORMAT
                and _are_alike(self.size, predicted)
                and _are_alike(self._without_scale(self.size), self._without_scale(predicted))
            ):
                return True
        return False


def _are_alike(one: Float64, other: Float64) -> bool:
    """Whether two lists of errors are correlated."""
    return float(np.sum(one * other)) >= ALIKE * float(np.linalg.norm(one)) * float(np.linalg.norm(other)) > 0


def narrow(array: Array, format: Format, cut: bool) -> Array:
    """A floating or complex array with its numbers rounded to the format, to nearest or by cutting off digits."""
    numbers = components(array)
    if cut:
        rounded = np.where(numbers < 0, round_to(numbers, format, "up"), round_to(numbers, format, "down"))
    else:
        rounded = round_to(numbers, format)
    return _from_components(rounded, array.dtype)


def _from_components(numbers: Float64, dtype: np.dtype) -> Array:
    if dtype.kind == "c":
        return (numbers[..., 0] + 1j * numbers[..., 1]).astype(dtype)
    return numbers.astype(dtype)


def _are_spread(outcome: Array, expected: Reference, errors: _Errors) -> bool:
    """Whether the result would be wrong without its larger half of errors too."""
    assert expected.error is not None
    assert expected.precision is not None
    numbers, value = components(outcome), to_float64(expected.value)
    ratio = error_ratio(numbers, expected.value, np.broadcast_to(expected.error, value.shape), expected.precision)
    right = round_to(value, expected.precision.storage)
    larger = (ratio > np.median(ratio[errors.used])) | ~errors.used
    return bool(compare(_from_components(np.where(larger, right, numbers), outcome.dtype), expected).problem)


def _truncate_operands(nearest: Reference) -> Reference:
    """The reference for operands that are truncated instead of rounded to nearest: a loss of half an ulp on average.

    All results share this bias: the two operands together change a result as a wrong scale would, and an inner scale.
    """
    precision, deviation = nearest.precision, nearest.deviation
    assert precision is not None
    if deviation is None or nearest.error is None or nearest.shared is None:
        return nearest
    size = np.abs(to_float64(nearest.value))
    if nearest.direction is not None:
        size = size + np.abs(nearest.direction)
    bias = 2 * precision.u_m * size
    return replace(nearest, error=nearest.error + bias, shared=nearest.shared + bias)


def _is_tight(reference: Reference) -> bool:
    return reference.error is not None and bool(np.median(reference.error) <= MAX_BOUND * _largest(reference))


def _largest(reference: Reference) -> float:
    return float(np.max(np.abs(to_float64(reference.value)), initial=0.0))
