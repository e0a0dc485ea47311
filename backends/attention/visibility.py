"""Which keys a query sees, and what is added to its scores: written once, for every formulation.

Masks are made by comparisons in the framework itself, as a user of that framework would make them.  Fields for which
a framework has its own argument are left out by naming them in `native`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from functools import cached_property

from backends.parts.primitives import Operands, Primitives, Tensor
from specs.case.attention import AttentionConfig

# The features that `visible` and `additive_bias` handle, as `specs.case.features` names them
VISIBILITY = frozenset(
    {
        *("causal=top_left", "causal=bottom_right", "window", "window.left", "window.right", "kv_lengths"),
        *("mask", "mask.type=bool", "mask.type=additive", "mask.shape", "mask.fill", "bias", "bias_at=products"),
    }
)


class Pairs(ABC):
    """Pairs of queries and keys for which a mask is computed."""

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config

    @cached_property
    @abstractmethod
    def query(self) -> Tensor:
        """Index of the query."""

    @cached_property
    @abstractmethod
    def key(self) -> Tensor:
        """Index of the key."""

    @cached_property
    def aligned_key(self) -> Tensor:
        """Index of the key at the query's own position."""
        return self.query + self.config.query_offset

    @abstractmethod
    def read(self, name: str, axes: str) -> Tensor:
        """The operand of this name for these pairs; `axes` are those of (b, h, q, k) along which it varies."""


class AllPairs(Pairs):
    """All pairs of all heads and batch items: every tensor broadcasts to (b, h, q, k)."""

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
    """The masks of a config, made on the device of the tensor `like`.

    ops      instance attribute: the framework's primitives
    config   instance attribute: the config
    """

    ops: Primitives
    config: AttentionConfig

    def visible(self, operands: Operands, like: Tensor, native: Collection[str] = ()) -> Tensor | None:
        """True where a query sees a key, broadcastable to (b, h, q, k); None where nothing is masked.

        `native` are the fields that the framework's own arguments express.
        """
        return self.is_visible(AllPairs(self.config, self.ops, operands, like), native)

    def is_visible(self, pairs: Pairs, native: Collection[str] = ()) -> Tensor | None:
        """Whether queries see keys, by every field except those in `native`; None where every query sees every key."""
        visible = None
        for field, mask in self.masks().items():
            if field not in native:
                visible = intersect(visible, mask(pairs))
        return visible

    def masks(self) -> Mapping[str, Callable[[Pairs], Tensor | None]]:
        """For each field of a config, a function that returns its mask for pairs, None where the config has none."""
        return {"causal": self.causal, "window": self.window, "kv_lengths": self.lengths, "mask": self.boolean_mask}

    def causal(self, pairs: Pairs) -> Tensor | None:
        return None if self.config.causal == "none" else pairs.key <= pairs.aligned_key

    def window(self, pairs: Pairs) -> Tensor | None:
        window = self.config.window
        if window is None:
            return None
        return intersect(
            None if window.left is None else pairs.key >= pairs.aligned_key - window.left,
            None if window.right is None else pairs.key <= pairs.aligned_key + window.right,
        )

    def lengths(self, pairs: Pairs) -> Tensor | None:
        return None if self.config.kv_lengths is None else pairs.key < pairs.read("kv_lengths", "b")

    def boolean_mask(self, pairs: Pairs) -> Tensor | None:
        mask = self.config.mask
        return pairs.read("mask", "bhqk") if mask and mask.type == "bool" else None

    def additive_bias(self, operands: Operands) -> Tensor | None:
        """Bias plus additive mask, for operations that add one term to the scaled scores; None if there is neither."""
        bias, mask = operands.get("bias"), self.additive_mask(operands)
        if bias is not None and self.config.bias_at == "products":
            bias = bias * self.config.score_scale
        return mask if bias is None else bias if mask is None else bias + mask

    def additive_mask(self, operands: Operands) -> Tensor | None:
        return operands["mask"] if self.config.mask and self.config.mask.type == "additive" else None


def intersect(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    """a & b; None masks nothing."""
    return b if a is None else a if b is None else a & b
