"""How wrong may a correct gradient of an einsum be?  As an einsum of the cotangent and the other operands may.

The value is that of `specs.reference.einsum_gradient`; the bound that of `specs.bound.einsum`, in which the cotangent c
counts as an operand:
    K       product of the sizes of all labels that operand i does not vary along, those of the output included
    n       the same as the forward computation has, the cotangent in the place of operand i
    stages  n - 2 partial products: backpropagation multiplies c with one stored factor for each product on the path
            from the output to operand i, and all factors together are made of the other products of the forward
            computation; + 1 for each factor that may be summed beforehand; + 1 if operand i was broadcast, because its
            gradient may be made at the full size, stored, and summed afterwards (or another operand was, along a label
            that operand i lacks, and their product with it).  Not where operand i merely lacks a label: there nothing
            was broadcast, and products that are stored before they are summed are a finding
An operand of another dtype than the result.  Its gradient is computed in the result's dtype, which counts as one more
rounding, and converted to the operand's, which the comparison rounds to.  Of a real operand it is the real part: the
real number that the operand is gets an imaginary part of zero on its way in, which does not vary.

A gradient that is c itself, moved, spread or taken apart, is a copy: E = 0.  So it is off a diagonal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from specs.arithmetic.double_double import to_float64
from specs.arithmetic.formats import DTYPES, Array, DType, dtype_name, round_to
from specs.arithmetic.precision import Precision
from specs.bound.einsum import inexact_reference
from specs.case.einsum import EinsumConfig
from specs.case.equation import bind, parse
from specs.reference.einsum_gradient import onto_diagonal, summed_late, transposed
from specs.reference.reference import Reference


def reference(
    config: EinsumConfig,
    dtype: DType,
    operands: Sequence[Array],
    cotangent: Array,
    of: int,
    precision: Precision,
    random: bool,
) -> Reference:
    """Reference of the gradient of operand `of`, in the operand's own dtype, for a result and a cotangent of `dtype`.

    `random` says that operands hold independent random numbers; the cotangent always does.
    """
    forward = bind(config.equation, [operand.shape for operand in operands])
    shape = operands[of].shape
    contraction = transposed(forward, of, shape)
    late = summed_late(forward, [operand.shape for operand in operands], parse(config.equation)[0], of)
    factors = [cotangent, *operands[:of], *operands[of + 1 :]]
    assert dtype.format is not None
    precision = precision.replace(storage=dtype.format.name)  # also where the one given was that of a found reference
    found = inexact_reference(contraction, factors, dtype, precision, random, late)
    if (own := DTYPES[dtype_name(operands[of].dtype)]) != dtype:
        found = converted(found, own)
    assert found.error is not None
    term, rank = forward.operands[of], len(contraction.output)
    given = {name: getattr(found, name) for name in ("value", "error", "deviation", "shared")}
    spread = {name: onto_diagonal(x, rank, term, shape) for name, x in given.items() if x is not None}
    facts: dict[str, Any] = {"gradient_of": f"operand_{of}"}
    if (on := math.prod(contraction.output_shape)) < math.prod(shape):
        facts["on_diagonal"] = on / math.prod(shape)  # the share of the elements that are not 0 by construction
    return replace(found, **spread, facts=found.facts | facts)


def converted(found: Reference, own: DType) -> Reference:
    """A gradient in the result's dtype as that of an operand whose dtype is `own`."""
    precision, value, error = found.precision, found.value, found.error
    deviation, shared = found.deviation, found.shared
    assert precision is not None
    assert error is not None
    assert own.format is not None
    if found.dtype.kind == "complex" and own.kind != "complex":
        error, deviation, shared = (
            x if x is None else np.broadcast_to(x, value.shape)[..., 0] for x in (error, deviation, shared)
        )
        value = value[..., 0]
        assert error is not None
    stored = precision.storage
    with np.errstate(all="ignore"):
        y = to_float64(value)
        largest = np.abs(y) + error
        lost = stored.unit_roundoff * (2 if precision.truncates else 1) * largest
        lost = lost + (stored.tiny if precision.flushes else stored.smallest)
        kept = (error == 0) & (round_to(y, stored) == y) | ~np.isfinite(y)
        error = np.where(kept, error, np.where(largest >= stored.max, np.inf, error + lost))
        shared = None if shared is None else shared + lost
    narrowed = precision.replace(storage=own.format.name)
    return replace(found, dtype=own, value=value, error=error, precision=narrowed, deviation=deviation, shared=shared)
