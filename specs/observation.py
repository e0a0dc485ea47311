"""Whether what a check came to is what a recorded deviation says is observed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from specs.bound import Reference, rounded
from specs.case import AttentionConfig, Config, EinsumConfig
from specs.check import Check
from specs.comparison import compare, components, error_ratio, opposite_zeros
from specs.deviation import FormatName, Observed
from specs.equation import ELLIPSIS, parse
from specs.formats import DTYPES, FORMATS, Array, dtype_name, round_to, spacing
from specs.precision import declared


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
        return dtype_name(outcome.dtype) == observed.dtype != expected.dtype.name
    if observed.shape:
        return outcome.shape != expected.shape
    if observed.implicit_output:
        return not compare(outcome, reevaluate(config=_restated(check.case.config, observed))).problem
    if outcome.shape != expected.shape or outcome.dtype != expected.dtype.numpy:
        return False
    if observed.result is not None:
        return np.array_equal(outcome, np.array(observed.result))
    if observed.computed_in:
        return _is_rounded(outcome, _computed_in(observed.computed_in, check, reevaluate))
    if expected.precision is None:
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
    restated = ("fully_masked", "causal", "masked_values")
    said = {name: getattr(observed, name) for name in restated if getattr(observed, name)}
    if observed.scale_rounded_to and isinstance(config, AttentionConfig):
        said["scale"] = float(round_to(config.score_scale, FORMATS[observed.scale_rounded_to]))
    if observed.implicit_output and isinstance(config, EinsumConfig):
        terms, _ = parse(config.equation)
        count = Counter(label for term in terms for label in term)
        once = "".join(label for label, times in count.items() if times == 1 and label != ELLIPSIS)
        said["equation"] = f"{config.equation}->{ELLIPSIS if ELLIPSIS in count else ''}{once}"
    return config.model_copy(update=said)


def _computed_in(format: FormatName, check: Check, reevaluate: Callable[..., Reference]) -> Reference:
    """The reference of a contraction of integers whose result has a floating format."""
    config = check.case.config
    assert isinstance(config, EinsumConfig)
    operands = [*map(str, config.operand_dtypes or ())] or [check.dtype] * config.operand_count
    said = {"operand_dtypes": operands, "dtypes": [format], "asks_for_dtype": True, "expect": None}
    return reevaluate(config=config.model_copy(update=said), precision=declared(DTYPES[format]), dtype=format)


def _is_rounded(outcome: Array, found: Reference) -> bool:
    """Whether integers are within the bound of a floating result, as far as their dtype holds that."""
    range_, y = np.iinfo(outcome.dtype), rounded(found.value)
    error = _error(found) + spacing(y, FORMATS[found.dtype.name])
    held = (y - error >= range_.min) & (y + error <= range_.max)
    return bool(np.all(~held | (np.abs(outcome.astype(np.float64) - y) <= error)))


def _error(expected: Reference) -> Array:
    return np.broadcast_to(np.asarray(expected.error), rounded(expected.value).shape)
