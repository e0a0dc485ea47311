"""What the multi-head modules of all frameworks share: they include the projections.

They run cases with linear projections of the inputs and the output.  Other cases would need identity matrices for
weights, which would hide how a module reads them, so those cases are unsupported.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import NamedTuple

from backends.attention.base import Attention, first_reason
from backends.attention.heads import HEADS
from backends.attention.visibility import VISIBILITY
from backends.parts.primitives import Operands, Tensor
from specs.case.attention import AttentionConfig
from specs.case.visibility import RULES, intersect
from specs.verdict.check import Check


class MaskParts(NamedTuple):
    """Which keys a query sees, in the two parts that modules take; None where nothing is masked.

    keys    (batch or 1, keys): False for padding, which no query sees
    pairs   the part that depends on the query: (queries, keys), or (batch or 1, heads or 1, queries or 1, keys)
    """

    keys: Tensor | None
    pairs: Tensor | None


class Module(Attention):
    """A multi-head module that holds the case's weights and biases."""

    understands = (
        frozenset(name for name in HEADS if not name.startswith(("rotary", "past")))
        | VISIBILITY
        | {"num_kv_heads", "value_dim", "scale"}
    )
    limitations = {
        "softcap": "the module has no softcap",
        "sink": "the module has no sink",
        "rotary": "the module has no rotary positions",
        "past": "the module takes no projected keys",
        "relative": "the module has no relative positions",
        "scale_at": "the module scales the scores only",
    }

    @classmethod
    def is_distinct(cls, config: AttentionConfig) -> bool:
        return config.projections is not None and config.projections.kind == "linear"

    @classmethod
    def unsupported(cls, config: AttentionConfig, check: Check) -> str | None:
        p = config.projections
        return super().unsupported(config, check) or first_reason(
            {
                "the module has linear projections of its inputs and its output, with biases": not (
                    p and p.kind == "linear" and p.bias and p.output
                ),
                "the module takes (batch, sequence, features)": config.layout != "bsd",
                "the module's scale is head_dim ** -0.5": not math.isclose(config.score_scale, config.head_dim**-0.5),
            }
        )

    def inputs(self, operands: Operands) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value; in self-attention the same object, by which modules recognize it."""
        if self.config.self_attention:
            return (operands["input"],) * 3
        return operands["query"], operands["key"], operands["value"]

    def mask_parts(self, operands: Operands, like: Tensor, native: Collection[str] = ()) -> MaskParts:
        """All masks except those of the fields in `native`."""
        c = self.config
        lengths = self.visible(operands, like, native=RULES.keys() - {"kv_lengths"})
        keys = None if lengths is None else lengths[:, 0, 0]
        if not is_key_mask(c):
            return MaskParts(keys, self.visible(operands, like, native={"kv_lengths", *native}))
        keys = intersect(keys, self.ops.reshape(operands["mask"], (-1, c.kv_len)))
        return MaskParts(keys, self.visible(operands, like, native={"kv_lengths", "mask", *native}))


def is_key_mask(config: AttentionConfig) -> bool:
    """Whether the config has a boolean mask that is the same for all heads and queries."""
    return config.mask is not None and config.mask.type == "bool" and set(config.mask.shape[-3:-1]) <= {"1"}
