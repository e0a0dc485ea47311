"""Weak checks: checks that prove little when they pass, because almost any result would pass.

A check is weak where each of its results is, including those on designed inputs.  A result is weak where

* more than three quarters of the right values are 0, which a computation that does nothing often returns, unless the
  signs of zeros are compared, or nothing is summed; where an equation takes a diagonal, the zeros of its gradient off
  the diagonal do not count, because they are always there;
* more than half of the numbers have a bound that is at least as wide as the value itself, or none;
* more than half of the queries give all their weight to one key, although they see several: the softmax of the scores
  is then hardly tested.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from specs.arithmetic.double_double import to_float64
from specs.reference.reference import Reference

MOSTLY, HALF = 0.75, 0.5


def find_weakness(references: Iterable[Reference]) -> str | None:
    """Why a check with these references is weak (the reason for the first of them); None where one of them is not."""
    first = None
    for reference in references:
        reason = find_result_weakness(reference)
        if reason is None:
            return None
        first = first or reason
    return first


def find_result_weakness(reference: Reference) -> str | None:
    """Why one result is weak, or None; a result without elements is not."""
    value = to_float64(reference.value) if reference.error is not None else np.asarray(reference.value)
    if not value.size:
        return None
    nothing_summed = reference.facts.get("terms") == 0
    zeros = 1 - _fraction(value != 0) / reference.facts.get("on_diagonal", 1.0)
    if not reference.signed and not nothing_summed and zeros > MOSTLY:
        return f"{zeros:.0%} of the right values are 0"
    if reference.error is not None:
        wide = np.isfinite(value) & (np.broadcast_to(reference.error, value.shape) >= np.abs(value)) & (value != 0)
        if (loose := _fraction(wide)) > HALF:
            return f"the bound of {loose:.0%} of the values is as wide as the value"
    if (saturated := reference.facts.get("saturated", 0.0)) > HALF:
        return f"{saturated:.0%} of the queries give all their weight to one of several keys"
    return None


def _fraction(mask: npt.NDArray[np.bool_]) -> float:
    return float(np.count_nonzero(mask) / mask.size)
