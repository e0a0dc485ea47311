"""From a probe's result to the words of `specs.verdict.effective`.

A format shows by its significand alone: what is read is a number of bits, and its name that of the format with as many.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from specs.arithmetic.double_double import to_float64
from specs.arithmetic.formats import (
    BFLOAT16,
    FLOAT16,
    FLOAT32,
    FLOAT64,
    TF32,
    Array,
    Float64,
    Format,
    round_to,
    spacing,
)
from specs.arithmetic.precision import Precision
from specs.case.attention import AttentionConfig
from specs.case.case import Case
from specs.inputs.probes import TOP, longest
from specs.reference.reference import Reference
from specs.verdict.comparison import digest
from specs.verdict.effective import ALIKE, FLUSHED, KEPT, NEAREST, REPEATABLE, TRUNCATED, UNREPEATABLE

# TF32 is a format of factors alone, and float16's significand has as many bits
NAMES = {"multiply": (FLOAT64, FLOAT32, TF32, BFLOAT16), "accumulate": (FLOAT64, FLOAT32, FLOAT16, BFLOAT16)}


def read(case: Case, result: Array, reference: Reference) -> dict[str, str]:
    """Property → what the result of a probe shows; nothing of a result that is not of the right shape and dtype."""
    precision = reference.precision
    if precision is None or result.shape != reference.shape or result.dtype != reference.dtype.numpy:
        return {}
    got, value = result, to_float64(reference.value)
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
        case "rounding":
            cut = np.abs(got) < np.abs(round_to(value, precision.storage))
            return {"rounding": TRUNCATED if cut.any() else NEAREST}
        case "subnormals":
            return {"subnormals": FLUSHED if np.any((got == 0) & (value != 0)) else KEPT}
    return {}


def again(result: Array, runs: Iterable[Array]) -> dict[str, str]:
    """Whether a result came out again: of the same operands, and then of operands that are aligned otherwise."""
    same, aligned_otherwise = (digest(other) == digest(result) for other in runs)
    return {"repeatable": (REPEATABLE if aligned_otherwise else ALIKE) if same else UNREPEATABLE}


def _multiplied(got: Float64, value: Float64, precision: Precision, weighted: bool) -> str:
    """The shortest number that did not come back has a bit too many.

    The weight of a key, quotient of a softmax, may be off by a rounding; rounding to two bits fewer is off by more.
    """
    storage = precision.storage
    fraction = np.ldexp(np.frexp(value)[0], storage.precision).astype(np.int64)
    length = storage.precision + 1 - np.frexp((fraction & -fraction).astype(np.float64))[1]
    lost = length[~(np.abs(got - value) <= (1.5 * spacing(value, storage) if weighted else 0.0))]
    return _name("multiply", int(lost.min()) - 1 if lost.size else storage.precision, storage)


def _accumulated(got: Float64, value: Float64, precision: Precision) -> dict[str, str]:
    """The largest of the small terms that was lost lies a bit below the accumulator's last."""
    place = np.rint(TOP - np.log2(value)).astype(int)
    lost = ~(np.abs(got - value) <= value / 4)
    if not lost.any():
        return {"accumulate": f"{longest(precision.storage) + 1} bits or more"}
    read = {"accumulate": _name("accumulate", int(place[lost].min()), precision.accumulate)}
    # Rounded to nearest, what is lost leaves nothing; cut off, it takes a whole unit of the last place with it
    return read | {"rounding": TRUNCATED if np.any(got[lost] != 0) else NEAREST}


def _name(property: str, bits: int, like: Format) -> str:
    found = (each.name for each in (like, *NAMES[property]) if each.precision == bits)
    return next(found, f"{bits} bits")
