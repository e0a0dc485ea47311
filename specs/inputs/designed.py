"""Designed inputs that reveal a class of faults, whatever the case computes.

Random numbers reveal most faults, but some only faintly: one key too many among hundreds, or operands rounded to eight
bits where the bound of the sum is as wide.  A case with normal data is therefore also checked with those of these
recipes that apply to it:

exact   einsum.  One operand holds odd integers with as many bits as the dtype and the sum have room for, the others
        hold 1 and -1.  No partial sum of any order needs rounding, so a right result is the rounded exact one, bit for
        bit, and any lost bit of the operand changes it.
ramp    attention.  Scores rise or fall so steeply from key to key that all weight is on the last or the first key that
        a query may see: a mask, window or length that is off by one returns the value of another key.
equal   attention.  Every score is 0 before bias and mask, and values are 1 or -1: a lost or leaked key has the same
        weight as any other.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

import numpy as np

from specs.arithmetic.formats import DTYPES, FLOAT32, Array, DType, Float64
from specs.case.attention import AttentionConfig
from specs.case.case import Case
from specs.case.einsum import EinsumConfig
from specs.case.equation import Contraction, Shape, bind
from specs.case.error import CaseError
from specs.case.layout import to_layout
from specs.case.operands import LITERAL
from specs.case.score_functions import functions_of
from specs.case.shapes import attention_output_shape, attention_shapes, einsum_shapes
from specs.inputs.random_numbers import Stream

STEP, WIDE_STEP = 24.0, 48.0  # of scores on a ramp: exp(-step) is negligible in float32, or in float64
DIGIT = 32  # base of positions that are written in two digits, which all formats hold, if keys have two features


def applicable_recipes(case: Case, dtype_name: str) -> tuple[str, ...]:
    """The designed recipes that a case is checked with besides its own data; raises CaseError if it has no meaning."""
    config, dtype = case.config, DTYPES[dtype_name]
    if config.data != "normal" or config.probe or config.expected_error or not dtype.inexact:
        return ()
    if "shared" in config.memory_kinds:
        return ()  # no operand has values of its own
    if isinstance(config, EinsumConfig):
        return ("exact",) if config.operands is None and _count_digits(config, dtype) > 0 else ()
    literal = any(getattr(config, name) is not None for name in LITERAL)
    if literal or not all(attention_output_shape(config)):
        return ()
    reasons = {"ramp": _why_no_ramp(config, dtype), "equal": _why_not_equal(config)}
    return tuple(recipe for recipe, reason in reasons.items() if reason is None)


@lru_cache(maxsize=64)  # operands and references are cached by case, and cases are compared by identity
def with_recipe(case: Case, recipe: str) -> Case:
    """The same case with the recipe as its data."""
    return replace(case, config=case.config.model_copy(update={"data": recipe}))


# Einsum -----------------------------------------------------------------------------------------------------------


def exact(case: Case, dtype: DType) -> dict[str, Array]:
    """Operand name → values; case and dtype decide which operand has the wide integers."""
    config = case.config
    assert isinstance(config, EinsumConfig)
    digits = _count_digits(config, dtype)
    if digits <= 0:
        raise CaseError("dtype", f"{config.equation!r} has no sums of {dtype.name} that are exact in every order")
    shapes = einsum_shapes(config)
    wide = int(Stream(case.rng_key, dtype.name, "wide").integers(0, len(shapes) - 1, ()))
    arrays: dict[str, Array] = {}
    for index, (name, shape) in enumerate(shapes.items()):
        operand_digits = digits if index == wide else 1
        values: Array = _odd(Stream(case.rng_key, name, "exact", "real"), shape, operand_digits)
        if dtype.kind == "complex":
            values = values + 1j * _odd(Stream(case.rng_key, name, "exact", "imag"), shape, operand_digits)
        # Scaled to at most 2, so that a narrower format rounds instead of overflowing
        arrays[name] = values * 2.0 ** (1 - operand_digits)
    return arrays


def _odd(stream: Stream, shape: Shape, digits: int) -> Float64:
    """Odd integers of this many bits, of either sign; 1 and -1 for one bit."""
    sign = 2 * stream.integers(0, 1, shape) - 1
    return sign * (2 * stream.integers(0, 2 ** (digits - 1) - 1, shape) + 1)


def _contraction(config: EinsumConfig) -> Contraction:
    return bind(config.equation, list(einsum_shapes(config).values()))


def _carry_digits(contraction: Contraction, dtype: DType) -> int:
    """Bits that a sum of all terms may need beyond those of one term; complex products are sums themselves."""
    complex_products = 2 * len(contraction.operands) - 1 if dtype.kind == "complex" else 0
    return math.ceil(math.log2(contraction.length)) + complex_products


def _count_digits(config: EinsumConfig, dtype: DType) -> int:
    """Bits of the wide integers with which no order rounds; 0 where there are none, or where values are only copied."""
    contraction, format = _contraction(config), dtype.format
    assert format is not None
    nothing = contraction.length == 0 or 0 in contraction.output_shape
    if nothing or config.operand_dtypes or (len(contraction.operands) == 1 and not contraction.summed_labels):
        return 0
    # Two operands are summed in the accumulator; more have stored intermediates
    room = format if len(contraction.operands) > 2 or format.precision > FLOAT32.precision else FLOAT32
    return max(0, min(format.precision, room.precision - _carry_digits(contraction, dtype)))


# Attention --------------------------------------------------------------------------------------------------------


def attention(stream: str, config: AttentionConfig, name: str, dtype: DType) -> Float64 | None:
    """Values of a designed operand, in its layout; None where the recipe leaves it random.

    Raises CaseError where the recipe does not apply to the case.
    """
    if config.data == "ramp":
        if reason := _why_no_ramp(config, dtype):
            raise CaseError("syntax", f"data ramp: {reason}")
        return _ramp(config, name, dtype)
    if config.data == "equal":
        if reason := _why_not_equal(config):
            raise CaseError("syntax", f"data equal: {reason}")
        if name == "query":
            return np.zeros(attention_shapes(config)[name])
        if name in ("value", "past_value"):
            return 2 * Stream(stream, name, "equal").integers(0, 1, attention_shapes(config)[name]) - 1
    return None


def _why_not_equal(config: AttentionConfig) -> str | None:
    return "projections turn a query of zeros into another" if config.projections else None


def _why_no_ramp(config: AttentionConfig, dtype: DType) -> str | None:
    """Why scores cannot rise from key to key, or None."""
    assert dtype.format is not None
    changing = [name for name in ("projections", "relative", "rotary") if getattr(config, name) is not None]
    changing += [function.field for function in functions_of(config)]
    if changing:
        return f"scores with {changing[0]} are not those of its keys alone"
    if config.kv_len < 2 or not config.score_scale or not math.isfinite(config.score_scale):
        return "scores of one key, or without a scale, do not differ"
    if config.head_dim == 1 and config.kv_len > 2**dtype.format.precision:
        return f"{dtype.name} holds no {config.kv_len} positions in one feature"
    if _unit_score(config, dtype) * config.kv_len > dtype.format.max / 4:
        return f"products of so many keys are more than {dtype.name} holds"
    return None


def _unit_score(config: AttentionConfig, dtype: DType) -> float:
    """The step between the unscaled scores of neighbouring keys: a power of two."""
    assert dtype.format is not None
    step = STEP if dtype.format.precision <= FLOAT32.precision else WIDE_STEP
    return 2.0 ** math.ceil(math.log2(step / abs(config.score_scale)))


def _ramp(config: AttentionConfig, name: str, dtype: DType) -> Float64 | None:
    """Query or keys: the last key wins where batch item + head + query is even, the first where it is odd."""
    c, digits = config, 1 if config.head_dim == 1 else 2
    if name == "query":
        parity = np.indices((c.batch, c.num_heads, c.q_len)).sum(axis=0) % 2
        array = np.zeros((*parity.shape, c.head_dim))
        unit = math.copysign(_unit_score(config, dtype), c.score_scale)
        for feature in range(digits):
            array[..., feature] = np.where(parity, -unit, unit) * DIGIT**feature
    elif name in ("key", "past_key"):
        past = c.past or 0
        positions = np.arange(past) if name == "past_key" else np.arange(past, c.kv_len)
        array = np.zeros((c.batch, c.num_kv_heads, len(positions), c.head_dim))
        array[..., 0] = positions if digits == 1 else positions % DIGIT
        if digits == 2:
            array[..., 1] = positions // DIGIT
    else:
        return None
    return np.asarray(to_layout(c, array))
