"""Reference attention, written as the formula reads, in float64 or double-double.

    q, k, v = projections of the inputs                       (or the inputs themselves)
    q, k    = turned by their positions                       if rotary
    k, v    = past keys, k;  past values, v                   if past, along the sequence
    scores  = scale * q (k + a_keys)^T + bias                 grouped heads: query head h reads kv head h // group
              or scale * (q (k + a_keys)^T + bias)            if bias_at products
    scores  = softcap * tanh(scores / softcap)                if softcap
    scores  = scores + additive mask;  -inf where a key is not allowed
    weights = softmax(scores)                                 over the keys, and over a sink's logit if there is one
    output  = weights (v + a_values)                          then merged heads are projected

A value that is not finite follows IEEE arithmetic: w * inf = inf, inf - inf and 0 * inf are NaN; where its key is
masked it counts for nothing, or as 0 times it (`masked_values`).  A score that is not finite makes NaN of its row,
unless it is -inf beside others.

Inside, tensors are (batch, heads, sequence, features), whatever the case's layout.  Sources: Vaswani et al. 2017;
Shaw et al. 2018 (relative positions); Su et al. 2021 (rotary); Ainslie et al. 2023 (grouped queries); Xiao et al. 2023
and OpenAI's gpt-oss (sinks: a learned logit in the denominator alone).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from specs.arithmetic.double_double import concat, ignore_float_errors, to_float64, where
from specs.arithmetic.elementary import exp, tanh
from specs.arithmetic.formats import Array, Bools, DType
from specs.arithmetic.matrix_product import matmul
from specs.case.attention import AttentionConfig
from specs.case.layout import to_heads, to_layout
from specs.case.semantics import reject_heads
from specs.case.visibility import allowed_keys
from specs.reference.working_precision import high

Real = Any  # float64 array or DoubleDouble


@dataclass(frozen=True)
class Attention:
    """Every intermediate of one attention; shapes over (b)atch, (h)eads, (q)ueries, (k)eys, (d)im.

    A query without any allowed key has `scores` of 0 and equal weights where the case holds the mean to be right;
    otherwise weights of zero, which make its output zero.
    """

    query: Real  # bhqd, projected and turned
    keys: Real  # bhkd, past and new, or bhqkd with relative keys
    values: Real  # bhkd, past and new, or bhqkd with relative values
    raw: Real  # bhqk, scaled products
    biased: Real  # bhqk, plus bias (plus the scaled bias, if it is added to the products)
    capped: Real  # bhqk, after softcap
    scores: Real  # bhqk, after the additive mask; meaningful where allowed
    allowed: Bools  # bhqk
    weights: Real  # bhqk
    heads: Real  # bhqd, the weighted values, times the scale if it applies to the weights
    output: Real  # in the case's layout


@ignore_float_errors
def attention(config: AttentionConfig, operands: Mapping[str, Array], dtype: DType) -> Attention:
    """Evaluate the formula on operands of `dtype`; raises CaseError where the configuration has no meaning."""
    reject_heads(config)
    given = {
        name: array if array.dtype in (np.bool_, np.int32) else high(array, dtype) for name, array in operands.items()
    }
    group = config.num_heads // config.num_kv_heads
    query = turned(config, given, projected(config, given, "query"), config.query_offset)
    key = turned(config, given, projected(config, given, "key"), config.past or 0)
    keys = repeated(with_past(config, given, "key", key), group)
    values = repeated(with_past(config, given, "value", projected(config, given, "value")), group)
    if "relative_keys" in given:
        keys = _with_relative(keys, given["relative_keys"])
    if "relative_values" in given:
        values = _with_relative(values, given["relative_values"])

    raw = products(query, keys) * config.score_scale
    biased = raw
    if "bias" in given:
        biased = raw + (given["bias"] * config.score_scale if config.bias_at == "products" else given["bias"])
    capped = tanh(biased / config.softcap) * config.softcap if config.softcap else biased
    additive = config.mask is not None and config.mask.type == "additive"
    scores = capped + given["mask"] if additive else capped
    allowed = np.broadcast_to(allowed_keys(config, operands), scores.shape)

    fully_masked: str = config.fully_masked  # no case holds it right that such a row is unmasked, but it is observed
    if fully_masked in ("mean", "unmasked"):
        nothing = ~allowed.any(axis=-1, keepdims=True)
        allowed, scores = allowed | nothing, where(nothing, 0.0 if fully_masked == "mean" else capped, scores)
    weights = softmax(scores, allowed, given["sink"].reshape((-1, 1, 1)) if config.sink else None)
    heads = weighted(weights, values, allowed if config.masked_values == "ignored" else None)
    if config.scale_at == "weights":
        heads = heads * config.scale
    if config.fully_masked == "nan":
        heads = where(allowed.any(axis=-1, keepdims=True), heads, np.nan)
    output = to_layout(config, heads)
    if config.projections and config.projections.output:
        output = _linear(config, output, given["output_weight"], given["output_bias"])
    return Attention(query, keys, values, raw, biased, capped, scores, allowed, weights, heads, output)


def softmax(scores: Real, allowed: Bools, sink: Real | None = None) -> Real:
    """Over the last axis, with each row's own maximum subtracted; keys that are not allowed weigh 0.

    `sink` broadcasts to (..., 1): a logit that takes part in the sum, and whose own weight is left out.
    """
    masked = where(allowed, scores, -np.inf)
    some = allowed.any(axis=-1, keepdims=True)
    if sink is not None:
        beside = sink + np.zeros(some.shape)
        masked, some = concat([masked, beside], axis=-1), np.ones(some.shape, bool)
    if masked.shape[-1] == 0:
        return scores
    shifted = masked - where(some, masked.max(axis=-1, keepdims=True), 0.0)
    numerator = exp(shifted)
    total = numerator.sum(axis=-1, keepdims=True)
    weights = numerator / where(some, total, 1.0)
    return where(allowed, weights[..., : scores.shape[-1]], 0.0)


def products(query: Real, keys: Real) -> Real:
    """query . key for every pair: bhqk."""
    if keys.ndim == query.ndim:
        return matmul(query, keys.swapaxes(-1, -2))
    return matmul(keys, query.reshape((*query.shape, 1)))[..., 0]


def weighted(weights: Real, values: Real, seen: Bools | None = None) -> Real:
    """Sum over keys of weight times value: bhqd.

    Values that are not finite count where their key is `seen` (bhqk, None: everywhere), and for nothing elsewhere.
    """
    finite = np.isfinite(to_float64(values))
    if not finite.all():
        apart = np.where(finite, 0.0, to_float64(values))
        if apart.ndim == weights.ndim:
            apart, finite = apart[:, :, None], finite[:, :, None]
        counts = ~finite if seen is None else ~finite & seen[..., None]
        infinite = np.where(counts, to_float64(weights)[..., None] * apart, 0.0).sum(axis=-2)
        return weighted(weights, where(np.isfinite(to_float64(values)), values, 0.0)) + infinite
    if values.ndim == weights.ndim:
        return matmul(weights, values)
    rows = weights.reshape((*weights.shape[:-1], 1, weights.shape[-1]))
    return matmul(rows, values)[..., 0, :]


# Positions and cache ----------------------------------------------------------------------------------------------


def turned(config: AttentionConfig, given: Mapping[str, Real], tensor: Real, first: int) -> Real:
    """Rotary positions from `first` on, applied to bhsd: (x1, x2) -> (x1 cos - x2 sin, x2 cos + x1 sin)."""
    if config.rotary is None:
        return tensor
    at = slice(first, first + tensor.shape[-2])
    cos, sin = given["rotary_cos"][at], given["rotary_sin"][at]
    one, two = rotary_pairs(config)
    x1, x2 = tensor[..., one], tensor[..., two]
    parts = [x1 * cos - x2 * sin, x2 * cos + x1 * sin, tensor[..., config.rotary_dims :]]
    back = np.argsort(np.concatenate([one, two, np.arange(config.rotary_dims, config.head_dim)]))
    return concat(parts, axis=-1)[..., back]


def rotary_pairs(config: AttentionConfig) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Indices of the features that turn together: the first of each pair, and the second."""
    features = np.arange(config.rotary_dims)
    assert config.rotary is not None
    if config.rotary.pairing == "interleaved":
        return features[::2], features[1::2]
    return features[: len(features) // 2], features[len(features) // 2 :]


def with_past(config: AttentionConfig, given: Mapping[str, Real], name: str, tensor: Real) -> Real:
    """Keys or values, bhsd, behind those that come from a cache."""
    if config.past is None:
        return tensor
    return concat([to_heads(config, given[f"past_{name}"], config.num_kv_heads), tensor], axis=-2)


# Layouts and projections ------------------------------------------------------------------------------------------


def projected(config: AttentionConfig, given: Mapping[str, Real], name: str) -> Real:
    """Query, key or value of the attention itself, bhsd with its own number of heads."""
    tensor = given["input"] if config.self_attention else given[name]
    heads = config.num_heads if name == "query" else config.num_kv_heads
    if config.projections is None:
        return to_heads(config, tensor, heads)
    weight, bias = given[f"{name}_weight"], given.get(f"{name}_bias")
    if config.projections.kind == "linear":
        return to_heads(config, _linear(config, tensor, weight, bias), heads)
    product = matmul(to_heads(config, tensor, heads), weight)
    return product if bias is None else product + bias.reshape((*bias.shape[:-1], 1, bias.shape[-1]))


def _linear(config: AttentionConfig, tensor: Real, weight: Real, bias: Real | None) -> Real:
    """x W^T + b on the last axis, or W x + b on columns."""
    if config.layout == "ds":
        product = matmul(weight, tensor)
        return product if bias is None else product + bias.reshape((-1, 1))
    product = matmul(tensor, weight.swapaxes(-1, -2))
    return product if bias is None else product + bias


def repeated(tensor: Real, group: int) -> Real:
    """Each key/value head serves `group` consecutive query heads."""
    return tensor if group == 1 else tensor[:, np.repeat(np.arange(tensor.shape[1]), group)]


def _with_relative(tensor: Real, relative: Real) -> Real:
    """bhkd plus a vector for each (query, key) pair and head: bhqkd.  `relative` is qkhd."""
    batch, heads, length, features = tensor.shape
    return tensor.reshape((batch, heads, 1, length, features)) + relative.transpose((2, 0, 1, 3))
