"""What a wrong result looks like: the mildest loss of precision that would make it right.

Frameworks trade precision for speed in a few well-known ways.  A result that is outside its bound, and inside the bound
of one of them, says so; that is a hint for people, and changes no verdict.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from specs.arithmetic.double_double import to_float64
from specs.arithmetic.formats import FORMATS, Array
from specs.reference.reference import Reference
from specs.verdict.comparison import compare

# From mild to severe, as what it does to the declared precision
LOSSES = {
    "arithmetic in float32": {"multiply": "float32", "accumulate": "float32", "softmax": "float32"},
    "operands rounded to TF32": {"multiply": "tf32"},
    "operands rounded to bfloat16": {"multiply": "bfloat16"},
    "sums in float16": {"accumulate": "float16"},
    "sums in bfloat16": {"accumulate": "bfloat16"},
}
LEAST_ERROR = 1 / 32  # of a loss's unit roundoff, over the largest value: smaller errors have another cause
LIKELY = 0.75  # of a loss's bound: it leaves room for one error in millions, and a severer loss may need that room
TELLING = 0.25  # a bound wider than this share of the largest value explains whatever was computed


def consistent_with(outcome: Array, expected: Reference, reevaluate: Callable[..., Reference]) -> str:
    """The end of a reason, such as `; consistent with operands rounded to TF32`, or nothing.

    `reevaluate(precision=...)` gives the reference under another declared precision.
    """
    declared = expected.precision
    if declared is None or outcome.shape != expected.shape or outcome.dtype != expected.dtype.numpy:
        return ""
    explained: dict[str, float] = {}
    for loss, formats in LOSSES.items():
        if not all(FORMATS[name].precision < getattr(declared, step).precision for step, name in formats.items()):
            continue
        lossy = reevaluate(precision=declared.replace(**formats))
        if not _is_telling(lossy):
            continue
        found = compare(outcome, lossy)
        unit = max(FORMATS[name].unit_roundoff for name in formats.values())
        if (found.measurement.max_abs or 0.0) < LEAST_ERROR * unit * _largest(lossy):
            continue
        right = [each for each in (found, compare(outcome, _cut_off(lossy))) if not each.problem]
        if right:
            explained[loss] = min(each.measurement.error_ratio or 0.0 for each in right)
    named = next((loss for loss, ratio in explained.items() if ratio <= LIKELY), next(iter(explained), None))
    return f"; consistent with {named}" if named else ""


def _cut_off(nearest: Reference) -> Reference:
    """The same where operands are not rounded to nearest, but cut off, which takes half a unit of each on average.

    That is shared by all results: two operands move a result by its own size and along a scale, as it were.
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


def _is_telling(reference: Reference) -> bool:
    return reference.error is not None and bool(np.median(reference.error) <= TELLING * _largest(reference))


def _largest(reference: Reference) -> float:
    return float(np.max(np.abs(to_float64(reference.value)), initial=0.0))
