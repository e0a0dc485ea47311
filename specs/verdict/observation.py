"""Whether the outcome of a check is the observation that a deviation records."""

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
from specs.verdict.deviation import STEPS, Observation


def is_observed(
    observed: Observation,
    check: Check,
    outcome: Array | Exception,
    expected: Reference | None,
    reevaluate: Callable[..., Reference],
) -> bool:
    """Whether the outcome of a check is as `observed` describes it.

    `expected` is None for a case that must be refused.  `reevaluate(precision=..., config=..., dtype=...)` returns the
    reference under another declared precision, for another config of the case, or for a result of another dtype.
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
        converted = _reference_in_dtype(observed.computed_in, check.case.config, check, expected, reevaluate)
        return _is_rounded(outcome, converted)
    reading = _reference_as_observed(observed, check, expected, reevaluate)
    if observed.value:
        return outcome.shape == reading.shape and _wrong_values_are(observed.value, outcome, reading)
    return not compare(outcome, reading).problem


def _wrong_values_are(value: str, outcome: Array, expected: Reference) -> bool:
    """Whether there are wrong elements, and all of them are NaN, or zero, or a zero of the other sign."""
    if expected.precision is None:
        return False
    if value == "zero_signs":
        right_but_for_signs = not compare(outcome, replace(expected, signed=False)).problem
        return right_but_for_signs and bool(np.any(opposite_zeros(components(outcome), expected)))
    ratio = error_ratio(components(outcome), expected.value, _error(expected), expected.precision)
    wrong = components(outcome)[ratio > 1]
    return bool(wrong.size) and bool(np.all(np.isnan(wrong) if value == "nan" else wrong == 0))


def _reference_as_observed(
    observed: Observation, check: Check, expected: Reference, reevaluate: Callable[..., Reference]
) -> Reference:
    """The reference of the case as the framework seems to have interpreted it.

    A result of another dtype must be right for that dtype: no step may be coarser than its format.
    """
    config, precision = _config_as_observed(check.case.config, observed), expected.precision
    if observed.dtype is None:
        return reevaluate(precision=precision and precision.replace(**observed.precision or {}), config=config)
    if isinstance(config, EinsumConfig):
        return _reference_in_dtype(observed.dtype, config, check, expected, reevaluate)
    dtype = DTYPES[observed.dtype]
    assert precision is not None
    assert dtype.format is not None
    coarser = {step: dtype.format.name for step in STEPS if getattr(precision, step).precision > dtype.format.precision}
    reference = reevaluate(precision=precision.replace(**coarser | (observed.precision or {})), config=config)
    assert reference.precision is not None
    return replace(reference, dtype=dtype, precision=replace(reference.precision, storage=dtype.format))


def _config_as_observed(config: Config, observed: Observation) -> Config:
    """The config of the case as the framework seems to have interpreted it."""
    names = ("fully_masked", "causal", "masked_values")
    changes = {name: getattr(observed, name) for name in names if getattr(observed, name)}
    if observed.scale_rounded_to and isinstance(config, AttentionConfig):
        changes["scale"] = float(round_to(config.score_scale, FORMATS[observed.scale_rounded_to]))
    if observed.implicit_output and isinstance(config, EinsumConfig):
        terms, _ = parse(config.equation)
        counts = Counter(label for term in terms for label in term)
        unique = "".join(label for label, count in counts.items() if count == 1 and label != ELLIPSIS)
        changes["equation"] = f"{config.equation}->{ELLIPSIS if ELLIPSIS in counts else ''}{unique}"
    return config.model_copy(update=changes)


def _reference_in_dtype(
    name: str, config: Config, check: Check, expected: Reference, reevaluate: Callable[..., Reference]
) -> Reference:
    """The reference of a contraction whose operands are converted to another dtype, which the result has too."""
    assert isinstance(config, EinsumConfig)
    operands = [*map(str, config.operand_dtypes or ())] or [check.dtype] * config.operand_count
    changes = {"operand_dtypes": operands, "dtypes": [name], "asks_for_dtype": True, "expect": None}
    flushes = expected.precision is not None and expected.precision.flushes
    precision = declared_precision(DTYPES[name], flushes=flushes) if DTYPES[name].inexact else None
    return reevaluate(config=config.model_copy(update=changes), precision=precision, dtype=name)


def _is_rounded(outcome: Array, expected: Reference) -> bool:
    """Whether integers are within the bound of a floating-point result, where it lies in the range of their dtype."""
    limits, y = np.iinfo(outcome.dtype), to_float64(expected.value)
    error = _error(expected) + spacing(y, FORMATS[expected.dtype.name])
    representable = (y - error >= limits.min) & (y + error <= limits.max)
    return bool(np.all(~representable | (np.abs(outcome.astype(np.float64) - y) <= error)))


def _error(expected: Reference) -> Array:
    return np.broadcast_to(np.asarray(expected.error), to_float64(expected.value).shape)
