"""The operands of a case with `probe`, whose result reveals the arithmetic that computed it.

Every output element is a separate experiment with two outcomes, which assumes nothing about the order of a sum or the
size of an error.  `specs.verdict.readout` evaluates the result.

multiply    one term of each sum is not zero: a number of k significant bits times 1.  The result is that number unless
            operands are rounded to fewer bits.  The bits alternate, so that a split into a few short parts cannot hold
            them by luck.
accumulate  three terms are not zero: L, e and -L, at random places of each sum.  The sum is e where the accumulator can
            hold L + e, and 0 where it cannot: L = 1.5 * 2^14 has the same ulp above and below.  A sum in which L and -L
            meet first is uninformative, hence many arrangements for each e.
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

TOP = 14  # exponent of L: float16 holds it, and 28 bits below
ARRANGEMENTS = 12  # at least, of each pair of magnitudes: a third of them is uninformative
CERTAIN = 32.0  # of both factors of a score: the other keys' weights are exp(-2048), which is 0 in every format


def designed(config: EinsumConfig | AttentionConfig, probe: Probe, dtype: DType) -> dict[str, Float64]:
    """Operand name → values, each exact in the dtype; raises CaseError where a probe does not fit the computation."""
    assert dtype.format is not None
    if isinstance(config, AttentionConfig):
        return _attention(config, probe, dtype.format)
    return _einsum(config, probe, dtype.format)


def longest(format: Format) -> int:
    """The largest k for which accumulators of k and k + 1 bits are distinguishable; above 24 for all formats.

    Both magnitudes are normal, and the float64 reference of a narrow format still holds their sum.
    """
    return min(TOP - format.emin, 60 if format.precision > 24 else 44)


# The designs: rows of terms, and their factors --------------------------------------------------


def _pattern(bits: npt.NDArray[np.int64]) -> Float64:
    """Numbers of exactly this many significant bits: 1, 11, 101, 1011, 10101, 101011 … in [1, 2)."""
    alternating = np.ldexp(np.floor(np.ldexp(4 / 3, bits - 1)), 1 - bits)
    last = np.ldexp(1.0, 1 - bits)
    odd = np.fmod(np.ldexp(alternating, bits - 1), 2.0) == 1
    return np.asarray(np.where(odd, alternating, alternating + last))


@dataclass(frozen=True)
class _Selection:
    """The pair of factors of each sum: `left` per sum, `right` per place of the term and column of the sum."""

    place: npt.NDArray[np.int64]
    left: Float64
    right: Float64


def _select_factors(probe: Probe, format: Format, sums: int, terms: int, columns: int) -> _Selection:
    place = np.arange(sums) * 7 % terms
    where = np.arange(terms)[:, None] * columns + np.arange(columns)
    if probe == "multiply":
        on_the_right = np.arange(terms) >= (terms + 1) // 2
        rank = np.cumsum(~on_the_right[place])  # among the sums that test the left factor
        left = np.where(on_the_right[place], 1.0, _pattern(1 + rank % format.precision))
        return _Selection(place, left, np.where(on_the_right[:, None], _pattern(1 + where % format.precision), 1.0))
    number = np.arange(sums)
    shift = 2.0 ** (3 + number % (format.precision - 3))
    few = 2.0**format.precision
    kinds = np.arange(terms) % 4  # of products: subnormal * 1, subnormal * large, normal * small, 1 * subnormal
    small = format.tiny / np.minimum(shift, few / 2)
    left = np.select([kinds[place] < 2, kinds[place] == 2], [small, small * few], 1.0)
    low = format.tiny / 2.0 ** (1 + where % (format.precision - 2))
    of_term = np.array([1.0, few, 1 / few, 0.0])[kinds][:, None]
    return _Selection(place, left, np.where(kinds[:, None] == 3, low, of_term))


def _cancelling_triples(format: Format, sums: int, terms: int) -> Float64:
    """(sums, terms): each sum has the terms L, e and -L, and zeros."""
    magnitudes = longest(format)
    if terms < 3 or sums < ARRANGEMENTS * magnitudes:
        message = f"probe accumulate needs {ARRANGEMENTS * magnitudes} sums of 3 terms or more, not {sums} of {terms}"
        raise CaseError("size_mismatch", message)
    large = np.full(sums, 1.5 * 2.0**TOP)
    small = np.asarray(np.exp2(TOP - 1 - np.arange(sums) % magnitudes), np.float64)
    return _scatter(terms, large, -large, small)


def _rounding_pairs(format: Format, sums: int, terms: int) -> Float64:
    """(sums, terms): each sum has two terms of the same sign, and zeros."""
    if terms < 2:
        raise CaseError("size_mismatch", "probe rounding needs sums of 2 terms or more")
    ones = np.where(np.arange(sums) % 2, -1.0, 1.0)
    return _scatter(terms, ones, ones * 1.5 * format.unit_roundoff)


def _scatter(terms: int, *values: Float64) -> Float64:
    """(sums, terms): each sum has one of each of the values, at random places."""
    sums = len(values[0])
    bits = np.random.Philox(key=terms).random_raw(sums * terms)  # the same in every version of NumPy
    places = np.argsort(bits.reshape(sums, terms), axis=1, kind="stable")
    rows = np.zeros((sums, terms))
    for place, value in zip(places.T, values, strict=False):
        rows[np.arange(sums), place] = value
    return rows


SUMS = {"accumulate": _cancelling_triples, "rounding": _rounding_pairs}  # probes with more than one nonzero term


# Einsum ------------------------------------------------------------------------------------------------------------


def _einsum(config: EinsumConfig, probe: Probe, format: Format) -> dict[str, Float64]:
    """For a sum of one operand, or a product of two; a sum's number counts all labels but those of operand 1 alone."""
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
        selection = _select_factors(probe, format, b * i, k, b * j)
        right_factors = selection.right.reshape(k, b, j)[selection.place, np.arange(b * i) // max(i, 1)]
        if (
            probe == "multiply"
            and min(np.unique(factors).size for factors in (selection.left, right_factors)) < format.precision
        ):
            raise CaseError(
                "size_mismatch", f"too few sums to test factors of 1 to {format.precision} bits in both operands"
            )
        left = np.zeros((b * i, k))
        left[np.arange(b * i), selection.place] = selection.left if len(terms) == 2 else format.tiny / 2
        right = selection.right.reshape(k, b, j).swapaxes(0, 1)
    arrays = [_to_operand(left, [*batch, *rows, *summed], terms[0], sizes)]
    if len(terms) == 2:
        arrays.append(_to_operand(right, [*batch, *summed, *columns], terms[1], sizes))
    return dict(zip(shapes, arrays, strict=True))


def _to_operand(values: Float64, labels: Sequence[str], term: Sequence[str], sizes: dict[str, int]) -> Float64:
    """Flattened values with the axes `labels`, as an operand with the axes `term`."""
    whole = values.reshape([sizes[label] for label in labels])
    return np.ascontiguousarray(whole.transpose([labels.index(label) for label in term]))


# Attention ---------------------------------------------------------------------------------------------------------


def _attention(config: AttentionConfig, probe: Probe, format: Format) -> dict[str, Float64]:
    """Weights that are exact in every format: 1 for one key and 0 for the others, or 1 / kv_len for all."""
    shapes = attention_shapes(config)
    if config.layout != "bshd" or [*shapes] != ["query", "key", "value"]:
        raise CaseError("shape_mismatch", "probe needs layout bshd, and query, key and value alone")
    arrays: dict[str, Float64] = {name: np.zeros(shape) for name, shape in shapes.items()}
    batch, length, heads, features = shapes["value"]
    if probe in SUMS:
        if length & (length - 1):
            raise CaseError("size_mismatch", f"probe {probe} needs a power of two for kv_len")
        rows = SUMS[probe](format, batch * heads * features, length)
        arrays["value"] = np.ascontiguousarray(rows.reshape(batch, heads, features, length).transpose(0, 3, 1, 2))
        return arrays
    if 2**config.head_dim < length:
        raise CaseError("size_mismatch", "a probe distinguishes at most 2 ** head_dim keys")
    arrays["key"] = _codes(np.arange(length), shapes["key"])
    arrays["query"] = _codes(np.arange(config.q_len) * 7 % length, shapes["query"])
    number = np.arange(arrays["value"].size).reshape(shapes["value"])
    if heads * features < format.precision:  # per key, as only a few keys are selected
        raise CaseError("size_mismatch", f"too few values per key to test 1 to {format.precision} bits")
    arrays["value"] = (
        _pattern(1 + number % format.precision)
        if probe == "multiply"
        else np.ldexp(format.tiny, -1 - number % (format.precision - 2))
    )
    return arrays


def _codes(numbers: npt.NDArray[np.int64], shape: Shape) -> Float64:
    """The binary digits of one number per position, as +-CERTAIN."""
    digits = numbers[:, None] >> np.arange(shape[-1]) & 1
    return np.broadcast_to(CERTAIN * (2.0 * digits - 1)[:, None, :], shape).copy()
