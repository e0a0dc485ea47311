"""Observed properties of arithmetic as text, and how they compare with the declared precision.

property    observed values
multiply    the format of factors, by the bits of its significand: the name of a format, or `16 bits`
accumulate  the same for sums; `45 bits or more` where the accumulator kept every term that was tried
rounding    nearest, truncated: how an accumulator or the result rounds
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
REPEATABLE, REPEATABLE_IF_ALIGNED, UNREPEATABLE = "bit for bit", "where memory is aligned alike", "not bit for bit"

PropertyOutcome = Literal["as declared", "finer", "coarser"]


def declared_properties(precision: Precision) -> dict[str, str]:
    """The properties to be observed; a product that is rounded before it is added looks like a rounded factor."""
    factor = min(precision.storage, precision.multiply, precision.accumulate, key=lambda format: format.precision)
    return {
        "multiply": factor.name,
        "accumulate": precision.accumulate.name,
        "rounding": TRUNCATED if precision.truncates else NEAREST,
        "subnormals": FLUSHED if precision.flushes else KEPT,
        "repeatable": REPEATABLE,
    }


def compare_property(observed: str, declared: str) -> PropertyOutcome:
    """Compare one observed property with the declared one.  A dependence on memory alignment is never a violation."""
    observed_bits, declared_bits = significand_bits(observed), significand_bits(declared)
    if observed_bits is not None and declared_bits is not None:
        if observed_bits == declared_bits:
            return "as declared"
        return "finer" if observed_bits > declared_bits else "coarser"
    if observed in (declared, REPEATABLE_IF_ALIGNED):
        return "as declared"
    return "coarser" if observed in (TRUNCATED, FLUSHED, UNREPEATABLE) else "finer"


def significand_bits(text: str) -> int | None:
    """The bits of a significand, at least, from an observed value; None where that is no format."""
    if text in FORMATS:
        return FORMATS[text].precision
    number = text.partition(" ")[0]
    return int(number) if number.isdigit() else None


def describe_coarser(observed: Mapping[str, str], precision: Precision) -> str:
    """The properties that are worse than declared, as a reason; "" if there is none."""
    expected = declared_properties(precision)
    worse = (name for name, value in observed.items() if compare_property(value, expected[name]) == "coarser")
    return "; ".join(f"{name} is {observed[name]}, declared {expected[name]}" for name in worse)
