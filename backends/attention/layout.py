"""The layouts of attention's tensors: equations for each, and conversion between a case's layout and the working axes.

Axes are named by letters: batch, sequence, heads and d, the features of a head; in scores q and k, queries and keys.
Packed features, `bsd`, are split into `bshd`; `ds`, where tokens are columns, has a single head.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, NamedTuple

from backends.parts.primitives import Primitives, Tensor
from specs.case.attention import AttentionConfig


class Equations(NamedTuple):
    """The equations of one layout; `per_head` by the rank of the weight: 2 if all heads share it, else 3.

    In masked_weighted_sum each query has its own values, heads first.
    """

    scores: str
    weighted_sum: str
    masked_weighted_sum: str
    relative_scores: str
    relative_weighted_sum: str
    per_head: Mapping[int, str]


EQUATIONS = {
    "bshd": Equations(
        scores="bqhd,bkhd->bhqk",
        weighted_sum="bhqk,bkhd->bqhd",
        masked_weighted_sum="bhqk,bhqkd->bqhd",
        relative_scores="bqhd,qkhd->bhqk",
        relative_weighted_sum="bhqk,qkhd->bqhd",
        per_head={3: "bshd,hde->bshe", 2: "bshd,de->bshe"},
    ),
    "bhsd": Equations(
        scores="bhqd,bhkd->bhqk",
        weighted_sum="bhqk,bhkd->bhqd",
        masked_weighted_sum="bhqk,bhqkd->bhqd",
        relative_scores="bhqd,qkhd->bhqk",
        relative_weighted_sum="bhqk,qkhd->bhqd",
        per_head={3: "bhsd,hde->bhse", 2: "bhsd,de->bhse"},
    ),
    "sbhd": Equations(
        scores="qbhd,kbhd->bhqk",
        weighted_sum="bhqk,kbhd->qbhd",
        masked_weighted_sum="bhqk,bhqkd->qbhd",
        relative_scores="qbhd,qkhd->bhqk",
        relative_weighted_sum="bhqk,qkhd->qbhd",
        per_head={3: "sbhd,hde->sbhe", 2: "sbhd,de->sbhe"},
    ),
    "ds": Equations(
        scores="dq,dk->kq",
        weighted_sum="kq,dk->dq",
        masked_weighted_sum="kq,qkd->dq",
        relative_scores="dq,qkd->kq",
        relative_weighted_sum="kq,qkd->dq",
        per_head={},  # a single head has a linear projection
    ),
}


class Layouts:
    """A config and a framework's primitives, and the conversion of tensors to the working axes and back.

    axes           the axes that a formulation works in: `bshd` or `bhsd`; None: those of the case
    case_axes      instance attribute: those of the case, with heads and features separate
    working_axes   instance attribute: `axes`, or `case_axes` where that is None
    """

    axes: ClassVar[str | None] = None

    def __init__(self, primitives: Primitives, config: AttentionConfig) -> None:
        self.ops = primitives
        self.config = config
        self.case_axes = "bshd" if config.layout == "bsd" else config.layout
        self.working_axes = self.axes or self.case_axes

    def split(self, x: Tensor, heads: int) -> Tensor:
        """Convert from the case's layout to the working axes."""
        if self.config.layout == "bsd":
            batch, length, packed = x.shape
            x = self.ops.reshape(x, (batch, length, heads, packed // heads))
        if self.working_axes == self.case_axes:
            return x
        if self.case_axes == "ds":
            x = self.ops.permute_dims(x, (1, 0))
            return x[None, None] if self.working_axes == "bhsd" else x[None, :, None]
        return self.permute_axes(x, self.case_axes, self.working_axes)

    def merge(self, x: Tensor) -> Tensor:
        """Convert from the working axes back to the case's layout."""
        c = self.config
        if self.working_axes != self.case_axes:
            if self.case_axes == "ds":
                return self.ops.permute_dims(x[0, 0] if self.working_axes == "bhsd" else x[0, :, 0], (1, 0))
            x = self.permute_axes(x, self.working_axes, self.case_axes)
        if c.layout == "bsd":
            x = self.ops.reshape(x, (c.batch, c.q_len, c.num_heads * c.value_dim))
        return x

    def permute_axes(self, x: Tensor, axes: str, order: str) -> Tensor:
        """`x`, whose axes are `axes`, with its axes in the order of `order`."""
        return x if axes == order else self.ops.permute_dims(x, tuple(map(axes.index, order)))
