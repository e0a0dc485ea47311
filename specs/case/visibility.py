"""Which keys each query of an attention sees: one rule for each field that hides keys.

A rule compares positions.  The reference evaluates it with NumPy, and a backend with the operators of its framework, as
a user of that framework would write it, unless the framework has an argument for the field.  The suite's own tests
compare the rules with loops over single queries and keys.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from specs.arithmetic.formats import Array, Bools
from specs.case.attention import AttentionConfig
from specs.case.features import features, field_of
from specs.case.operand import Operand

Tensor = Any  # an array of NumPy or a tensor of a framework


class Pairs(ABC):
    """Pairs of queries and keys to which a rule is applied.

    Its properties keep nothing: the lock of `functools.cached_property` in Python 3.11 is nothing that torch.compile
    can trace.
    """

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config

    @property
    @abstractmethod
    def query(self) -> Tensor:
        """Index of the query."""

    @property
    @abstractmethod
    def key(self) -> Tensor:
        """Index of the key."""

    @property
    def aligned_key(self) -> Tensor:
        """Index of the key at the query's own position: i (top_left) or i + kv_len - q_len (bottom_right)."""
        return self.query + self.config.query_offset

    @abstractmethod
    def read(self, name: str, axes: str) -> Tensor:
        """The operand of this name for these pairs; `axes` are those of (b, h, q, k) along which it varies."""


class AllPairs(Pairs):
    """All pairs of all heads and batch items: every tensor broadcasts to (b, h, q, k).

    `arange(length)` returns the integers from 0.
    """

    def __init__(
        self, config: AttentionConfig, operands: Mapping[str, Tensor], arange: Callable[[int], Tensor]
    ) -> None:
        super().__init__(config)
        self.operands, self.arange = operands, arange

    @property
    def query(self) -> Tensor:
        return self.arange(self.config.q_len)[:, None]

    @property
    def key(self) -> Tensor:
        return self.arange(self.config.kv_len)

    def read(self, name: str, axes: str) -> Tensor:
        tensor = self.operands[name]
        if axes == "bhqk":
            return tensor
        return tensor[tuple(slice(None) if axis in axes else None for axis in "bhqk")]


def _causal(config: AttentionConfig, pairs: Pairs) -> Tensor | None:
    return None if config.causal == "none" else pairs.key <= pairs.aligned_key


def _window(config: AttentionConfig, pairs: Pairs) -> Tensor | None:
    window = config.window
    if window is None:
        return None
    return intersect(
        None if window.left is None else pairs.key >= pairs.aligned_key - window.left,
        None if window.right is None else pairs.key <= pairs.aligned_key + window.right,
    )


def _lengths(config: AttentionConfig, pairs: Pairs) -> Tensor | None:
    return None if config.kv_lengths is None else pairs.key < pairs.read("kv_lengths", "b")


def _boolean_mask(config: AttentionConfig, pairs: Pairs) -> Tensor | None:
    mask = config.mask
    return pairs.read("mask", "bhqk") if mask and mask.type == "bool" else None


@dataclass(frozen=True)
class Rule:
    """How a field hides keys.

    visible    (config, pairs) → True where a query sees a key; None where the config does not have the field
    features   the features, as `specs.case.features` names them, that the rule handles
    operand    what it reads of numbers that the config states, such as a length for each batch item
    """

    visible: Callable[[AttentionConfig, Pairs], Tensor | None]
    features: frozenset[str]
    operand: Operand | None = None


KV_LENGTHS = Operand(
    "kv_lengths", lambda c: None if c.kv_lengths is None else (c.batch,), lambda c: c.kv_lengths, dtype="int32"
)

# By the name of the field
RULES: Mapping[str, Rule] = {
    "causal": Rule(_causal, frozenset({"causal=top_left", "causal=bottom_right"})),
    "window": Rule(_window, frozenset({"window", "window.left", "window.right"})),
    "kv_lengths": Rule(_lengths, frozenset({"kv_lengths"}), KV_LENGTHS),
    "mask": Rule(_boolean_mask, frozenset({"mask", "mask.type=bool", "mask.shape"})),
}


def hiding_fields(config: AttentionConfig) -> frozenset[str]:
    """The fields of a config that may hide keys."""
    return frozenset(map(field_of, features(config))) & RULES.keys()


def allowed_keys(config: AttentionConfig, operands: Mapping[str, Array]) -> Bools:
    """Whether a key is visible to a query by all rules, and by an additive mask above -inf; broadcasts to bhqk."""
    pairs = AllPairs(config, operands, np.arange)
    allowed = np.ones((1, 1, config.q_len, config.kv_len), bool)
    for rule in RULES.values():
        if (visible := rule.visible(config, pairs)) is not None:
            allowed = allowed & visible
    if config.mask is not None and config.mask.type == "additive":
        allowed = allowed & (operands["mask"].astype(np.float64) > -np.inf)
    return np.asarray(allowed)


def intersect(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    """a & b; None hides nothing."""
    return b if a is None else a if b is None else a & b
