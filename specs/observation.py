"""Whether what a check came to is what a recorded deviation says is observed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from specs.bound import Reference, rounded
from specs.case import AttentionConfig, Config, DTypeName, EinsumConfig
from specs.check import Check
from specs.comparison import compare, components, error_ratio, opposite_zeros
from specs.deviation import ALONE, Observed
from specs.equation import ELLIPSIS, parse
from specs.formats import DTYPES, FORMATS, Array, dtype_name, round_to, spacing
from specs.precision import STEPS, Precision, declared


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
    if observed.shape:
        return outcome.shape != expected.shape
    if observed.dtype == expected.dtype.name or dtype_name(outcome.dtype) != (observed.dtype or expected.dtype.name):
        return False
    if observed.dtype and not observed.model_fields_set & ALONE:
        return not compare(outcome, _of_dtype(observed.dtype, observed, check, expected, reevaluate)).problem
    if observed.implicit_output:
        return not compare(outcome, reevaluate(config=_restated(check.case.config, observed))).problem
    if outcome.shape != expected.shape:
        return False
    if observed.result is not None:
        return np.array_equal(outcome, np.array(observed.result))
    if observed.computed_in:
        return _is_rounded(outcome, _computed_in(observed.computed_in, observed, check, expected, reevaluate))
    if expected.precision is None:
        return False
    if observed.value == "zero_signs":
        unsigned = not compare(outcome, replace(expected, signed=False)).problem
        return unsigned and bool(np.any(opposite_zeros(components(outcome), expected)))
    if observed.value:
        ratio = error_ratio(components(outcome), expected.value, _error(expected), expected.precision)
        wrong = components(outcome)[ratio > 1]
        return bool(wrong.size) and bool(np.all(np.isnan(wrong) if observed.value == "nan" else wrong == 0))
    return not compare(outcome, _read_otherwise(observed, check, expected.precision, reevaluate)).problem


def _read_otherwise(
    observed: Observed, check: Check, precision: Precision, reevaluate: Callable[..., Reference]
) -> Reference:
    """The reference of the case as the framework seems to have read it, for its precision but for what is observed."""
    config = _restated(check.case.config, observed)
    return reevaluate(precision=precision.but(**observed.precision or {}), config=config)


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


def _of_dtype(
    name: DTypeName, observed: Observed, check: Check, expected: Reference, reevaluate: Callable[..., Reference]
) -> Reference:
    """The reference of a result whose dtype is not the case's: nothing is computed more coarsely than that holds."""
    if isinstance(check.case.config, EinsumConfig):
        return _computed_in(name, observed, check, expected, reevaluate)
    assert expected.precision is not None
    dtype = DTYPES[name]
    assert dtype.format is not None
    own = expected.precision
    coarser = {step: name for step in STEPS if getattr(own, step).precision > dtype.format.precision}
    found = _read_otherwise(observed, check, own.but(**coarser), reevaluate)
    assert found.precision is not None
    return replace(found, dtype=dtype, precision=replace(found.precision, storage=dtype.format))


def _computed_in(
    name: str, observed: Observed, check: Check, expected: Reference, reevaluate: Callable[..., Reference]
) -> Reference:
    """The reference of a contraction whose operands are converted to another dtype, and whose result has that."""
    config = _restated(check.case.config, observed)
    assert isinstance(config, EinsumConfig)
    operands = [*map(str, config.operand_dtypes or ())] or [check.dtype] * config.operand_count
    said = {"operand_dtypes": operands, "dtypes": [name], "asks_for_dtype": True, "expect": None}
    flushes = expected.precision is not None and expected.precision.flushes
    precision = declared(DTYPES[name], flushes=flushes) if DTYPES[name].inexact else None
    return reevaluate(config=config.model_copy(update=said), precision=precision, dtype=name)


def _is_rounded(outcome: Array, found: Reference) -> bool:
    """Whether integers are within the bound of a floating result, as far as their dtype holds that."""
    range_, y = np.iinfo(outcome.dtype), rounded(found.value)
    error = _error(found) + spacing(y, FORMATS[found.dtype.name])
    held = (y - error >= range_.min) & (y + error <= range_.max)
    return bool(np.all(~held | (np.abs(outcome.astype(np.float64) - y) <= error)))


def _error(expected: Reference) -> Array:
    return np.broadcast_to(np.asarray(expected.error), rounded(expected.value).shape)
