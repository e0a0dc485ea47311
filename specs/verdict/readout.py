"""Read a probe's result as the observed properties of `specs.verdict.effective`.

Only the significand of a format can be observed: a readout gives a number of bits, and the format that has as many.
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
from specs.verdict.effective import FLUSHED, KEPT, NEAREST, REPEATABLE, REPEATABLE_IF_ALIGNED, TRUNCATED, UNREPEATABLE

# TF32 is a format of factors only; float16's significand has equally many bits
FORMATS_OF = {"multiply": (FLOAT64, FLOAT32, TF32, BFLOAT16), "accumulate": (FLOAT64, FLOAT32, FLOAT16, BFLOAT16)}


def read(case: Case, result: Array, reference: Reference) -> dict[str, str]:
    """Property → value observed in the result of a probe; empty for a result of another shape or dtype."""
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
            weight_sum = keys or 1
            return _accumulated(got * weight_sum, value * weight_sum, precision)
        case "rounding":
            truncated = np.abs(got) < np.abs(round_to(value, precision.storage))
            return {"rounding": TRUNCATED if truncated.any() else NEAREST}
        case "subnormals":
            return {"subnormals": FLUSHED if np.any((got == 0) & (value != 0)) else KEPT}
    return {}


def compare_runs(result: Array, runs: Iterable[Array]) -> dict[str, str]:
    """Whether two more runs gave the same bits: one on the same operands, one on operands with another alignment."""
    same, same_when_realigned = (digest(other) == digest(result) for other in runs)
    return {"repeatable": (REPEATABLE if same_when_realigned else REPEATABLE_IF_ALIGNED) if same else UNREPEATABLE}


def _multiplied(got: Float64, value: Float64, precision: Precision, weighted: bool) -> str:
    """The format of factors: the shortest factor that was not returned exactly has one bit too many.

    The weight of a key, a quotient in a softmax, may be off by one rounding; rounding to two bits fewer is off by more.
    """
    storage = precision.storage
    fraction = np.ldexp(np.frexp(value)[0], storage.precision).astype(np.int64)
    length = storage.precision + 1 - np.frexp((fraction & -fraction).astype(np.float64))[1]
    lost = length[~(np.abs(got - value) <= (1.5 * spacing(value, storage) if weighted else 0.0))]
    return _format_name("multiply", int(lost.min()) - 1 if lost.size else storage.precision, storage)


def _accumulated(got: Float64, value: Float64, precision: Precision) -> dict[str, str]:
    """The format of sums: the largest of the small terms that was lost is one bit below the accumulator's last bit."""
    bit = np.rint(TOP - np.log2(value)).astype(int)
    lost = ~(np.abs(got - value) <= value / 4)
    if not lost.any():
        return {"accumulate": f"{longest(precision.storage) + 1} bits or more"}
    observed = {"accumulate": _format_name("accumulate", int(bit[lost].min()), precision.accumulate)}
    # Rounding to nearest leaves 0 of a lost term; truncation also takes a whole unit of the last place away
    return observed | {"rounding": TRUNCATED if np.any(got[lost] != 0) else NEAREST}


def _format_name(property: str, bits: int, preferred: Format) -> str:
    names = (format.name for format in (preferred, *FORMATS_OF[property]) if format.precision == bits)
    return next(names, f"{bits} bits")
