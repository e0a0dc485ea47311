"""When a check proves little although it passes: almost any result would have passed, too.

A check is weak where each of its results is, those on designed inputs included:

* more than three quarters of the right values are 0, which is what a computation that does nothing often returns,
  unless the signs of zeros are compared, or there is nothing to sum; the zeros of a gradient off the diagonal that an
  equation takes count for nothing, for they are what such a gradient is;
* more than half of the numbers have a bound as wide as the value itself, or none;
* more than half of the queries give all their weight to one key, although they see several: what the softmax does with
  scores is then hardly tested.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from specs.arithmetic.double_double import to_float64
from specs.reference.reference import Reference

MOSTLY, HALF = 0.75, 0.5


def weakness(references: Iterable[Reference]) -> str | None:
    """Why a check with these expected results proves little, told of the first; None where one of them proves more."""
    told = [weak(reference) for reference in references]
    return told[0] if told and all(told) else None


def weak(reference: Reference) -> str | None:
    """Why one result proves little, or None; a result without elements proves what it can."""
    value = to_float64(reference.value) if reference.error is not None else np.asarray(reference.value)
    if not value.size:
        return None
    nothing_summed = reference.facts.get("terms") == 0
    share = 1 - _share(value != 0) / reference.facts.get("on_diagonal", 1.0)
    if not reference.signed and not nothing_summed and share > MOSTLY:
        return f"{share:.0%} of the right values are 0"
    if reference.error is not None:
        wide = np.isfinite(value) & (np.broadcast_to(reference.error, value.shape) >= np.abs(value)) & (value != 0)
        if (share := _share(wide)) > HALF:
            return f"the bound of {share:.0%} of the values is as wide as the value"
    if (share := reference.facts.get("saturated", 0.0)) > HALF:
        return f"{share:.0%} of the queries give all their weight to one of several keys"
    return None


def _share(where: npt.NDArray[np.bool_]) -> float:
    return float(np.mean(where))
