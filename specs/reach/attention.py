"""The features of an attention."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from specs.case.attention import AttentionConfig
from specs.case.features import features, field_of
from specs.case.operands import OPERANDS
from specs.case.score_functions import FUNCTIONS
from specs.case.visibility import RULES
from specs.reach.effect import (
    has_effects,
    has_query_without_keys,
    hides,
    hides_at_random,
    masks,
    moves,
    varies_in_mask,
    weighs_keys,
)
from specs.reach.feature import MEMORY, Feature

BLOCK = 64  # keys, or queries, that a kernel takes at once
BEYOND, LONG = "beyond the first block", "513 keys or more"
Has = Callable[[AttentionConfig], bool]


def _of_result(name: str, has: Has, *fields: str, group: str = "") -> Feature:
    """A feature that any result has, unless it is empty."""
    return Feature(name, lambda c: has(c) and has_effects(c), fields, group)


def _of_scores(name: str, has: Has, *fields: str, group: str = "") -> Feature:
    """A feature that changes weights, so that a query must see several keys."""
    return Feature(name, lambda c: has(c) and weighs_keys(c), fields, group)


def _layout(layout: str) -> Feature:
    return _of_result(f"layout {layout}", lambda c: c.layout == layout, f"layout={layout}", group="layout")


def _has(c: AttentionConfig, field: str) -> bool:
    return any(field_of(feature) == field for feature in features(c))


def _is_beyond_first_block(c: AttentionConfig) -> bool:
    """More than two blocks of keys, more than one of queries unless there is one query, and the last is not full."""
    ragged = c.kv_len % BLOCK and (c.q_len % BLOCK or c.q_len == 1)
    several = c.layout == "ds" or (c.batch > 1 and c.num_heads > 1)
    return bool(ragged and several and c.kv_len > 2 * BLOCK and (c.q_len > BLOCK or c.q_len == 1))


def _is_scaled(c: AttentionConfig) -> bool:
    """Whether the scale is stated and not the one that a case has anyway."""
    return c.scale is not None and c.scale != (1.0 if c.scale_at == "weights" else c.head_dim**-0.5)


def _scales(c: AttentionConfig) -> bool:
    return has_effects(c) if c.scale_at == "weights" else weighs_keys(c)


def _hides_by_mask(c: AttentionConfig, kind: str) -> bool:
    return c.mask is not None and c.mask.type == kind and (hides(c, "mask") or hides_at_random(c))


def _adds_numbers(c: AttentionConfig) -> bool:
    return c.mask is not None and not masks(c.mask) and c.mask.shape.endswith("k")


def _projects(c: AttentionConfig, kind: str) -> bool:
    return c.projections is not None and c.projections.kind == kind


def _shares_projections(c: AttentionConfig) -> bool:
    return c.projections is not None and c.projections.shared and c.num_heads > 1


def _widens(c: AttentionConfig) -> bool:
    p = c.projections
    usual = c.num_heads * c.head_dim if p and p.kind == "linear" else c.head_dim
    return p is not None and p.input_dim not in (None, usual)


def _rotates(c: AttentionConfig, pairing: str) -> bool:
    """Two features are one pair, whatever the pairing."""
    return c.rotary is not None and c.rotary.pairing == pairing and c.rotary_dims > 2 and moves(c)


# Fields with rows of their own below, one for each value or part; any other rule, function, term or logit has one row
FINER = ("causal", "window", "mask", "bias")
MASKS = tuple(Feature(field, partial(hides, field=field), (field,)) for field in RULES if field not in FINER)
SCORES = tuple(
    _of_scores(field, partial(_has, field=field), field)
    for field in (
        *(function.field for function in FUNCTIONS),
        *(operand.name for operand in OPERANDS if operand.term or operand.logit),
    )
    if field not in FINER
)
OUTPUTS = tuple(
    Feature(field, partial(_has, field=field), (field,), direction="forward") for field in AttentionConfig.output_fields
)

ATTENTION = (
    Feature(BEYOND, _is_beyond_first_block, ("q_len", "kv_len")),
    Feature(LONG, lambda c: c.kv_len >= 513, ("kv_len",)),
    _of_result("batch", lambda c: c.batch > 1, "batch"),
    _of_result("heads", lambda c: c.num_heads > 1, "num_heads"),
    _of_result("grouped heads", lambda c: 1 < c.num_kv_heads < c.num_heads, "num_kv_heads", group="kv heads"),
    _of_result(
        "one key/value head", lambda c: 1 == c.num_kv_heads < c.num_heads, "one_key_value_head", group="kv heads"
    ),
    _of_result("one query", lambda c: c.q_len == 1 < c.kv_len, "q_len", group="lengths"),
    _of_result("fewer queries than keys", lambda c: 1 < c.q_len < c.kv_len, "q_len", "kv_len", group="lengths"),
    _of_result("more queries than keys", lambda c: c.q_len > c.kv_len, "q_len", "kv_len", group="lengths"),
    _of_result("value_dim", lambda c: c.value_dim != c.head_dim, "head_dim", "value_dim"),
    *map(_layout, ("bhsd", "sbhd", "bsd", "ds")),
    Feature("scale", lambda c: _is_scaled(c) and c.scale > 0 and _scales(c), ("scale",), "scale"),
    Feature("negative scale", lambda c: _is_scaled(c) and c.scale < 0 and _scales(c), ("scale",), "scale"),
    _of_result("scale at weights", lambda c: c.scale_at == "weights" and _is_scaled(c), "scale_at=weights"),
    Feature("causal top_left", lambda c: c.causal == "top_left" and hides(c, "causal"), ("causal=top_left",), "causal"),
    Feature(
        "causal bottom_right",
        lambda c: c.causal == "bottom_right" and c.q_len != c.kv_len and hides(c, "causal"),
        ("causal=bottom_right",),
        "causal",
    ),
    Feature("window", lambda c: hides(c, "window"), ("window.left", "window.right")),
    *MASKS,
    Feature("bool mask", lambda c: _hides_by_mask(c, "bool"), ("mask.type=bool",), "mask"),
    Feature(
        "additive mask that hides",
        lambda c: _hides_by_mask(c, "additive"),
        ("mask.type=additive", "mask.fill", "adds_minus_infinity"),
        "mask",
    ),
    _of_scores("additive mask of numbers", _adds_numbers, "mask.type=additive", "mask.fill", group="mask"),
    Feature("mask by batch item", lambda c: varies_in_mask(c, "b", c.batch), ("mask.shape",)),
    Feature("mask by head", lambda c: varies_in_mask(c, "h", c.num_heads), ("mask.shape",)),
    Feature("query without keys", has_query_without_keys, ("mask.pattern=masked_row",)),
    _of_scores("bias random", lambda c: c.bias == "random", "bias=random", group="bias"),
    _of_scores("bias alibi", lambda c: c.bias == "alibi", "bias=alibi", group="bias"),
    _of_scores(
        "bias at products",
        lambda c: c.bias_at == "products" and c.score_scale != 1,
        "bias_at=products",
        "bias_of_products",
    ),
    *SCORES,
    _of_result("cache", lambda c: bool(c.past), "past"),
    Feature("rotary by halves", lambda c: _rotates(c, "half"), group="rotary"),
    Feature("rotary interleaved", lambda c: _rotates(c, "interleaved"), ("rotary.pairing=interleaved",), "rotary"),
    Feature("rotary of some features", lambda c: moves(c) and c.rotary_dims < c.head_dim, ("rotary.dims",)),
    _of_scores("relative keys", lambda c: c.relative is not None and c.relative.keys, "relative.keys"),
    _of_result("relative values", lambda c: c.relative is not None and c.relative.values, "relative.values"),
    _of_result("linear projections", lambda c: _projects(c, "linear"), "projections.kind=linear", group="projections"),
    _of_result(
        "projections by head", lambda c: _projects(c, "per_head"), "projections.kind=per_head", group="projections"
    ),
    _of_result("one projection for all heads", _shares_projections, "projections.shared"),
    _of_result("projection of another width", _widens, "projections.input_dim"),
    _of_result("projection bias", lambda c: c.projections is not None and c.projections.bias, "projections.bias"),
    _of_result("output projection", lambda c: c.projections is not None and c.projections.output, "projections.output"),
    _of_result("self_attention", lambda c: c.self_attention, "self_attention"),
    _of_result("unseen keys", lambda c: c.unseen is not None, "unseen"),
    *OUTPUTS,
    *MEMORY,
)
