"""The contract of a formulation, one way of computing attention: created for a config, called with the operands.

The steps around attention (projections, splitting into heads, masks) are inherited, so a framework's fused operation
overrides one method only, `attend`.  They are written with the functions in `Primitives`, which each backend fills in
with those of its framework, and with the operators of tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from inspect import signature
from typing import Any, ClassVar

from backends.attention.heads import HEADS, Heads
from backends.attention.visibility import Visibility
from backends.parts.mode import Mode
from backends.parts.primitives import Operands, Tensor
from backends.parts.versions import version
from specs.case.attention import AttentionConfig
from specs.case.features import features, field_of
from specs.verdict.check import Check


class Attention(Heads, Visibility):
    """Projections, positions, cache, attention and output projection of one config, called with the operands.

    handwritten   whether it is written out in operations of the framework, and so not one of these
    usual_mode    the mode in which people use it; None: that of the framework
    devices       glob patterns of the devices on which it is offered
    axes          in which `attend` takes query, key and value and returns the output: `bshd` or `bhsd`;
                  None: those of the case (packed features split into `bshd`, columns left as `ds`)
    understands   the features of a config that it handles, as `specs.case.features` names them: those inherited
                  (`HEADS`), those of `visible` and `additive_bias` if `attend` calls them (`VISIBILITY`), and those
                  of `attend` itself; a config with any other feature is unsupported
    limitations   reasons for features that are not understood, by field, where there is more to say than its name
    """

    handwritten: ClassVar[bool] = False
    usual_mode: ClassVar[str | None] = None
    devices: ClassVar[tuple[str, ...]] = ("*",)
    understands: ClassVar[frozenset[str]] = HEADS
    limitations: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def is_distinct(cls, config: AttentionConfig) -> bool:
        """Whether this computes `config` differently from all other formulations."""
        return True

    @classmethod
    def unsupported(cls, config: AttentionConfig, check: Check) -> str | None:
        """Why `config`, the check's, cannot be expressed or executed by this formulation; None if it can."""
        unknown = features(config) - cls.understands
        if not unknown:
            return None
        fields = set(map(field_of, unknown))
        reason = next((reason for field, reason in cls.limitations.items() if field in fields), None)
        return reason or f"{cls.__name__} does not support {min(unknown)}: it is not listed in `understands`"

    @classmethod
    def mode_limitation(cls, config: AttentionConfig, check: Check, mode: Mode) -> str | None:
        """Why `config`, which is otherwise supported, cannot be executed in the check's mode; None if it can."""
        return None

    def __call__(self, operands: Operands) -> Tensor:
        c = self.config
        query = self.rotate(self.project("query", c.num_heads, operands), c.query_offset, operands)
        key = self.rotate(self.project("key", c.num_kv_heads, operands), c.past or 0, operands)
        value = self.project("value", c.num_kv_heads, operands)
        key, value = self.prepend_past("key", key, operands), self.prepend_past("value", value, operands)
        output = self.merge(self.attend(query, key, value, operands))
        if c.projections and c.projections.output:
            output = self.linear(output, operands["output_weight"], operands["output_bias"])
        return output

    def attend(self, query: Tensor, key: Tensor, value: Tensor, operands: Operands) -> Tensor:
        """The attention itself, from and to `axes`; key and value have num_kv_heads heads."""
        raise NotImplementedError  # modules, which compute the projections too, override __call__ instead


def first_reason(reasons: Mapping[str, bool]) -> str | None:
    """The first reason that holds."""
    return next((reason for reason, holds in reasons.items() if holds), None)


def missing_argument(function: Callable[..., Any], arguments: Iterable[str], distribution: str) -> str | None:
    """Which of these arguments, added in later versions, the installed function does not have; None if it has all."""
    parameters = signature(function).parameters
    name = function.__qualname__.removesuffix(".__init__")
    missing = next((argument for argument in arguments if argument not in parameters), None)
    return missing and f"{name} of {distribution} {version(distribution)} has no argument {missing}"
