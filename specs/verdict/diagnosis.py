"""A likely cause of a wrong result: the mildest loss of precision under which it would be right.

Frameworks trade precision for speed in a few well-known ways.  If a result is outside its own bound but inside the
bound of one of them, the reason names that loss; this is a hint for the reader and changes no verdict.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from specs.arithmetic.double_double import to_float64
from specs.arithmetic.formats import FORMATS, Array
from specs.reference.reference import Reference
from specs.verdict.comparison import compare

# From mild to severe, as changes of the declared precision
LOSSES = {
    "arithmetic in float32": {"multiply": "float32", "accumulate": "float32", "softmax": "float32"},
    "operands rounded to TF32": {"multiply": "tf32"},
    "operands rounded to bfloat16": {"multiply": "bfloat16"},
    "sums in float16": {"accumulate": "float16"},
    "sums in bfloat16": {"accumulate": "bfloat16"},
}
LEAST_ERROR = 1 / 32  # of a loss's unit roundoff, relative to the largest value: smaller errors have another cause
LIKELY = 0.75  # of a loss's bound: only one error in millions comes closer to it, unless the true loss is more severe
MAX_BOUND = 0.25  # of the largest value: a wider bound would explain any result


def diagnose(outcome: Array, expected: Reference, reevaluate: Callable[..., Reference]) -> str:
    """The end of a reason, such as `; consistent with operands rounded to TF32`, or an empty string.

    `reevaluate(precision=...)` returns the reference under another declared precision.
    """
    declared = expected.precision
    if declared is None or outcome.shape != expected.shape or outcome.dtype != expected.dtype.numpy:
        return ""
    ratios: dict[str, float] = {}  # of the losses that explain the result
    for loss, formats in LOSSES.items():
        if not all(FORMATS[name].precision < getattr(declared, step).precision for step, name in formats.items()):
            continue
        lossy = reevaluate(precision=declared.replace(**formats))
        if not _is_tight(lossy):
            continue
        comparison = compare(outcome, lossy)
        unit_roundoff = max(FORMATS[name].unit_roundoff for name in formats.values())
        if (comparison.measurement.max_abs or 0.0) < LEAST_ERROR * unit_roundoff * _largest(lossy):
            continue
        comparisons = (comparison, compare(outcome, _truncate_operands(lossy)))
        passing = [comparison.measurement for comparison in comparisons if not comparison.problem]
        if passing:
            ratios[loss] = min(measurement.error_ratio or 0.0 for measurement in passing)
    likely = next((loss for loss, ratio in ratios.items() if ratio <= LIKELY), next(iter(ratios), None))
    return f"; consistent with {likely}" if likely else ""


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
