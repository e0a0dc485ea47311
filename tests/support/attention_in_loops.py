"""Attention in plain Python loops: the oracle for the backends' attention."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from specs.arithmetic.formats import Array
from specs.case.attention import AttentionConfig


def by_loops(c: AttentionConfig, operands: Mapping[str, Array]) -> Array:
    query, key, value = (heads_of(c, operands, name) for name in ("query", "key", "value"))
    output = np.zeros((c.batch, c.num_heads, c.q_len, c.value_dim))
    for b, h, i in np.ndindex(*output.shape[:3]):
        output[b, h, i] = attend(c, operands, query, key, value, (b, h, i))
    if c.layout == "bhsd":
        return output
    if c.layout == "sbhd":
        return np.moveaxis(output, 2, 0)
    if c.layout == "ds":
        merged = output[0, 0].T
    else:
        merged = output.transpose(0, 2, 1, 3)
        if c.layout == "bshd":
            return merged
        merged = merged.reshape(c.batch, c.q_len, c.num_heads * c.value_dim)
    if c.projections and c.projections.output:
        return linear(c, merged, operands["output_weight"], operands["output_bias"])
    return merged


def attend(
    c: AttentionConfig,
    operands: Mapping[str, Array],
    query: Array,
    key: Array,
    value: Array,
    index: tuple[int, int, int],
) -> Any:
    """One query."""
    b, h, i = index
    group = c.num_heads // c.num_kv_heads
    keys, values = key[b, h // group].copy(), value[b, h // group].copy()
    if "relative_keys" in operands:
        keys += operands["relative_keys"][i, :, h]
    if "relative_values" in operands:
        values += operands["relative_values"][i, :, h]
    scores: dict[int, float] = {}
    for j in range(c.kv_len):
        score = sum(float(x) * float(y) for x, y in zip(query[b, h, i], keys[j], strict=True))
        if c.bias_at == "products":
            score += operands["bias"][h, i, j]
        if c.scale_at == "scores":
            score *= c.head_dim**-0.5 if c.scale is None else c.scale
        if c.bias and c.bias_at == "scores":
            score += operands["bias"][h, i, j]
        if c.softcap:
            score = c.softcap * math.tanh(score / c.softcap)
        if c.mask:
            mask = np.broadcast_to(operands["mask"], (c.batch, c.num_heads, c.q_len, c.kv_len))[b, h, i, j]
            if c.mask.type == "additive":
                score += mask
            elif not mask:
                continue
        if sees(c, operands, b, i, j) and score > -math.inf:
            scores[j] = score
    if not scores and c.fully_masked == "mean":
        scores = dict.fromkeys(range(c.kv_len), 0.0)
    sink = [float(operands["sink"][h])] if c.sink else []
    largest = max([*scores.values(), *sink], default=0.0)
    weights = {j: math.exp(score - largest) for j, score in scores.items()}
    total = sum(weights.values()) + sum(math.exp(logit - largest) for logit in sink)
    factor = c.scale if c.scale is not None and c.scale_at == "weights" else 1.0
    output = np.full(c.value_dim, math.nan if c.fully_masked == "nan" and not weights else 0.0)
    for j in range(c.kv_len):
        if j in weights:
            output += factor * weights[j] / total * values[j]
        elif c.masked_values == "spread":
            output[~np.isfinite(values[j])] = math.nan
    return output


def sees(c: AttentionConfig, operands: Mapping[str, Array], b: int, i: int, j: int) -> bool:
    place = i + c.kv_len - c.q_len if c.causal == "bottom_right" else i
    if c.causal != "none" and j > place:
        return False
    if c.window and c.window.left is not None and j < place - c.window.left:
        return False
    if c.window and c.window.right is not None and j > place + c.window.right:
        return False
    return c.kv_lengths is None or j < operands["kv_lengths"][b]


def heads_of(c: AttentionConfig, operands: Mapping[str, Array], name: str) -> Array:
    """Query, key or value, projected, with rotary positions, after those of the cache: bhsd."""
    x, past = project(c, operands, name), operands.get(f"past_{name}")
    if c.rotary and name != "value":
        x = apply_rotary(c, operands, x, c.query_offset if name == "query" else c.past or 0)
    return x if past is None else np.concatenate([split_heads(c, past, c.num_kv_heads), x], axis=2)


def apply_rotary(c: AttentionConfig, operands: Mapping[str, Array], x: Array, first: int) -> Array:
    rotated, pairs = x.copy(), c.rotary_dims // 2
    for s, pair in np.ndindex(x.shape[2], pairs):
        cos, sin = (operands[f"rotary_{name}"][first + s, pair] for name in ("cos", "sin"))
        assert c.rotary is not None
        i, j = (pair, pair + pairs) if c.rotary.pairing == "half" else (2 * pair, 2 * pair + 1)
        rotated[:, :, s, i] = x[:, :, s, i] * cos - x[:, :, s, j] * sin
        rotated[:, :, s, j] = x[:, :, s, j] * cos + x[:, :, s, i] * sin
    return rotated


def split_heads(c: AttentionConfig, x: Array, heads: int) -> Array:
    """From the case's layout to (batch, heads, sequence, features)."""
    if c.layout == "ds":
        return x.T[None, None]
    if c.layout == "bsd":
        return np.moveaxis(np.stack(np.split(x, heads, axis=2)), 0, 1)
    return {"bshd": x.swapaxes(1, -2), "sbhd": np.moveaxis(x, 0, -2), "bhsd": x}[c.layout]


def project(c: AttentionConfig, operands: Mapping[str, Array], name: str) -> Array:
    heads = c.num_heads if name == "query" else c.num_kv_heads
    x = operands["input" if c.self_attention else name]
    p, weight, bias = c.projections, operands.get(f"{name}_weight"), operands.get(f"{name}_bias")
    if p and p.kind == "linear":
        assert weight is not None
        x = linear(c, x, weight, bias)
    x = split_heads(c, x, heads)
    if p and p.kind == "per_head":
        assert weight is not None
        weights = [weight if p.shared else weight[h] for h in range(heads)]
        x = np.stack([x[:, h] @ weights[h] for h in range(heads)], axis=1)
        if bias is not None:
            x = np.stack([x[:, h] + (bias if p.shared else bias[h]) for h in range(heads)], axis=1)
    return np.asarray(x)


def linear(c: AttentionConfig, x: Array, weight: Array, bias: Array | None) -> Array:
    product = weight @ x if c.layout == "ds" else x @ weight.T
    if bias is None:
        return np.asarray(product)
    return np.asarray(product + (bias[:, None] if c.layout == "ds" else bias))
