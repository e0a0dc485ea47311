"""Which keys a query sees, and what is added to its scores: said once, for every formulation.

Masks are made of comparisons in the framework itself: what is tested is what a user of that framework would run.  What
a framework has an argument of its own for is left out by naming it (`native`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from functools import cached_property

from backends.parts.primitives import Operands, Primitives, Tensor
from specs.case.attention import AttentionConfig

# What `visible` and `added` express, as `specs.case.features` names it
VISIBILITY = frozenset(
    {
        *("causal=top_left", "causal=bottom_right", "window", "window.left", "window.right", "kv_lengths"),
        *("mask", "mask.type=bool", "mask.type=additive", "mask.shape", "mask.fill", "bias", "bias_at=products"),
    }
)


class Pairs(ABC):
    """Some pairs of queries and keys, of which it is asked whether the one sees the other."""

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config

    @cached_property
    @abstractmethod
    def query(self) -> Tensor:
        """Number of the query."""

    @cached_property
    @abstractmethod
    def key(self) -> Tensor:
        """Number of the key."""

    @cached_property
    def aligned(self) -> Tensor:
        """The key at the query's own place."""
        return self.query + self.config.query_offset

    @abstractmethod
    def read(self, name: str, axes: str) -> Tensor:
        """The operand of this name for these pairs; it varies along these axes of (b, h, q, k)."""


class EveryPair(Pairs):
    """All pairs of all heads and batch items: whatever is made of them broadcasts to (b, h, q, k)."""

    def __init__(self, config: AttentionConfig, ops: Primitives, operands: Operands, like: Tensor) -> None:
        super().__init__(config)
        self.ops, self.operands, self.like = ops, operands, like

    @cached_property
    def query(self) -> Tensor:
        return self.ops.arange(self.config.q_len, self.like)[:, None]

    @cached_property
    def key(self) -> Tensor:
        return self.ops.arange(self.config.kv_len, self.like)

    def read(self, name: str, axes: str) -> Tensor:
        tensor = self.operands[name]
        return tensor[:, None, None, None] if axes == "b" else tensor


class Visibility:
    """The masks of a config; they are made where the tensor `like` is.

    ops      of an instance: what they are made with
    config   of an instance: what they are made for
    """

    ops: Primitives
    config: AttentionConfig

    def visible(self, operands: Operands, like: Tensor, native: Collection[str] = ()) -> Tensor | None:
        """True where a query sees a key, broadcastable to (b, h, q, k); None where nothing is masked.

        `native` are the fields that the framework's own arguments express.
        """
        return self.sees(EveryPair(self.config, self.ops, operands, like), native)

    def sees(self, pairs: Pairs, native: Collection[str] = ()) -> Tensor | None:
        """Whether queries see keys, by every field but those in `native`; None where all see all."""
        found = None
        for field, mask in self.masks().items():
            if field not in native:
                found = both(found, mask(pairs))
        return found

    def masks(self) -> Mapping[str, Callable[[Pairs], Tensor | None]]:
        """By the field that asks for it, a mask of any pairs; None where the config does not ask."""
        return {"causal": self.causal, "window": self.window, "kv_lengths": self.lengths, "mask": self.boolean_mask}

    def causal(self, pairs: Pairs) -> Tensor | None:
        return None if self.config.causal == "none" else pairs.key <= pairs.aligned

    def window(self, pairs: Pairs) -> Tensor | None:
        window = self.config.window
        if window is None:
            return None
        return both(
            None if window.left is None else pairs.key >= pairs.aligned - window.left,
            None if window.right is None else pairs.key <= pairs.aligned + window.right,
        )

    def lengths(self, pairs: Pairs) -> Tensor | None:
        return None if self.config.kv_lengths is None else pairs.key < pairs.read("kv_lengths", "b")

    def boolean_mask(self, pairs: Pairs) -> Tensor | None:
        mask = self.config.mask
        return pairs.read("mask", "bhqk") if mask and mask.type == "bool" else None

    def added(self, operands: Operands) -> Tensor | None:
        """Bias plus additive mask: what an operation that knows one additive term to scaled scores is given."""
        bias, mask = operands.get("bias"), self.additive_mask(operands)
        if bias is not None and self.config.bias_at == "products":
            bias = bias * self.config.score_scale
        return mask if bias is None else bias if mask is None else bias + mask

    def additive_mask(self, operands: Operands) -> Tensor | None:
        return operands["mask"] if self.config.mask and self.config.mask.type == "additive" else None


def both(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    """a & b, where None masks nothing."""
    return b if a is None else a if b is None else a & b
