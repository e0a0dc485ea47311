"""What arithmetic a probe's result shows, and whether that is what was declared.

A format shows by its significand alone: what is read is a number of bits, and its name that of the format with as many.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from specs.bound import Float64, Reference, rounded
from specs.case import AttentionConfig, Case
from specs.comparison import digest
from specs.formats import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, TF32, Array, Format, spacing
from specs.precision import Precision
from specs.probes import TOP, longest

KEPT, FLUSHED = "kept", "flushed"
REPEATABLE, ALIKE, UNREPEATABLE = "bit for bit", "where memory is aligned alike", "not bit for bit"
# TF32 is a format of factors alone, and float16's significand has as many bits
NAMES = {"multiply": (FLOAT64, FLOAT32, TF32, BFLOAT16), "accumulate": (FLOAT64, FLOAT32, FLOAT16, BFLOAT16)}


@dataclass(frozen=True)
class Reading:
    """One property as it was observed; `bits` and `more` of a format: its significand has these, or at least these."""

    name: str
    bits: int | None = None
    more: bool = False


def read(case: Case, result: Array, reference: Reference) -> dict[str, Reading]:
    """Property → what the result of a probe shows; nothing of a result that is not of the right shape and dtype."""
    precision = reference.precision
    if precision is None or result.shape != reference.shape or result.dtype != reference.dtype.numpy:
        return {}
    got, value = result, rounded(reference.value)
    if reference.dtype.kind == "complex":
        got, value = got.real, value[..., 0]
    got = got.astype(np.float64)
    keys = case.config.kv_len if isinstance(case.config, AttentionConfig) else None
    match case.config.probe:
        case "multiply":
            return {"multiply": _multiplied(got, value, precision, weighted=keys is not None)}
        case "accumulate":
            share = keys or 1
            return _accumulated(got * share, value * share, precision)
        case "subnormals":
            return {"subnormals": Reading(FLUSHED if np.any((got == 0) & (value != 0)) else KEPT)}
    return {}


def again(result: Array, runs: Iterable[Array]) -> dict[str, Reading]:
    """Whether a result came out again: of the same operands, and then of operands that are aligned otherwise."""
    same, aligned_otherwise = (digest(other) == digest(result) for other in runs)
    return {"repeatable": Reading((REPEATABLE if aligned_otherwise else ALIKE) if same else UNREPEATABLE)}


def _multiplied(got: Float64, value: Float64, precision: Precision, weighted: bool) -> Reading:
    """The shortest number that did not come back has a bit too many.

    The weight of a key, quotient of a softmax, may be off by a rounding; rounding to two bits fewer is off by more.
    """
    storage = precision.storage
    fraction = np.ldexp(np.frexp(value)[0], storage.precision).astype(np.int64)
    length = storage.precision + 1 - np.frexp((fraction & -fraction).astype(np.float64))[1]
    lost = length[np.abs(got - value) > (1.5 * spacing(value, storage) if weighted else 0.0)]
    return _format("multiply", int(lost.min()) - 1 if lost.size else storage.precision, storage)


def _accumulated(got: Float64, value: Float64, precision: Precision) -> dict[str, Reading]:
    """The largest of the small terms that was lost lies a bit below the accumulator's last."""
    place = np.rint(TOP - np.log2(value)).astype(int)
    lost = np.abs(got - value) > value / 4
    if not lost.any():
        bits = longest(precision.storage) + 1
        return {"accumulate": Reading(f"{bits} bits or more", bits, more=True)}
    read = {"accumulate": _format("accumulate", int(place[lost].min()), precision.accumulate)}
    # Rounded to nearest, what is lost leaves nothing; cut off, it takes a whole unit of the last place with it
    return read | {"rounding": Reading("truncated" if np.any(got[lost] != 0) else "nearest")}


def _format(property: str, bits: int, like: Format) -> Reading:
    found = next((each for each in (like, *NAMES[property]) if each.precision == bits), None)
    return Reading(found.name if found else f"{bits} bits", bits)


def declared(precision: Precision) -> dict[str, Reading]:
    """What should be observed; a product that is rounded before it is added looks like a rounded factor."""
    factor = min(precision.storage, precision.multiply, precision.accumulate, key=lambda format: format.precision)
    return {
        "multiply": Reading(factor.name, factor.precision),
        "accumulate": Reading(precision.accumulate.name, precision.accumulate.precision),
        "rounding": Reading("truncated" if precision.truncates else "nearest"),
        "subnormals": Reading(FLUSHED if precision.flushes else KEPT),
        "repeatable": Reading(REPEATABLE),
    }


def coarser(observed: Mapping[str, Reading], precision: Precision) -> str:
    """What is worse than declared, in words; "" if nothing is."""
    said = declared(precision)
    worse = {name: reading for name, reading in observed.items() if _is_worse(reading, said[name])}
    return "; ".join(f"{name} is {reading.name}, declared {said[name].name}" for name, reading in worse.items())


def _is_worse(observed: Reading, declared: Reading) -> bool:
    if observed.bits is not None and declared.bits is not None:
        return observed.bits < declared.bits
    return observed.name in (FLUSHED, "truncated", UNREPEATABLE) and observed.name != declared.name
