"""What arithmetic was observed, in words, and whether that is what was declared.

property    words
multiply    the format of factors, by the bits of its significand: a format's name, or `16 bits`
accumulate  the same of sums; `45 bits or more` where all that was tried was held
rounding    nearest, truncated: of what an accumulator or the result cannot hold
subnormals  kept, flushed
repeatable  bit for bit, where memory is aligned alike, not bit for bit
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from specs.arithmetic.formats import FORMATS
from specs.arithmetic.precision import Precision

PROPERTIES = ("multiply", "accumulate", "rounding", "subnormals", "repeatable")
NEAREST, TRUNCATED = "nearest", "truncated"
KEPT, FLUSHED = "kept", "flushed"
REPEATABLE, ALIKE, UNREPEATABLE = "bit for bit", "where memory is aligned alike", "not bit for bit"

Held = Literal["as declared", "finer", "coarser"]


def declared(precision: Precision) -> dict[str, str]:
    """What should be observed; a product that is rounded before it is added looks like a rounded factor."""
    factor = min(precision.storage, precision.multiply, precision.accumulate, key=lambda format: format.precision)
    return {
        "multiply": factor.name,
        "accumulate": precision.accumulate.name,
        "rounding": TRUNCATED if precision.truncates else NEAREST,
        "subnormals": FLUSHED if precision.flushes else KEPT,
        "repeatable": REPEATABLE,
    }


def held(observed: str, declared: str) -> Held:
    """Of one property: how what was observed compares.  Nothing is declared of how memory is aligned."""
    found, promised = bits(observed), bits(declared)
    if found is not None and promised is not None:
        return "as declared" if found == promised else "finer" if found > promised else "coarser"
    if observed in (declared, ALIKE):
        return "as declared"
    return "coarser" if observed in (TRUNCATED, FLUSHED, UNREPEATABLE) else "finer"


def bits(word: str) -> int | None:
    """Of a significand, at least; None of what is no format."""
    if word in FORMATS:
        return FORMATS[word].precision
    number = word.partition(" ")[0]
    return int(number) if number.isdigit() else None


def coarser(observed: Mapping[str, str], precision: Precision) -> str:
    """What is worse than declared, as a reason; "" if nothing is."""
    said = declared(precision)
    worse = (name for name, word in observed.items() if held(word, said[name]) == "coarser")
    return "; ".join(f"{name} is {observed[name]}, declared {said[name]}" for name in worse)
