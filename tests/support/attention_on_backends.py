"""Small attention cases that use every field of a config, and how to run them on each backend."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from backends.base import Backend
from backends.discovery import registry
from specs.arithmetic.formats import Array
from specs.case.attention import AttentionConfig
from specs.case.case import Case
from specs.inputs.inputs import operands as operands_of
from tests.support.checks import check_of

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


def run(
    backend: Backend, name: str, implementation: str, mode: str, dtype: str = "float64"
) -> tuple[AttentionConfig, Mapping[str, Array], Array]:
    """Config, operands and result; skips the test where the backend does not support the case."""
    case = case_of(name)
    assert isinstance(case.config, AttentionConfig)
    if reason := backend.unsupported(check_of(case, implementation, mode, dtype)):
        pytest.skip(reason)
    operands = operands_of(case, dtype)
    return case.config, operands, backend.run(check_of(case, implementation, mode, dtype), operands)


def list_offered(by_hand: bool, configs: Iterable[str] = CONFIGS, mode: str = "eager") -> list[tuple[str, str, str]]:
    """(backend, implementation, config): formulations by hand or a framework's own, distinct and run by default."""
    return [
        (name, implementation, config)
        for name, backend in ((name, registry.load_class(name)) for name in registry.names())
        for implementation in backend.implementations["attention"]
        for config in configs
        if mode in backend.default_modes
        and (implementation in BY_HAND) == by_hand
        and implementation not in backend.on_request
        and backend.is_distinct(case_of(config).config, implementation, "cpu")
    ]
