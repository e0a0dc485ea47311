"""Operands from whose result the arithmetic can be read off: what a case with `probe` is given.

Every output element is an experiment of its own with two outcomes, so that nothing about the order of a sum or the size
of an error has to be assumed.  `specs.verdict.readout` reads the result.

multiply    one term of each sum is not zero: a number of k significant bits times 1.  It is returned unless operands
            are rounded to fewer.  The bits alternate, so that no split into a few short parts holds them by luck.
accumulate  three terms are not zero: L, e and -L, far apart in an order of their own each.  The sum is e where the
            accumulator can hold L + e, and 0 where it cannot, for L = 1.5 * 2^14 has the same last place on both of
            its sides.  Where L meets -L first nothing is learnt, hence many arrangements for each e.
rounding    two terms are not zero: 1 and three quarters of a unit in its last place.  The sum is 1 only if cut off.
subnormals  one term of each sum is not zero: with a subnormal factor, or a subnormal product, or both
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from specs.arithmetic.formats import DType, Float64, Format
from specs.case.attention import AttentionConfig
from specs.case.common import Probe
from specs.case.einsum import EinsumConfig
from specs.case.equation import Shape, bind
from specs.case.error import CaseError
from specs.case.shapes import attention_shapes, einsum_shapes

TOP = 14  # exponent of what an accumulator holds: float16 has room for it, and for 28 bits below
ARRANGEMENTS = 12  # at least, of each pair of magnitudes: a third of them shows nothing
CERTAIN = 32.0  # of both factors of a score: its rivals' weights are exp(-2048), which is 0 in every format


def designed(config: EinsumConfig | AttentionConfig, probe: Probe, dtype: DType) -> dict[str, Float64]:
    """Operand name → values, each exact in the dtype; CaseError where a probe does not fit the computation."""
    assert dtype.format is not None
    if isinstance(config, AttentionConfig):
        return _attention(config, probe, dtype.format)
    return _einsum(config, probe, dtype.format)


def longest(format: Format) -> int:
    """The largest k of which an accumulator of k bits can be told from one of more; beyond float32's in all formats.

    Both magnitudes are normal, and the reference of a narrow format, in float64, still holds their sum.
    """
    return min(TOP - format.emin, 60 if format.precision > 24 else 44)


# The three designs: rows of terms, and the factors that they meet --------------------------------------------------


def _pattern(bits: npt.NDArray[np.int64]) -> Float64:
    """Numbers of exactly so many significant bits: 1, 11, 101, 1011, 10101, 101011 … in [1, 2)."""
    alternating = np.ldexp(np.floor(np.ldexp(4 / 3, bits - 1)), 1 - bits)
    last = np.ldexp(1.0, 1 - bits)
    odd = np.fmod(np.ldexp(alternating, bits - 1), 2.0) == 1
    return np.asarray(np.where(odd, alternating, alternating + last))


@dataclass(frozen=True)
class _Selection:
    """Pairs of factors of which each sum has one: `left` by sum, `right` by the term's place and the sum's column."""

    place: npt.NDArray[np.int64]
    left: Float64
    right: Float64


def _selected(probe: Probe, format: Format, sums: int, terms: int, columns: int) -> _Selection:
    place = np.arange(sums) * 7 % terms
    where = np.arange(terms)[:, None] * columns + np.arange(columns)
    if probe == "multiply":
        on_the_right = np.arange(terms) >= (terms + 1) // 2
        rank = np.cumsum(~on_the_right[place])  # among the sums whose left factor is tried
        left = np.where(on_the_right[place], 1.0, _pattern(1 + rank % format.precision))
        return _Selection(place, left, np.where(on_the_right[:, None], _pattern(1 + where % format.precision), 1.0))
    number = np.arange(sums)
    shift = 2.0 ** (3 + number % (format.precision - 3))
    few = 2.0**format.precision
    kinds = np.arange(terms) % 4  # of a term: subnormal by 1, subnormal by a large one, by a small one; 1 by subnormal
    small = format.tiny / np.minimum(shift, few / 2)
    left = np.select([kinds[place] < 2, kinds[place] == 2], [small, small * few], 1.0)
    low = format.tiny / 2.0 ** (1 + where % (format.precision - 2))
    of_term = np.array([1.0, few, 1 / few, 0.0])[kinds][:, None]
    return _Selection(place, left, np.where(kinds[:, None] == 3, low, of_term))


def _rivals(format: Format, sums: int, terms: int) -> Float64:
    """(sums, terms): of each sum the terms L, e and -L, and zeros."""
    ways = longest(format)
    if terms < 3 or sums < ARRANGEMENTS * ways:
        message = f"an accumulator is seen in {ARRANGEMENTS * ways} sums of 3 terms or more, not {sums} of {terms}"
        raise CaseError("size_mismatch", message)
    large = np.full(sums, 1.5 * 2.0**TOP)
    small = np.asarray(np.exp2(TOP - 1 - np.arange(sums) % ways), np.float64)
    return _scattered(terms, large, -large, small)


def _beyond_half(format: Format, sums: int, terms: int) -> Float64:
    """(sums, terms): of each sum two terms, of either sign, and zeros."""
    if terms < 2:
        raise CaseError("size_mismatch", "how sums are rounded is seen where there are 2 terms or more")
    one = np.where(np.arange(sums) % 2, -1.0, 1.0)
    return _scattered(terms, one, one * 1.5 * format.unit_roundoff)


def _scattered(terms: int, *values: Float64) -> Float64:
    """(sums, terms): of each sum one of each values, in places of its own."""
    sums = len(values[0])
    bits = np.random.Philox(key=terms).random_raw(sums * terms)  # these are the same in every version of NumPy
    places = np.argsort(bits.reshape(sums, terms), axis=1, kind="stable")
    rows = np.zeros((sums, terms))
    for place, value in zip(places.T, values, strict=False):
        rows[np.arange(sums), place] = value
    return rows


SUMS = {"accumulate": _rivals, "rounding": _beyond_half}  # probes in which more than one term counts


# Einsum ------------------------------------------------------------------------------------------------------------


def _einsum(config: EinsumConfig, probe: Probe, format: Format) -> dict[str, Float64]:
    """Of one operand, summed, or of two: sums are numbered by all labels but those of the second operand alone."""
    shapes = einsum_shapes(config)
    contraction = bind(config.equation, list(shapes.values()))
    terms, output, sizes = contraction.operands, contraction.output, contraction.sizes
    if len(terms) > 2 or any(len(set(term)) < len(term) for term in terms) or (probe == "multiply" and len(terms) < 2):
        raise CaseError("operand_count", f"probe {probe} does not fit {config.equation!r}")
    summed = list(contraction.summed_labels)
    second = list(terms[1]) if len(terms) == 2 else summed
    if not (set(summed) <= set(terms[0]) and set(summed) <= set(second)):
        raise CaseError("unknown_label", f"a probe needs every summed label in all operands of {config.equation!r}")
    batch = [label for label in output if label in terms[0] and label in second]
    rows = [label for label in output if label not in second]
    columns = [label for label in output if label not in terms[0]]
    b, i, j, k = (math.prod(sizes[label] for label in part) for part in (batch, rows, columns, summed))
    if probe in SUMS:
        left, right = SUMS[probe](format, b * i, k), np.ones((b, k, j))
    else:
        chosen = _selected(probe, format, b * i, k, b * j)
        met = chosen.right.reshape(k, b, j)[chosen.place, np.arange(b * i) // max(i, 1)]
        if probe == "multiply" and min(np.unique(each).size for each in (chosen.left, met)) < format.precision:
            raise CaseError(
                "size_mismatch", f"too few sums to try factors of 1 to {format.precision} bits on both sides"
            )
        left = np.zeros((b * i, k))
        left[np.arange(b * i), chosen.place] = chosen.left if len(terms) == 2 else format.tiny / 2
        right = chosen.right.reshape(k, b, j).swapaxes(0, 1)
    made = [_arranged(left, [*batch, *rows, *summed], terms[0], sizes)]
    if len(terms) == 2:
        made.append(_arranged(right, [*batch, *summed, *columns], terms[1], sizes))
    return dict(zip(shapes, made, strict=True))


def _arranged(values: Float64, labels: Sequence[str], term: Sequence[str], sizes: dict[str, int]) -> Float64:
    """Values whose axes are `labels`, flattened, as an operand with the axes of `term`."""
    whole = values.reshape([sizes[label] for label in labels])
    return np.ascontiguousarray(whole.transpose([labels.index(label) for label in term]))


# Attention ---------------------------------------------------------------------------------------------------------


def _attention(config: AttentionConfig, probe: Probe, format: Format) -> dict[str, Float64]:
    """Weights that are exact in every format: 1 for one key and 0 for the others, or 1 / kv_len for all."""
    shapes = attention_shapes(config)
    if config.layout != "bshd" or [*shapes] != ["query", "key", "value"]:
        raise CaseError("shape_mismatch", "probe needs layout bshd, and query, key and value alone")
    made: dict[str, Float64] = {name: np.zeros(shape) for name, shape in shapes.items()}
    batch, length, heads, features = shapes["value"]
    if probe in SUMS:
        if length & (length - 1):
            raise CaseError("size_mismatch", f"probe {probe} needs a power of two for kv_len")
        rows = SUMS[probe](format, batch * heads * features, length)
        made["value"] = np.ascontiguousarray(rows.reshape(batch, heads, features, length).transpose(0, 3, 1, 2))
        return made
    if 2**config.head_dim < length:
        raise CaseError("size_mismatch", "a probe tells at most 2 ** head_dim keys apart")
    made["key"] = _codes(np.arange(length), shapes["key"])
    made["query"] = _codes(np.arange(config.q_len) * 7 % length, shapes["query"])
    number = np.arange(made["value"].size).reshape(shapes["value"])
    if heads * features < format.precision:  # of each key, for few are selected
        raise CaseError("size_mismatch", f"too few values of a key to try 1 to {format.precision} bits")
    made["value"] = (
        _pattern(1 + number % format.precision)
        if probe == "multiply"
        else np.ldexp(format.tiny, -1 - number % (format.precision - 2))
    )
    return made


def _codes(numbers: npt.NDArray[np.int64], shape: Shape) -> Float64:
    """The binary digits of a number for each place of the sequence, as two numbers of equal magnitude."""
    digits = numbers[:, None] >> np.arange(shape[-1]) & 1
    return np.broadcast_to(CERTAIN * (2.0 * digits - 1)[:, None, :], shape).copy()
