"""What a wrong result looks like: the mildest loss of precision that would make it right.

Frameworks trade precision for speed in a few well-known ways.  A result that is outside its bound, and inside the bound
of one of them, says so; that is a hint for people, and changes no verdict.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from specs.bound import Reference, rounded
from specs.comparison import compare
from specs.formats import FORMATS, Array

# From mild to severe, as what it does to the declared precision
LOSSES = {
    "arithmetic in float32": {"multiply": "float32", "accumulate": "float32", "softmax": "float32"},
    "operands rounded to TF32": {"multiply": "tf32"},
    "operands rounded to bfloat16": {"multiply": "bfloat16"},
    "sums in float16": {"accumulate": "float16"},
    "sums in bfloat16": {"accumulate": "bfloat16"},
}
TELLING = 0.25  # a bound wider than this share of the largest value explains whatever was computed


def consistent_with(outcome: Array, expected: Reference, reevaluate: Callable[..., Reference]) -> str:
    """The end of a reason, such as `; consistent with operands rounded to TF32`, or nothing.

    `reevaluate(precision=...)` gives the reference under another declared precision.
    """
    declared = expected.precision
    if declared is None or outcome.shape != expected.shape or outcome.dtype != expected.dtype.numpy:
        return ""
    for loss, formats in LOSSES.items():
        if not all(FORMATS[name].precision < getattr(declared, step).precision for step, name in formats.items()):
            continue
        lossy = reevaluate(precision=declared.but(**formats))
        if _is_telling(lossy) and not compare(outcome, lossy).problem:
            return f"; consistent with {loss}"
    return ""


def _is_telling(reference: Reference) -> bool:
    largest = np.max(np.abs(rounded(reference.value)), initial=0.0)
    return reference.error is not None and bool(np.median(reference.error) <= TELLING * largest)
