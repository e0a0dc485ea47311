"""Both formulations, on every framework, against attention in Python loops: are all fields plumbed to the right place?

Tolerances are loose guesses on purpose.  Whether arithmetic is accurate is the suite's question, not that of its tests.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends import registry
from backends.base import Backend
from specs.arithmetic.formats import DTYPES, Array
from specs.case.attention import AttentionConfig
from specs.case.case import Case
from specs.inputs.inputs import operands as operands_of

SMALL = {"batch": 2, "q_len": 4, "kv_len": 6, "num_heads": 4, "head_dim": 3}
COLUMNS = {"layout": "ds", "q_len": 4, "kv_len": 6, "head_dim": 3}
LINEAR = {"kind": "linear", "bias": True, "output": True}
FIRST_ROW = {"type": "bool", "pattern": "masked_row"}
FIRST_ROW_ADDED = {"type": "additive", "pattern": "masked_row", "fill": -math.inf}

CONFIGS: dict[str, dict[str, Any]] = {
    "plain": SMALL,
    "heads_first": SMALL | {"layout": "bhsd"},
    "packed": SMALL | {"layout": "bsd"},
    "sequence_first": SMALL | {"layout": "sbhd"},
    "columns": COLUMNS,
    "decode_step": SMALL | {"q_len": 1, "causal": "bottom_right"},
    "value_dim": SMALL | {"value_dim": 5},
    "value_dim_packed": SMALL | {"value_dim": 5, "layout": "bsd"},
    "no_query": SMALL | {"q_len": 0},
    "no_key": SMALL | {"kv_len": 0},
    "no_batch": SMALL | {"batch": 0, "layout": "bsd"},
    # Shared heads
    "two_queries_per_head": SMALL | {"num_kv_heads": 2},
    "multi_query": SMALL | {"num_kv_heads": 1},
    "multi_query_heads_first": SMALL | {"num_kv_heads": 1, "layout": "bhsd"},
    "two_queries_per_head_packed": SMALL | {"num_kv_heads": 2, "layout": "bsd", "value_dim": 2},
    # Scale, bias, softcap
    "scale": SMALL | {"scale": 0.7},
    "scale_at_weights": SMALL | {"scale": 0.7, "scale_at": "weights"},
    "bias": SMALL | {"bias": "random"},
    "bias_columns": COLUMNS | {"bias": "random"},
    "alibi_causal": SMALL | {"bias": "alibi", "causal": "bottom_right"},
    "softcap": SMALL | {"softcap": 1.5},
    "softcap_bias_additive": SMALL | {"softcap": 1.5, "bias": "random", "mask": {"type": "additive"}},
    "bias_of_products": SMALL | {"bias": "random", "bias_at": "products", "scale": 0.7},
    "sink": SMALL | {"sink": True},
    "sink_masked": SMALL | {"sink": True, "mask": FIRST_ROW, "causal": "bottom_right"},
    "sink_columns": COLUMNS | {"sink": True, "kv_lengths": [3]},
    "sink_without_keys": SMALL | {"sink": True, "kv_len": 0},
    # Positions
    "causal_wide": SMALL | {"causal": "top_left"},
    "causal_tall": SMALL | {"causal": "top_left", "q_len": 6, "kv_len": 4},
    "bottom_right_wide": SMALL | {"causal": "bottom_right"},
    "bottom_right_tall": SMALL | {"causal": "bottom_right", "q_len": 6, "kv_len": 4},
    "causal_columns": COLUMNS | {"causal": "bottom_right"},
    "window": SMALL | {"window": {"left": 1, "right": 2}},
    "window_left": SMALL | {"window": {"left": 1}},
    "window_right": SMALL | {"window": {"right": 0}},
    "window_causal": SMALL | {"window": {"left": 1}, "causal": "top_left"},
    "window_bottom_right": SMALL | {"window": {"left": 1, "right": 1}, "causal": "bottom_right"},
    "window_out_of_keys": SMALL | {"q_len": 6, "kv_len": 3, "window": {"left": 1, "right": 0}},
    # Masks
    **{f"mask_{shape}": SMALL | {"mask": {"type": "bool", "shape": shape}} for shape in ("k", "qk", "b11k", "1hqk")},
    **{f"added_{shape}": SMALL | {"mask": {"type": "additive", "shape": shape}} for shape in ("k", "hqk", "bhqk")},
    "mask_padding_columns": COLUMNS | {"mask": {"type": "bool", "shape": "k", "pattern": "padding"}},
    "mask_columns": COLUMNS | {"mask": {"type": "bool", "shape": "1hqk"}},
    "added_finite": SMALL | {"mask": {"type": "additive", "fill": -1e4}},
    "added_lowest": SMALL | {"mask": {"type": "additive", "fill": "lowest"}},
    "added_infinite": SMALL | {"mask": {"type": "additive", "fill": -math.inf}},
    "lengths": SMALL | {"kv_lengths": [2, 6]},
    "lengths_causal": SMALL | {"kv_lengths": [2, 5], "causal": "bottom_right", "num_kv_heads": 2},
    "lengths_columns": COLUMNS | {"kv_lengths": [4]},
    "mask_causal_bias": SMALL | {"mask": {"type": "bool"}, "causal": "top_left", "bias": "random"},
    # Queries without keys
    **{
        f"nothing_{name}_{right}": SMALL | fields | {"fully_masked": right}
        for name, fields in {
            "mask": {"mask": FIRST_ROW},
            "added": {"mask": FIRST_ROW_ADDED},
            "length": {"kv_lengths": [0, 6]},
            "columns": COLUMNS | {"batch": 1, "num_heads": 1, "mask": FIRST_ROW},
        }.items()
        for right in ("zeros", "mean", "nan")
    },
    "nothing_at_all_nan": SMALL | {"kv_len": 0, "fully_masked": "nan"},
    # Values that are not finite where they are masked
    **{
        f"unseen_{name}_{values}": SMALL | {"kv_lengths": [2, 6], "unseen": unseen, "masked_values": values} | fields
        for name, fields, unseen in (
            ("heads_last", {"value_dim": 5, "num_kv_heads": 2}, "nan"),
            ("heads_first", {"layout": "bhsd", "fully_masked": "mean", "mask": FIRST_ROW}, "inf"),
            ("sequence_first", {"layout": "sbhd", "relative": {}}, "nan"),
            ("columns", COLUMNS | {"batch": 1, "num_heads": 1, "kv_lengths": [3]}, "nan"),
        )
        for values in ("ignored", "spread")
    },
    # Cache and rotary positions
    "past": SMALL | {"past": 4},
    "past_alone": SMALL | {"past": 6, "layout": "bhsd"},
    "past_packed": SMALL | {"past": 2, "layout": "bsd", "num_kv_heads": 2, "value_dim": 5},
    "past_columns": COLUMNS | {"past": 2},
    "past_projected": SMALL | {"past": 2, "q_len": 4, "layout": "bsd", "projections": LINEAR, "self_attention": True},
    **{
        f"rotary_{pairing}_{name}": SMALL | {"head_dim": 6} | fields | {"rotary": {"pairing": pairing} | rotary}
        for pairing in ("half", "interleaved")
        for name, fields, rotary in (
            ("heads_last", {}, {}),
            ("heads_first", {"layout": "bhsd", "num_kv_heads": 2}, {"dims": 4}),
            ("sequence_first", {"layout": "sbhd", "causal": "bottom_right"}, {"base": 100.0}),
            ("columns", COLUMNS | {"batch": 1, "num_heads": 1, "head_dim": 6}, {"dims": 2}),
            ("decode", {"layout": "bsd", "q_len": 1, "past": 5, "causal": "bottom_right"}, {}),
        )
    },
    # Relative positions
    "relative": SMALL | {"relative": {}},
    "relative_keys": SMALL | {"relative": {"values": False}, "scale": 0.7},
    "relative_values": SMALL | {"relative": {"keys": False}, "value_dim": 5},
    "relative_heads_first": SMALL | {"relative": {}, "layout": "bhsd", "num_kv_heads": 2},
    "relative_columns": COLUMNS | {"relative": {}},
    # Projections
    "linear": SMALL | {"layout": "bsd", "projections": LINEAR, "num_kv_heads": 2},
    "linear_plain": SMALL | {"layout": "bsd", "projections": {"kind": "linear"}},
    "linear_input_dim": SMALL | {"layout": "bsd", "projections": LINEAR | {"input_dim": 7}, "value_dim": 5},
    "linear_columns": COLUMNS | {"projections": LINEAR, "value_dim": 5},
    "per_head": SMALL | {"projections": {"kind": "per_head", "bias": True, "input_dim": 7}, "value_dim": 5},
    "per_head_first": SMALL | {"projections": {"kind": "per_head", "bias": True}, "layout": "bhsd"},
    "per_head_packed": SMALL | {"projections": {"kind": "per_head", "output": True}, "layout": "bsd"},
    "per_head_columns": COLUMNS | {"projections": {"kind": "per_head", "bias": True}},
    "shared": SMALL | {"projections": {"kind": "per_head", "shared": True, "bias": True}},
    "shared_first": SMALL | {"projections": {"kind": "per_head", "shared": True, "bias": True}, "layout": "bhsd"},
    "shared_columns": COLUMNS | {"projections": {"kind": "per_head", "shared": True, "bias": True}},
    # The systems that the project was founded to cover (cases/seeds), small
    "seed_000": SMALL
    | {
        "layout": "bsd",
        "scale": 12**-0.5,
        "projections": {"kind": "per_head", "shared": True, "output": True},
        "mask": {"type": "bool", "shape": "b11k"},
    },
    "seed_002_columns": COLUMNS
    | {"kv_len": 4, "projections": {"kind": "linear"}, "self_attention": True, "data": "large"},
    "seed_002": {"batch": 4, "q_len": 3, "head_dim": 4, "value_dim": 5, "layout": "bsd", "self_attention": True}
    | {"projections": {"kind": "linear", "bias": True, "input_dim": 2}},
    "seed_003": SMALL | {"kv_len": 4, "projections": {"kind": "per_head"}, "self_attention": True, "relative": {}},
    "seed_004": {"batch": 2, "q_len": 9, "head_dim": 8, "layout": "bsd", "self_attention": True}
    | {"projections": {"kind": "linear", "bias": True}},
    # Nearly everything at once
    "everything": SMALL
    | {
        "layout": "bsd",
        "num_kv_heads": 2,
        "value_dim": 5,
        "scale": 0.7,
        "causal": "bottom_right",
        "window": {"left": 3},
        "mask": FIRST_ROW | {"shape": "bhqk"},
        "kv_lengths": [5, 6],
        "bias": "alibi",
        "softcap": 2.0,
        "relative": {},
        "projections": LINEAR,
    },
}

BY_HAND = ("einsum", "matmul", "linear-layer", "keras-dense")


def case_of(name: str) -> Case:
    return Case(f"tests/by_hand::{name}", name, Path(__file__), 1, AttentionConfig(**CONFIGS[name]))


def framework(name: str) -> Backend:
    try:
        return registry.get(name)
    except ModuleNotFoundError as error:
        pytest.skip(f"{name} is not installed: {error}")


def run(
    backend: Backend, name: str, implementation: str, mode: str, dtype: str = "float64"
) -> tuple[AttentionConfig, Mapping[str, Array], Array]:
    """Config, operands and result; skips what the backend does not have."""
    case = case_of(name)
    assert isinstance(case.config, AttentionConfig)
    if reason := backend.unsupported(case.config, implementation, mode, dtype, "cpu", "forward"):
        pytest.skip(reason)
    operands = operands_of(case, dtype)
    return case.config, operands, backend.run(case, implementation, mode, operands, "cpu")


def offered(by_hand: bool, configs: Iterable[str] = CONFIGS, mode: str = "eager") -> list[tuple[str, str, str]]:
    """(backend, implementation, config): by hand or the framework's own, whatever is distinct and runs by default."""
    return [
        (name, implementation, config)
        for name, backend in ((name, registry.declare(name)) for name in registry.names())
        for implementation in backend.implementations["attention"]
        for config in configs
        if mode in backend.default_modes
        and (implementation in BY_HAND) == by_hand
        and implementation not in backend.on_request
        and backend.distinct(case_of(config).config, implementation, "cpu")
    ]


@pytest.mark.parametrize(("name", "implementation", "config"), offered(by_hand=True))
def test_eager(name: str, implementation: str, config: str) -> None:
    c, operands, result = run(framework(name), config, implementation, "eager")
    np.testing.assert_allclose(result, by_loops(c, operands), rtol=1e-12, atol=1e-12, strict=True)


@pytest.mark.parametrize(
    ("name", "implementation", "config"),
    offered(by_hand=True, configs=["columns", "everything", "nothing_added_zeros", "seed_003"], mode="jit"),
)
def test_compiled(name: str, implementation: str, config: str) -> None:
    c, operands, result = run(framework(name), config, implementation, "jit")
    np.testing.assert_allclose(result, by_loops(c, operands), rtol=1e-12, atol=1e-12, strict=True)


@pytest.mark.parametrize(("name", "implementation", "config"), offered(by_hand=False))
def test_fused(name: str, implementation: str, config: str) -> None:
    """The framework's own operation is given the right arguments.

    What it makes of a query without keys, and of masked values that are not finite, is its own.
    """
    if (name, implementation) == ("tensorflow", "keras") and config.startswith("multi_query"):
        pytest.xfail("keras 3.15 documents K = 1 but leaves the single head to tf.einsum, which does not broadcast it")
    if implementation == "flex" and case_of(config).config.kv_len == 0:
        pytest.xfail("flex_attention of torch 2.13 takes the largest score of each row, and refuses rows of no length")
    c, operands, result = run(framework(name), config, implementation, "eager")
    expected = by_loops(c.model_copy(update={"fully_masked": "nan", "masked_values": "spread"}), operands)
    np.testing.assert_allclose(
        np.where(np.isnan(expected), expected, result), expected, rtol=1e-5, atol=1e-5, strict=True
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize(
    ("name", "implementation", "config"),
    offered(by_hand=True, configs=["everything", "nothing_mask_mean", "relative_columns", "scale_at_weights"]),
)
def test_numbers_do_not_widen_the_dtype(name: str, implementation: str, config: str, dtype: str) -> None:
    c, operands, result = run(framework(name), config, implementation, "eager", dtype)
    wide = {key: value if value.dtype == bool else value.astype(np.float64) for key, value in operands.items()}
    assert result.dtype == DTYPES[dtype].numpy
    np.testing.assert_allclose(result.astype(np.float64), by_loops(c, wide), rtol=0.1, atol=0.3)


def test_heads_that_do_not_divide_are_refused() -> None:
    config = AttentionConfig(q_len=2, num_heads=1, num_kv_heads=2, head_dim=3)
    for name in registry.names():
        backend = framework(name)
        for implementation in ("einsum", "matmul"):
            case = Case("tests/by_hand::heads", "heads", Path(__file__), 1, config)
            with pytest.raises(ValueError, match="cannot share"):
                backend.run(case, implementation, "eager", operands_of(case, "float64"), "cpu")


# Attention as slowly and plainly as possible ----------------------------------------------------------------------


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
    c: AttentionConfig, operands: Mapping[str, Array], query: Array, key: Array, value: Array, at: tuple[int, int, int]
) -> Any:
    """One query."""
    b, h, i = at
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
    """Query, key or value, projected, turned, behind those of the cache, as (batch, heads, sequence, features)."""
    x, past = projected(c, operands, name), operands.get(f"past_{name}")
    if c.rotary and name != "value":
        x = turned(c, operands, x, c.query_offset if name == "query" else c.past or 0)
    return x if past is None else np.concatenate([apart(c, past, c.num_kv_heads), x], axis=2)


def turned(c: AttentionConfig, operands: Mapping[str, Array], x: Array, first: int) -> Array:
    out, pairs = x.copy(), c.rotary_dims // 2
    for s, pair in np.ndindex(x.shape[2], pairs):
        cos, sin = (operands[f"rotary_{name}"][first + s, pair] for name in ("cos", "sin"))
        assert c.rotary is not None
        i, j = (pair, pair + pairs) if c.rotary.pairing == "half" else (2 * pair, 2 * pair + 1)
        out[:, :, s, i] = x[:, :, s, i] * cos - x[:, :, s, j] * sin
        out[:, :, s, j] = x[:, :, s, j] * cos + x[:, :, s, i] * sin
    return out


def apart(c: AttentionConfig, x: Array, heads: int) -> Array:
    """From the case's layout to (batch, heads, sequence, features)."""
    if c.layout == "ds":
        return x.T[None, None]
    if c.layout == "bsd":
        return np.moveaxis(np.stack(np.split(x, heads, axis=2)), 0, 1)
    return {"bshd": x.swapaxes(1, -2), "sbhd": np.moveaxis(x, 0, -2), "bhsd": x}[c.layout]


def projected(c: AttentionConfig, operands: Mapping[str, Array], name: str) -> Array:
    heads = c.num_heads if name == "query" else c.num_kv_heads
    x = operands["input" if c.self_attention else name]
    p, weight, bias = c.projections, operands.get(f"{name}_weight"), operands.get(f"{name}_bias")
    if p and p.kind == "linear":
        assert weight is not None
        x = linear(c, x, weight, bias)
    x = apart(c, x, heads)
    if p and p.kind == "per_head":
        assert weight is not None
        each = [weight if p.shared else weight[h] for h in range(heads)]
        x = np.stack([x[:, h] @ each[h] for h in range(heads)], axis=1)
        if bias is not None:
            x = np.stack([x[:, h] + (bias if p.shared else bias[h]) for h in range(heads)], axis=1)
    return np.asarray(x)


def linear(c: AttentionConfig, x: Array, weight: Array, bias: Array | None) -> Array:
    product = weight @ x if c.layout == "ds" else x @ weight.T
    if bias is None:
        return np.asarray(product)
    return np.asarray(product + (bias[:, None] if c.layout == "ds" else bias))
