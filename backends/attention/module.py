"""What the multi-head modules of all frameworks share: projections are a part of them.

Their home are cases with linear projections of the inputs and the output.  Elsewhere identity matrices would have to
stand in, which hide how a module reads its weights, so it says that it has no such thing.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import NamedTuple

from backends.attention.base import Attention, first
from backends.attention.heads import HEADS
from backends.attention.visibility import VISIBILITY, both
from backends.parts.primitives import Operands, Tensor
from specs.case.attention import AttentionConfig
from specs.verdict.check import Check


class Visible(NamedTuple):
    """Which keys a query sees, in the two parts that modules ask for; None where nothing is masked.

    keys    (batch or 1, keys): what no query sees is padding
    pairs   what depends on the query: (queries, keys), or (batch or 1, heads or 1, queries or 1, keys)
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
    lacks = {
        "softcap": "the module has no softcap",
        "sink": "the module has no sink",
        "rotary": "the module has no rotary positions",
        "past": "the module takes no projected keys",
        "relative": "the module has no relative positions",
        "scale_at": "the module scales the scores only",
    }

    @classmethod
    def distinct(cls, config: AttentionConfig) -> bool:
        return config.projections is not None and config.projections.kind == "linear"

    @classmethod
    def unsupported(cls, config: AttentionConfig, check: Check) -> str | None:
        p = config.projections
        return super().unsupported(config, check) or first(
            {
                "the module has linear projections of its inputs and its output, with biases": not (
                    p and p.kind == "linear" and p.bias and p.output
                ),
                "the module takes (batch, sequence, features)": config.layout != "bsd",
                "the module's scale is head_dim ** -0.5": not math.isclose(config.score_scale, config.head_dim**-0.5),
            }
        )

    def inputs(self, operands: Operands) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value; of self-attention one and the same object, by which modules know it."""
        if self.config.self_attention:
            return (operands["input"],) * 3
        return operands["query"], operands["key"], operands["value"]

    def visible_parts(self, operands: Operands, like: Tensor, native: Collection[str] = ()) -> Visible:
        """All that masks but for the fields in `native`."""
        c = self.config
        lengths = self.visible(operands, like, native=self.masks().keys() - {"kv_lengths"})
        keys = None if lengths is None else lengths[:, 0, 0]
        if not of_keys_alone(c):
            return Visible(keys, self.visible(operands, like, native={"kv_lengths", *native}))
        keys = both(keys, self.ops.reshape(operands["mask"], (-1, c.kv_len)))
        return Visible(keys, self.visible(operands, like, native={"kv_lengths", "mask", *native}))


def of_keys_alone(config: AttentionConfig) -> bool:
    """Whether there is a boolean mask that is the same for all heads and queries."""
    return config.mask is not None and config.mask.type == "bool" and set(config.mask.shape[-3:-1]) <= {"1"}
