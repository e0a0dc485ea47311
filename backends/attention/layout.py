"""The layouts of attention's tensors: the labels of each, and the way from a case's own to the working axes and back.

Axes are named by letters: batch, sequence, heads and the features of a head, d; queries and keys, q and k, where
scores tell them apart.  Packed features, `bsd`, split into `bshd`; tokens that are columns, `ds`, are of one head.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, NamedTuple

from backends.parts.primitives import Primitives, Tensor
from specs.case.attention import AttentionConfig


class Equations(NamedTuple):
    """The labels of one layout; `per_head` by the rank of the weight: 2 if all heads share it, else 3.

    seen_weighted has values of their own for each query, heads first.
    """

    scores: str
    weighted: str
    seen_weighted: str
    relative_scores: str
    relative_weighted: str
    per_head: Mapping[int, str]


EQUATIONS = {
    "bshd": Equations(
        scores="bqhd,bkhd->bhqk",
        weighted="bhqk,bkhd->bqhd",
        seen_weighted="bhqk,bhqkd->bqhd",
        relative_scores="bqhd,qkhd->bhqk",
        relative_weighted="bhqk,qkhd->bqhd",
        per_head={3: "bshd,hde->bshe", 2: "bshd,de->bshe"},
    ),
    "bhsd": Equations(
        scores="bhqd,bhkd->bhqk",
        weighted="bhqk,bhkd->bhqd",
        seen_weighted="bhqk,bhqkd->bhqd",
        relative_scores="bhqd,qkhd->bhqk",
        relative_weighted="bhqk,qkhd->bhqd",
        per_head={3: "bhsd,hde->bhse", 2: "bhsd,de->bhse"},
    ),
    "sbhd": Equations(
        scores="qbhd,kbhd->bhqk",
        weighted="bhqk,kbhd->qbhd",
        seen_weighted="bhqk,bhqkd->qbhd",
        relative_scores="qbhd,qkhd->bhqk",
        relative_weighted="bhqk,qkhd->qbhd",
        per_head={3: "sbhd,hde->sbhe", 2: "sbhd,de->sbhe"},
    ),
    "ds": Equations(
        scores="dq,dk->kq",
        weighted="kq,dk->dq",
        seen_weighted="kq,qkd->dq",
        relative_scores="dq,qkd->kq",
        relative_weighted="kq,qkd->dq",
        per_head={},  # with one head it is linear
    ),
}


class Layouts:
    """A config over a framework's primitives, and the way of its tensors to the working axes and back.

    axes           those that a formulation works in: `bshd` or `bhsd`; None: it takes the case's own
    own_axes       of an instance: the case's own, heads apart from features
    working_axes   of an instance: `axes`, or else its own
    """

    axes: ClassVar[str | None] = None

    def __init__(self, primitives: Primitives, config: AttentionConfig) -> None:
        self.ops = primitives
        self.config = config
        self.own_axes = "bshd" if config.layout == "bsd" else config.layout
        self.working_axes = self.axes or self.own_axes

    def split(self, x: Tensor, heads: int) -> Tensor:
        """From the case's layout to the working axes."""
        if self.config.layout == "bsd":
            batch, length, packed = x.shape
            x = self.ops.reshape(x, (batch, length, heads, packed // heads))
        if self.working_axes == self.own_axes:
            return x
        if self.own_axes == "ds":
            x = self.ops.permute(x, (1, 0))
            return x[None, None] if self.working_axes == "bhsd" else x[None, :, None]
        return self.permuted(x, self.own_axes, self.working_axes)

    def merged(self, x: Tensor) -> Tensor:
        """From the working axes back to the case's layout."""
        c = self.config
        if self.working_axes != self.own_axes:
            if self.own_axes == "ds":
                return self.ops.permute(x[0, 0] if self.working_axes == "bhsd" else x[0, :, 0], (1, 0))
            x = self.permuted(x, self.working_axes, self.own_axes)
        if c.layout == "bsd":
            x = self.ops.reshape(x, (c.batch, c.q_len, c.num_heads * c.value_dim))
        return x

    def permuted(self, x: Tensor, axes: str, wanted: str) -> Tensor:
        """`x` with its axes, which are `axes`, in the order of `wanted`."""
        return x if axes == wanted else self.ops.permute(x, tuple(map(axes.index, wanted)))
