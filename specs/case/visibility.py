"""Which keys each query of an attention sees."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from specs.arithmetic.formats import Array, Bools
from specs.case.attention import AttentionConfig


def allowed_keys(config: AttentionConfig, operands: Mapping[str, Array]) -> Bools:
    """Whether a key is visible to a query by causal mask, window, lengths and mask together; broadcasts to bhqk.

    Query i is aligned with key position i (top_left) or i + kv_len - q_len (bottom_right).
    """
    position, key = np.arange(config.q_len)[:, None] + config.query_offset, np.arange(config.kv_len)
    allowed = np.ones((1, 1, config.q_len, config.kv_len), bool)
    if config.causal != "none":
        allowed &= key <= position
    if config.window and config.window.left is not None:
        allowed &= key >= position - config.window.left
    if config.window and config.window.right is not None:
        allowed &= key <= position + config.window.right
    if config.kv_lengths is not None:
        allowed = allowed & (key < operands["kv_lengths"][:, None, None, None])
    if config.mask is not None:
        mask = operands["mask"]
        allowed = allowed & (mask if config.mask.type == "bool" else mask.astype(np.float64) > -np.inf)
    return np.asarray(allowed)
