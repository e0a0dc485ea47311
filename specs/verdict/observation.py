"""Whether what a check came to is what a recorded deviation says is observed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from specs.arithmetic.double_double import to_float64
from specs.arithmetic.formats import DTYPES, FORMATS, Array, components, dtype_name, round_to, spacing
from specs.arithmetic.precision import declared_precision
from specs.case.attention import AttentionConfig
from specs.case.case import Config
from specs.case.einsum import EinsumConfig
from specs.case.equation import ELLIPSIS, parse
from specs.reference.reference import Reference
from specs.verdict.check import Check
from specs.verdict.comparison import compare, error_ratio, opposite_zeros
from specs.verdict.deviation import STEPS, Observed


def shows(
    observed: Observed,
    check: Check,
    outcome: Array | Exception,
    expected: Reference | None,
    reevaluate: Callable[..., Reference],
) -> bool:
    """Whether the outcome of a check is what `observed` says.

    `expected` is None for a case that must be refused.  `reevaluate(precision=..., config=..., dtype=...)` gives the
    reference under another declared precision, for another statement of the case, or for a result of another dtype.
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
    if observed.result is not None:
        return np.array_equal(outcome, np.array(observed.result))
    if observed.computed_in:
        if outcome.dtype.kind not in "iu" or outcome.shape != expected.shape:
            return False
        return _is_rounded(outcome, _computed_in(observed.computed_in, check.case.config, check, expected, reevaluate))
    right = _as_read(observed, check, expected, reevaluate)
    if observed.value:
        return outcome.shape == right.shape and _stands_for(observed.value, outcome, right)
    return not compare(outcome, right).problem


def _stands_for(value: str, outcome: Array, right: Reference) -> bool:
    """Whether what is wrong is NaN, a zero, or a zero of the other sign, and some number is."""
    if right.precision is None:
        return False
    if value == "zero_signs":
        unsigned = not compare(outcome, replace(right, signed=False)).problem
        return unsigned and bool(np.any(opposite_zeros(components(outcome), right)))
    ratio = error_ratio(components(outcome), right.value, _error(right), right.precision)
    wrong = components(outcome)[ratio > 1]
    return bool(wrong.size) and bool(np.all(np.isnan(wrong) if value == "nan" else wrong == 0))


def _as_read(observed: Observed, check: Check, expected: Reference, reevaluate: Callable[..., Reference]) -> Reference:
    """The reference of the case as the framework seems to have read it.

    A result of another dtype must be right for that: nothing may be computed more coarsely than that holds.
    """
    config, precision = _restated(check.case.config, observed), expected.precision
    if observed.dtype is None:
        return reevaluate(precision=precision and precision.replace(**observed.precision or {}), config=config)
    if isinstance(config, EinsumConfig):
        return _computed_in(observed.dtype, config, check, expected, reevaluate)
    dtype = DTYPES[observed.dtype]
    assert precision is not None
    assert dtype.format is not None
    coarser = {step: dtype.format.name for step in STEPS if getattr(precision, step).precision > dtype.format.precision}
    found = reevaluate(precision=precision.replace(**coarser | (observed.precision or {})), config=config)
    assert found.precision is not None
    return replace(found, dtype=dtype, precision=replace(found.precision, storage=dtype.format))


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


def _computed_in(
    name: str, config: Config, check: Check, expected: Reference, reevaluate: Callable[..., Reference]
) -> Reference:
    """The reference of a contraction whose operands are converted to another dtype, and whose result has that."""
    assert isinstance(config, EinsumConfig)
    operands = [*map(str, config.operand_dtypes or ())] or [check.dtype] * config.operand_count
    said = {"operand_dtypes": operands, "dtypes": [name], "asks_for_dtype": True, "expect": None}
    flushes = expected.precision is not None and expected.precision.flushes
    precision = declared_precision(DTYPES[name], flushes=flushes) if DTYPES[name].inexact else None
    return reevaluate(config=config.model_copy(update=said), precision=precision, dtype=name)


def _is_rounded(outcome: Array, found: Reference) -> bool:
    """Whether integers are within the bound of a floating result, as far as their dtype holds that."""
    range_, y = np.iinfo(outcome.dtype), to_float64(found.value)
    error = _error(found) + spacing(y, FORMATS[found.dtype.name])
    held = (y - error >= range_.min) & (y + error <= range_.max)
    return bool(np.all(~held | (np.abs(outcome.astype(np.float64) - y) <= error)))


def _error(expected: Reference) -> Array:
    return np.broadcast_to(np.asarray(expected.error), to_float64(expected.value).shape)
