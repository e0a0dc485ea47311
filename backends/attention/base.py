"""The contract of a formulation, one way of computing attention: a config made callable over the operands.

What is not yet attention (projections, splitting into heads, which keys are visible) is inherited, so that a
framework's fused operation gets it by overriding one method, `attend`.  All of it is written over the handful of
functions in `Primitives`, which a backend fills with the framework's own, and over the tensors' own operators.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from inspect import signature
from typing import Any, ClassVar

from backends.attention.heads import HEADS, Heads
from backends.attention.visibility import Visibility
from backends.parts.primitives import Operands, Tensor
from specs.case.attention import AttentionConfig
from specs.case.features import features
from specs.verdict.check import Check


class Attention(Heads, Visibility):
    """Projections, positions, cache, attention and output projection of one config, called with the operands.

    devices       where it is offered: patterns as of file names
    axes          in which `attend` takes query, key and value and returns the output: `bshd` or `bhsd`;
                  None is the case's own (packed features split into `bshd`, columns left as `ds`)
    understands   what it knows of a config, as `specs.case.features` names it: what is inherited (`HEADS`), what
                  `visible` and `added` say if `attend` asks them (`VISIBILITY`), and what `attend` does itself; what a
                  config asks for beyond that is unsupported
    lacks         of what is not understood: field → why, where there is more to say than its name
    """

    devices: ClassVar[tuple[str, ...]] = ("*",)
    understands: ClassVar[frozenset[str]] = HEADS
    lacks: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def distinct(cls, config: AttentionConfig) -> bool:
        """Whether this is another way to compute `config` than the rest."""
        return True

    @classmethod
    def unsupported(cls, config: AttentionConfig, check: Check) -> str | None:
        """Why `config`, that of the check, cannot be expressed, or not be executed like this; None if it can."""
        unknown = features(config) - cls.understands
        if not unknown:
            return None
        fields = {name.partition("=")[0].partition(".")[0] for name in unknown}
        known = next((reason for field, reason in cls.lacks.items() if field in fields), None)
        return known or f"{cls.__name__} does not know {min(unknown)}: it is not among what it `understands`"

    def __call__(self, operands: Operands) -> Tensor:
        c = self.config
        query = self.turned(self.projected("query", c.num_heads, operands), c.query_offset, operands)
        key = self.turned(self.projected("key", c.num_kv_heads, operands), c.past or 0, operands)
        value = self.projected("value", c.num_kv_heads, operands)
        key, value = self.with_past("key", key, operands), self.with_past("value", value, operands)
        output = self.merged(self.attend(query, key, value, operands))
        if c.projections and c.projections.output:
            output = self.linear(output, operands["output_weight"], operands["output_bias"])
        return output

    def attend(self, query: Tensor, key: Tensor, value: Tensor, operands: Operands) -> Tensor:
        """The attention itself, from and to `axes`; key and value have num_kv_heads heads."""
        raise NotImplementedError  # by what computes the projections too, and so overrides __call__


def first(reasons: Mapping[str, bool]) -> str | None:
    """The first reason that holds."""
    return next((reason for reason, holds in reasons.items() if holds), None)


def without(function: Callable[..., Any], arguments: Iterable[str], distribution: str) -> str | None:
    """That the installed version of a framework has a function without one of these arguments, which came later."""
    known = signature(function).parameters
    name = function.__qualname__.removesuffix(".__init__")
    lacking = (each for each in arguments if each not in known)
    return next((f"{name} of {distribution} {version(distribution)} has no argument {each}" for each in lacking), None)
