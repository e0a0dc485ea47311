"""Whether what a check came to is what a recorded deviation says is observed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from specs.bound import Reference, rounded
from specs.case import AttentionConfig, Config
from specs.check import Check
from specs.comparison import compare, components, error_ratio, opposite_zeros
from specs.deviation import Observed
from specs.formats import FORMATS, Array, dtype_name, round_to


def shows(
    observed: Observed,
    check: Check,
    outcome: Array | Exception,
    expected: Reference | None,
    reevaluate: Callable[..., Reference],
) -> bool:
    """Whether the outcome of a check is what `observed` says.

    `expected` is None for a case that must be refused.  `reevaluate(precision=..., config=...)` gives the reference
    under another declared precision or for another statement of the case.
    """
    if isinstance(outcome, Exception):
        if observed.error is None or expected is None:
            return False
        return observed.error is True or observed.error in f"{type(outcome).__name__}: {outcome}"
    if observed.accepts:
        return expected is None
    if observed.error or expected is None:
        return False
    if observed.dtype:
        return dtype_name(outcome.dtype) == observed.dtype and observed.dtype != check.dtype
    if outcome.shape != expected.shape or outcome.dtype != expected.dtype.numpy or expected.precision is None:
        return False
    if observed.value == "zero_signs":
        unsigned = not compare(outcome, replace(expected, signed=False)).problem
        return unsigned and bool(np.any(opposite_zeros(components(outcome), expected)))
    if observed.value:
        ratio = error_ratio(components(outcome), expected.value, _error(expected), expected.precision)
        wrong = components(outcome)[ratio > 1]
        return bool(wrong.size) and bool(np.all(np.isnan(wrong) if observed.value == "nan" else wrong == 0))
    other = reevaluate(
        precision=expected.precision.but(**observed.precision or {}), config=_restated(check.case.config, observed)
    )
    return not compare(outcome, other).problem


def _restated(config: Config, observed: Observed) -> Config:
    """The case as the framework seems to have read it."""
    said = {name: getattr(observed, name) for name in ("fully_masked", "causal") if getattr(observed, name)}
    if observed.scale_rounded_to and isinstance(config, AttentionConfig):
        said["scale"] = float(round_to(config.score_scale, FORMATS[observed.scale_rounded_to]))
    return config.model_copy(update=said)


def _error(expected: Reference) -> Array:
    return np.broadcast_to(np.asarray(expected.error), rounded(expected.value).shape)
