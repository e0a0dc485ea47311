"""A feature of a case: a row and a column of the table of reach.

Features are finer than the fields of a case: a mask is a boolean one, an additive one, or one that varies by head.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from specs.case.common import Memory


@dataclass(frozen=True)
class Feature:
    """One feature of a kind of case.

    name   unique in its kind
    has    whether a valid config has it
    group  at most one feature of a group is in a config; "" for none
    """

    name: str
    has: Callable[[Any], bool]
    group: str = ""


def memory(value: Memory) -> Feature:
    """That an operand has this memory layout."""
    return Feature(f"memory {value}", lambda config: value in config.memory_kinds)


def choice(field: str, value: str) -> Feature:
    """That a field has this value, which excludes the others."""
    return Feature(f"{field} {value}", lambda config: getattr(config, field) == value, field)


KINDS: tuple[Memory, ...] = ("transposed", "strided", "reversed", "broadcast", "unaligned", "shared")
MEMORY = tuple(map(memory, KINDS))
