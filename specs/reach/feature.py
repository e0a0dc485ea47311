"""A feature of a case: a row and a column of the table of reach.

Features are finer than the fields of a case: a mask is a boolean one, an additive one, or one that varies by head.  A
case has a feature where it has an effect: a window that hides no key is none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

from specs.case.common import COTANGENT, Memory
from specs.case.memory import effective_layouts


@dataclass(frozen=True)
class Feature:
    """One feature of a kind of case.

    name       unique in its kind
    has        whether a valid config has it, so that without it the result would be another
    fields     the fields, or properties of an equation, whose row this is: `window.left`
    group      at most one feature of a group is in a config; "" for none
    direction  the only direction in which it has an effect; "" for each
    """

    name: str
    has: Callable[[Any], bool]
    fields: tuple[str, ...] = ()
    group: str = ""
    direction: str = ""


def memory(value: Memory) -> Feature:
    """That an operand has this memory layout."""
    return Feature(
        f"memory {value}", lambda config: value in _layouts_of_operands(config).values(), (f"memory={value}",)
    )


def _layouts_of_operands(config: Any) -> dict[str, Memory]:
    return {name: layout for name, layout in effective_layouts(config).items() if name != COTANGENT}


MEMORY = (
    *(memory(value) for value in get_args(Memory) if value != "contiguous"),
    Feature("memory of the cotangent", lambda config: COTANGENT in effective_layouts(config), direction="grad"),
)
