"""The features of an attention."""

from __future__ import annotations

from specs.case.attention import AttentionConfig
from specs.reach.feature import MEMORY, Feature, choice

BLOCK = 64  # keys, or queries, that a kernel takes at once
BEYOND, LONG = "beyond the first block", "513 keys or more"


def _is_beyond_first_block(c: AttentionConfig) -> bool:
    """More than two blocks of keys, more than one of queries unless there is one query, and the last is not full."""
    ragged = c.kv_len % BLOCK and (c.q_len % BLOCK or c.q_len == 1)
    several = c.layout == "ds" or (c.batch > 1 and c.num_heads > 1)
    return bool(ragged and several and c.kv_len > 2 * BLOCK and (c.q_len > BLOCK or c.q_len == 1))


def _has_mask(c: AttentionConfig, kind: str, hides: bool | None = None) -> bool:
    return c.mask is not None and c.mask.type == kind and hides in (None, c.mask.fill is not None)


def _mask_varies(c: AttentionConfig, axis: str, size: int) -> bool:
    return c.mask is not None and axis in c.mask.shape and size > 1


def _projects(c: AttentionConfig, kind: str) -> bool:
    return c.projections is not None and c.projections.kind == kind


def _rotates(c: AttentionConfig, pairing: str) -> bool:
    return c.rotary is not None and c.rotary.pairing == pairing


ATTENTION = (
    Feature(BEYOND, _is_beyond_first_block),
    Feature(LONG, lambda c: c.kv_len >= 513),
    Feature("batch", lambda c: c.batch > 1),
    Feature("heads", lambda c: c.num_heads > 1),
    Feature("grouped heads", lambda c: 1 < c.num_kv_heads < c.num_heads, "kv heads"),
    Feature("one key/value head", lambda c: 1 == c.num_kv_heads < c.num_heads, "kv heads"),
    Feature("one query", lambda c: c.q_len == 1 < c.kv_len, "lengths"),
    Feature("fewer queries than keys", lambda c: 1 < c.q_len < c.kv_len, "lengths"),
    Feature("more queries than keys", lambda c: c.q_len > c.kv_len, "lengths"),
    Feature("value_dim", lambda c: c.value_dim != c.head_dim),
    *(choice("layout", layout) for layout in ("bhsd", "sbhd", "bsd", "ds")),
    Feature("scale", lambda c: c.scale is not None and c.scale > 0, "scale"),
    Feature("negative scale", lambda c: c.scale is not None and c.scale < 0, "scale"),
    Feature("scale at weights", lambda c: c.scale_at == "weights"),
    *(choice("causal", alignment) for alignment in ("top_left", "bottom_right")),
    Feature("window", lambda c: c.window is not None),
    Feature("kv_lengths", lambda c: c.kv_lengths is not None),
    Feature("bool mask", lambda c: _has_mask(c, "bool"), "mask"),
    Feature("additive mask that hides", lambda c: _has_mask(c, "additive", hides=True), "mask"),
    Feature("additive mask of numbers", lambda c: _has_mask(c, "additive", hides=False), "mask"),
    Feature("mask by batch item", lambda c: _mask_varies(c, "b", c.batch)),
    Feature("mask by head", lambda c: _mask_varies(c, "h", c.num_heads)),
    Feature("query without keys", lambda c: c.mask is not None and c.mask.pattern == "masked_row"),
    *(choice("bias", kind) for kind in ("random", "alibi")),
    Feature("bias at products", lambda c: c.bias_at == "products"),
    Feature("softcap", lambda c: c.softcap is not None),
    Feature("sink", lambda c: c.sink),
    Feature("cache", lambda c: c.past is not None),
    Feature("rotary by halves", lambda c: _rotates(c, "half"), "rotary"),
    Feature("rotary interleaved", lambda c: _rotates(c, "interleaved"), "rotary"),
    Feature("rotary of some features", lambda c: c.rotary is not None and c.rotary_dims < c.head_dim),
    Feature("relative keys", lambda c: c.relative is not None and c.relative.keys),
    Feature("relative values", lambda c: c.relative is not None and c.relative.values),
    Feature("linear projections", lambda c: _projects(c, "linear"), "projections"),
    Feature("projections by head", lambda c: _projects(c, "per_head"), "projections"),
    Feature("projection bias", lambda c: c.projections is not None and c.projections.bias),
    Feature("output projection", lambda c: c.projections is not None and c.projections.output),
    Feature("self_attention", lambda c: c.self_attention),
    Feature("unseen keys", lambda c: c.unseen is not None),
    *MEMORY,
)
