"""Designed inputs of gradients: small integers, and scores that give all weight of a query to one pair of its keys.

Random numbers make every step of a gradient inexact, so its bound must allow roundings that add up to some percent in
16 bits, and a factor of 1.02 hides among them.  Here nearly every step is a number that the dtype holds: the right
results are exact whatever the order, the blocks or the form, and the bound, which knows what is stored without an error
(`specs.bound.rounding.storage_error`), is narrow.

weights   Two neighbouring keys are a pair, counted from the first or from the last key.  Scores fall from pair to pair,
          or rise, by `STEP` or more: all weight is on the first or the last pair that a query sees, as 1/2 of each key,
          or 1 where one of them is hidden.  Two features of a key hold the number of its pair, from either end, so that
          the score of a pair at that end is 0.  Where there is no room for them, all scores are 0.
products  The other features are odd integers of nearly all digits in the query alone or in the keys alone, so that they
          change no score.  In every second one they are alike, and in half of the heads the cotangent of a query is
          that of an earlier one with the opposite sign: gradients are then differences of large products, of which a
          sum in 16 bits loses the last digits.
dP        Values and cotangent are -3 ... 3, hence dP, delta and dS small integers, halves and quarters.  For some
          queries that single out the last pair, a first feature adds one large number to all dP, which leaves dS as it
          is, unless dP is stored in the dtype.

Biases, relative positions, sinks and random masks are 0.
"""

from __future__ import annotations

import math

import numpy as np

from specs.arithmetic.formats import DTYPES, FLOAT32, Array, Bools, DType, Float64, cast
from specs.case.attention import AttentionConfig
from specs.case.case import Case
from specs.case.equation import Shape
from specs.case.layout import to_layout
from specs.case.operands import logits_of, terms_of
from specs.inputs.designed import applicable_recipes
from specs.inputs.random_numbers import Stream

STEP = 24.0  # of scores between pairs: exp(-step) is negligible in float32
DIGITS = 9  # of other features at most, so that no product with dS overflows float16
SMALL = 3  # largest value and cotangent
LARGEST_ANGLE = 0.5  # by which rotary positions may turn the numbers of pairs
HIDDEN_DIGITS = 3  # of dP, beyond those that the dtype holds, in heads with a large first feature


def applies(case: Case, dtype_name: str) -> bool:
    """Whether gradients are also checked with these inputs: in 16 bits, if results are with designed ones."""
    c, dtype = case.config, DTYPES[dtype_name]
    narrow = dtype.format is not None and dtype.format.precision < FLOAT32.precision
    return narrow and isinstance(c, AttentionConfig) and c.kv_len > 0 and bool(applicable_recipes(case, dtype_name))


def fill(stream: str, c: AttentionConfig, arrays: dict[str, Array], dtype: DType) -> None:
    """Replace the operands of a case, of which masks and lengths are final."""
    for name in (*terms_of(c), *logits_of(c), "relative_keys", "relative_values"):
        if name in arrays:
            arrays[name] = np.zeros_like(arrays[name])
    if c.mask is not None and c.mask.type == "additive" and c.mask.fill is None:
        arrays["mask"] = np.zeros_like(arrays["mask"])
    past, numbers, last = c.past or 0, _number_features(c, dtype), _selects_last(c)
    query = np.zeros((c.batch, c.num_heads, c.q_len, c.head_dim))
    key = np.zeros((c.batch, c.num_kv_heads, c.kv_len, c.head_dim))
    if numbers:
        pair, unit = np.arange(c.kv_len) // 2, math.copysign(_step(c), c.score_scale)
        key[..., numbers] = np.stack([pair, -pair[::-1]], axis=-1)
        query[..., numbers[0]], query[..., numbers[1]] = np.where(last, 0.0, -unit), np.where(last, unit, 0.0)
    of_query, of_keys = _parted_features(c, numbers)
    query[..., of_query] = _odd(stream, "query", query[..., of_query].shape, dtype)
    key[..., of_keys] = _odd(stream, "key", key[..., of_keys].shape, dtype)
    value = Stream(stream, "value", "pairs").integers(-SMALL, SMALL, (*key.shape[:-1], c.value_dim))
    if _has_large(c):
        value[..., 0] = _large(dtype)[0]
    arrays["query"] = cast(to_layout(c, query), dtype)
    for name, tensor in (("key", key), ("value", value)):
        arrays[name] = cast(to_layout(c, tensor[:, :, past:]), dtype)
        if c.past is not None:
            arrays[f"past_{name}"] = cast(to_layout(c, tensor[:, :, :past]), dtype)


def cotangent(stream: str, c: AttentionConfig, dtype: DType) -> Float64:
    """The cotangent of a case with these operands, in its layout."""
    shape = (c.batch, c.num_heads, c.q_len, c.value_dim)
    d_output = Stream(stream, "cotangent", "pairs").integers(-SMALL, SMALL, shape)
    batch, head, query = np.indices(shape[:-1], sparse=True)
    opposite = ((head if c.num_heads > 1 else batch) % 2 == 1) & (query % 4 >= 2)
    earlier = np.maximum(np.arange(c.q_len) - 2, 0)
    d_output = np.where(opposite[..., None], -d_output[:, :, earlier], d_output)
    if _has_large(c):
        d_output[..., 0] = np.where(_has_large_rows(c), _large(dtype)[1], 0.0)
    return np.asarray(to_layout(c, d_output))


# Scores ---------------------------------------------------------------------------------------------------------------


def _step(c: AttentionConfig) -> float:
    """The step between the unscaled scores of neighbouring pairs: a power of two."""
    return float(2.0 ** math.ceil(math.log2(STEP / abs(c.score_scale))))


def _selects_last(c: AttentionConfig) -> Bools:
    """Which queries single out the last pair instead of the first, in a form that broadcasts to bhq.

    The sums over heads and batch items, as of the gradient of a bias, are of queries of one kind.
    """
    batch, head, query = np.indices((c.batch, c.num_heads, c.q_len), sparse=True)
    shared = head * c.num_kv_heads // c.num_heads
    return (query if c.q_len > 1 else shared if c.num_kv_heads > 1 else batch) % 2 == 1


def _number_features(c: AttentionConfig, dtype: DType) -> list[int]:
    """The two features that hold the numbers of a pair; empty where all scores must be 0.

    Rotary positions leave them nearly as they are where they turn them least: the numbers at either end are 0 anyway.
    """
    assert dtype.format is not None
    pairs, (free, turned) = (c.kv_len + 1) // 2, _features(c)
    if not c.score_scale or not math.isfinite(c.score_scale):
        return []
    if pairs > 2**dtype.format.precision or _step(c) * pairs > dtype.format.max / 4:
        return []
    if len(free) >= 3:
        return free[:2]
    if c.rotary is None or len(turned) + len(free) < 3 or len(turned) < 2:
        return []
    angle = max(c.kv_len, c.q_len + c.query_offset) * c.rotary.base ** (-2.0 * (len(turned) - 2) / c.rotary_dims)
    return turned[-2:] if angle < LARGEST_ANGLE else []


def _features(c: AttentionConfig) -> tuple[list[int], list[int]]:
    """Features that rotary positions leave alone, and the first of each pair that they turn."""
    if c.rotary is None:
        return list(range(c.head_dim)), []
    turned = range(0, c.rotary_dims, 2) if c.rotary.pairing == "interleaved" else range(c.rotary_dims // 2)
    return list(range(c.rotary_dims, c.head_dim)), list(turned)


def _parted_features(c: AttentionConfig, used: list[int]) -> tuple[list[int], list[int]]:
    """Features that only the query has, and those that only keys have: of a rotary pair, one at most."""
    free, turned = _features(c)
    rest = [feature for feature in (*turned[::-1], *free) if feature not in used]
    return rest[1::2], rest[::2]


# Values ---------------------------------------------------------------------------------------------------------------


def _odd(stream: str, name: str, shape: Shape, dtype: DType) -> Float64:
    """Odd integers with fewer digits than the dtype has: of either sign; in every second feature large and positive."""
    assert dtype.format is not None
    own, digits = Stream(stream, name, "pairs"), min(dtype.format.precision - 1, DIGITS)
    numbers = 2 * own.integers(0, 2 ** (digits - 1) - 1, shape) + 1
    signed = numbers * (2 * own.integers(0, 1, shape) - 1)
    return np.where(np.arange(shape[-1]) % 2, 2.0 ** (digits - 1) + numbers // 4 * 2 + 1, signed)


def _large(dtype: DType) -> tuple[float, float]:
    """First features of values and cotangent, powers of two: their product ends beyond the digits of small integers."""
    assert dtype.format is not None
    exponent = dtype.format.precision + HIDDEN_DIGITS
    return 2.0 ** (exponent // 2), 2.0 ** (exponent - exponent // 2)


def _has_large(c: AttentionConfig) -> bool:
    """Whether dP is large in some rows: beside a further logit, whose dP is 0, dS would be too."""
    return c.value_dim > 1 and not logits_of(c)


def _has_large_rows(c: AttentionConfig) -> Bools:
    """Which rows have a large dP, in a form that broadcasts to bhq: where it can be, not in each head or item."""
    batch, head, _ = np.indices((c.batch, c.num_heads, c.q_len), sparse=True)
    shared = head * c.num_kv_heads // c.num_heads
    part = shared if c.num_kv_heads > 1 else batch if c.batch > 1 else np.ones((1, 1, 1), int)
    return _selects_last(c) & (part % 2 == 1)
