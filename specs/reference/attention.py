"""Reference attention: the formula, in float64 or double-double.

    q, k, v = projections of the inputs                       (or the inputs themselves)
    q, k    = rotated by their positions                      if rotary
    k, v    = past keys, k;  past values, v                   if past, along the sequence
    scores  = scale * q (k + a_keys)^T + bias                 grouped heads: query head h reads kv head h // group
              or scale * (q (k + a_keys)^T + bias)            if bias_at products
    scores  = f(scores)                                       for each function that the case has, as a softcap
    scores  = scores + additive mask;  -inf where a key is not allowed
    weights = softmax(scores)                                 over the keys, and over further logits, as a sink's
    output  = weights (v + a_values)                          then merged heads are projected

An infinite or NaN value follows IEEE arithmetic: w * inf = inf, inf - inf and 0 * inf are NaN; where its key is masked
it is ignored, or multiplied by 0 (`masked_values`).  A score that is not finite makes its row NaN, except for -inf
among other scores.

Inside, tensors are (batch, heads, sequence, features), whatever the case's layout.  Sources: Vaswani et al. 2017;
Shaw et al. 2018 (relative positions); Su et al. 2021 (rotary); Ainslie et al. 2023 (grouped queries); Xiao et al. 2023
and OpenAI's gpt-oss (sinks: a learned logit in the denominator only).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from specs.arithmetic import elementary
from specs.arithmetic.double_double import concat, ignore_float_errors, to_float64, where
from specs.arithmetic.elementary import exp
from specs.arithmetic.formats import Array, Bools, DType
from specs.arithmetic.matrix_product import matmul
from specs.case.attention import AttentionConfig
from specs.case.layout import to_heads, to_layout
from specs.case.operands import logits_of, terms_of
from specs.case.score_functions import ScoreFunction, functions_of
from specs.case.semantics import reject_heads
from specs.case.visibility import allowed_keys
from specs.reference.working_precision import to_working_precision

Real = Any  # float64 array or DoubleDouble


@dataclass(frozen=True)
class Applied:
    """A function of the scores, its argument and its value (bhqk), and its parameter (h11; None without)."""

    function: ScoreFunction
    argument: Real
    value: Real
    parameter: Real | None


@dataclass(frozen=True)
class Attention:
    """Every intermediate of one attention; shapes over (b)atch, (h)eads, (q)ueries, (k)eys, (d)im.

    A query without any allowed key has `scores` of 0 and equal weights where the case expects the mean; otherwise
    weights of zero, and so an output of zero.
    """

    query: Real  # bhqd, projected, with rotary positions
    keys: Real  # bhkd, past and new, or bhqkd with relative keys
    values: Real  # bhkd, past and new, or bhqkd with relative values
    raw: Real  # bhqk, scaled products
    biased: Real  # bhqk, plus bias (plus the scaled bias, if it is added to the products)
    functions: tuple[Applied, ...]  # in their order; the first is applied to `biased`
    modified: Real  # bhqk, after the functions
    scores: Real  # bhqk, after the additive mask; meaningful where allowed
    allowed: Bools  # bhqk
    weights: Real  # bhqk
    heads: Real  # bhqd, the weighted values, times the scale if it applies to the weights
    output: Real  # in the case's layout


@ignore_float_errors
def attention(config: AttentionConfig, operands: Mapping[str, Array], dtype: DType) -> Attention:
    """Evaluate the formula on operands of `dtype`; raises CaseError where the configuration has no meaning."""
    reject_heads(config)
    tensors = {
        name: array if array.dtype in (np.bool_, np.int32) else to_working_precision(array, dtype)
        for name, array in operands.items()
    }
    group = config.num_heads // config.num_kv_heads
    query = apply_rotary(config, tensors, project(config, tensors, "query"), config.query_offset)
    key = apply_rotary(config, tensors, project(config, tensors, "key"), config.past or 0)
    keys = repeat_heads(concat_past(config, tensors, "key", key), group)
    values = repeat_heads(concat_past(config, tensors, "value", project(config, tensors, "value")), group)
    if "relative_keys" in tensors:
        keys = _add_relative_positions(keys, tensors["relative_keys"])
    if "relative_values" in tensors:
        values = _add_relative_positions(values, tensors["relative_values"])

    raw = score_products(query, keys) * config.score_scale
    biased = raw
    for name in terms_of(config):
        scaled = name in config.scaled_terms
        biased = biased + (tensors[name] * config.score_scale if scaled else tensors[name])
    functions = apply_functions(config, tensors, biased)
    modified = functions[-1].value if functions else biased
    additive = config.mask is not None and config.mask.type == "additive"
    scores = modified + tensors["mask"] if additive else modified
    allowed = np.broadcast_to(allowed_keys(config, operands), scores.shape)

    fully_masked: str = config.fully_masked  # no case expects such a row to be unmasked, but frameworks do it
    if fully_masked in ("mean", "unmasked"):
        nothing = ~allowed.any(axis=-1, keepdims=True)
        allowed, scores = allowed | nothing, where(nothing, 0.0 if fully_masked == "mean" else modified, scores)
    weights = softmax(scores, allowed, extra_logits(config, tensors))
    heads = weighted_sum(weights, values, allowed if config.masked_values == "ignored" else None)
    if config.scale_at == "weights":
        heads = heads * config.scale
    if config.fully_masked == "nan":
        heads = where(allowed.any(axis=-1, keepdims=True), heads, np.nan)
    output = to_layout(config, heads)
    if config.projections and config.projections.output:
        output = _linear(config, output, tensors["output_weight"], tensors["output_bias"])
    return Attention(query, keys, values, raw, biased, functions, modified, scores, allowed, weights, heads, output)


def apply_functions(config: AttentionConfig, tensors: Mapping[str, Real], scores: Real) -> tuple[Applied, ...]:
    """The functions of the scores, each applied to the value of the one before."""
    applied: list[Applied] = []
    for function in functions_of(config):
        argument = applied[-1].value if applied else scores
        parameter = tensors[function.field].reshape((-1, 1, 1)) if function.field in tensors else None
        value = function.value(config, argument, parameter, elementary)
        applied.append(Applied(function, argument, value, parameter))
    return tuple(applied)


def extra_logits(config: AttentionConfig, tensors: Mapping[str, Real]) -> Real | None:
    """The logits that belong to no key, in the order of their operands: (heads, 1, logits); None without any."""
    columns = [tensors[name].reshape((-1, 1, 1)) for name in logits_of(config)]
    return concat(columns, axis=-1) if columns else None


def softmax(scores: Real, allowed: Bools, logits: Real | None = None) -> Real:
    """Softmax over the last axis, with each row's maximum subtracted; the weight of a key that is not allowed is 0.

    `logits` broadcast to (..., n): they enter the sum, and their own weights are not returned.
    """
    masked = where(allowed, scores, -np.inf)
    has_key = allowed.any(axis=-1, keepdims=True)
    if logits is not None:
        masked, has_key = concat([masked, logits + np.zeros(has_key.shape)], axis=-1), np.ones(has_key.shape, bool)
    if masked.shape[-1] == 0:
        return scores
    shifted = masked - where(has_key, masked.max(axis=-1, keepdims=True), 0.0)
    numerator = exp(shifted)
    total = numerator.sum(axis=-1, keepdims=True)
    weights = numerator / where(has_key, total, 1.0)
    return where(allowed, weights[..., : scores.shape[-1]], 0.0)


def score_products(query: Real, keys: Real) -> Real:
    """query . key for each pair: bhqk."""
    if keys.ndim == query.ndim:
        return matmul(query, keys.swapaxes(-1, -2))
    return matmul(keys, query.reshape((*query.shape, 1)))[..., 0]


def weighted_sum(weights: Real, values: Real, allowed: Bools | None = None) -> Real:
    """Sum over keys of weight times value: bhqd.

    Infinite and NaN values count where their key is `allowed` (bhqk, None: everywhere), and are ignored elsewhere.
    """
    is_finite = np.isfinite(to_float64(values))
    if not is_finite.all():
        nonfinite = np.where(is_finite, 0.0, to_float64(values))
        if nonfinite.ndim == weights.ndim:
            nonfinite, is_finite = nonfinite[:, :, None], is_finite[:, :, None]
        is_counted = ~is_finite if allowed is None else ~is_finite & allowed[..., None]
        nonfinite_sum = np.where(is_counted, to_float64(weights)[..., None] * nonfinite, 0.0).sum(axis=-2)
        return weighted_sum(weights, where(np.isfinite(to_float64(values)), values, 0.0)) + nonfinite_sum
    if values.ndim == weights.ndim:
        return matmul(weights, values)
    rows = weights.reshape((*weights.shape[:-1], 1, weights.shape[-1]))
    return matmul(rows, values)[..., 0, :]


# Positions and cache ----------------------------------------------------------------------------------------------


def apply_rotary(config: AttentionConfig, tensors: Mapping[str, Real], tensor: Real, offset: int) -> Real:
    """Apply rotary positions from `offset` on to bhsd: (x1, x2) -> (x1 cos - x2 sin, x2 cos + x1 sin)."""
    if config.rotary is None:
        return tensor
    positions = slice(offset, offset + tensor.shape[-2])
    cos, sin = tensors["rotary_cos"][positions], tensors["rotary_sin"][positions]
    first_of_pair, second_of_pair = rotary_pairs(config)
    x1, x2 = tensor[..., first_of_pair], tensor[..., second_of_pair]
    parts = [x1 * cos - x2 * sin, x2 * cos + x1 * sin, tensor[..., config.rotary_dims :]]
    order = np.argsort(np.concatenate([first_of_pair, second_of_pair, np.arange(config.rotary_dims, config.head_dim)]))
    return concat(parts, axis=-1)[..., order]


def rotary_pairs(config: AttentionConfig) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Indices of the features that are rotated as pairs: the first of each pair, and the second."""
    features = np.arange(config.rotary_dims)
    assert config.rotary is not None
    if config.rotary.pairing == "interleaved":
        return features[::2], features[1::2]
    return features[: len(features) // 2], features[len(features) // 2 :]


def concat_past(config: AttentionConfig, tensors: Mapping[str, Real], name: str, tensor: Real) -> Real:
    """Keys or values, bhsd, after those from the cache."""
    if config.past is None:
        return tensor
    return concat([to_heads(config, tensors[f"past_{name}"], config.num_kv_heads), tensor], axis=-2)


# Layouts and projections ------------------------------------------------------------------------------------------


def project(config: AttentionConfig, tensors: Mapping[str, Real], name: str) -> Real:
    """Query, key or value after its projection, bhsd with its own number of heads."""
    tensor = tensors["input"] if config.self_attention else tensors[name]
    heads = config.num_heads if name == "query" else config.num_kv_heads
    if config.projections is None:
        return to_heads(config, tensor, heads)
    weight, bias = tensors[f"{name}_weight"], tensors.get(f"{name}_bias")
    if config.projections.kind == "linear":
        return to_heads(config, _linear(config, tensor, weight, bias), heads)
    product = matmul(to_heads(config, tensor, heads), weight)
    return product if bias is None else product + bias.reshape((*bias.shape[:-1], 1, bias.shape[-1]))


def _linear(config: AttentionConfig, tensor: Real, weight: Real, bias: Real | None) -> Real:
    """x W^T + b on the last axis, or W x + b in layout ds."""
    if config.layout == "ds":
        product = matmul(weight, tensor)
        return product if bias is None else product + bias.reshape((-1, 1))
    product = matmul(tensor, weight.swapaxes(-1, -2))
    return product if bias is None else product + bias


def repeat_heads(tensor: Real, group: int) -> Real:
    """Repeat each key/value head for `group` consecutive query heads."""
    return tensor if group == 1 else tensor[:, np.repeat(np.arange(tensor.shape[1]), group)]


def _add_relative_positions(tensor: Real, relative: Real) -> Real:
    """Add to bhkd a vector for each (query, key) pair and head: bhqkd.  `relative` is qkhd."""
    batch, heads, length, features = tensor.shape
    return tensor.reshape((batch, heads, 1, length, features)) + relative.transpose((2, 0, 1, 3))
