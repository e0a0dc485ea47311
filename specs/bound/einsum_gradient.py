"""The error bound of an einsum's gradient, which is an einsum of the cotangent and the other operands.

The value is that of `specs.reference.einsum_gradient`; the bound that of `specs.bound.einsum`, with the cotangent c as
an operand:
    K       product of the sizes of all labels that operand i does not vary along, those of the output included
    n       as in the forward computation: the cotangent takes the place of operand i
    stages  n - 2 partial products: backpropagation multiplies c with one stored factor for each product on the path
            from the output to operand i, and these factors together use the other products of the forward
            computation; + 1 for each factor that may be summed before it is multiplied; + 1 for a deferred sum: if
            operand i was broadcast, its gradient may be computed at the full size, stored, and then summed (also if
            another operand was broadcast, along a label that operand i lacks, and so their product).  Where operand i
            only lacks a label nothing was broadcast, and products that are stored before they are summed are a finding
An operand of another dtype than the result: its gradient is computed in the result's dtype, which counts as one more
rounding, and converted to the operand's dtype, to which the comparison rounds.  The gradient of a real operand of a
complex result is the real part: the imaginary part that conversion gives the operand is the constant 0.

A gradient that only copies elements of c is exact: E = 0.  So are the zeros off a diagonal.
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
from specs.reference.einsum_gradient import deferred_sum_labels, gradient_contraction, place_on_diagonal
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
    """The reference gradient of operand `of`, in that operand's dtype, for a result and a cotangent of `dtype`.

    `random`: operands hold independent random numbers; the cotangent always does.
    """
    forward = bind(config.equation, [operand.shape for operand in operands])
    shape = operands[of].shape
    contraction = gradient_contraction(forward, of, shape)
    deferred = deferred_sum_labels(forward, [operand.shape for operand in operands], parse(config.equation)[0], of)
    factors = [cotangent, *operands[:of], *operands[of + 1 :]]
    assert dtype.format is not None
    precision = precision.replace(
        storage=dtype.format.name
    )  # `precision` may come from the reference of an operand of another dtype
    bounded = inexact_reference(contraction, factors, dtype, precision, random, deferred)
    if (operand_dtype := DTYPES[dtype_name(operands[of].dtype)]) != dtype:
        bounded = convert_gradient(bounded, operand_dtype)
    assert bounded.error is not None
    term, rank = forward.operands[of], len(contraction.output)
    fields = {name: getattr(bounded, name) for name in ("value", "error", "deviation", "shared")}
    placed = {name: place_on_diagonal(x, rank, term, shape) for name, x in fields.items() if x is not None}
    facts: dict[str, Any] = {"gradient_of": f"operand_{of}"}
    if (diagonal_size := math.prod(contraction.output_shape)) < math.prod(shape):
        facts["on_diagonal"] = diagonal_size / math.prod(shape)  # the share of elements that may differ from 0
    return replace(bounded, **placed, facts=bounded.facts | facts)


def convert_gradient(gradient: Reference, dtype: DType) -> Reference:
    """Convert a gradient in the result's dtype to the operand's `dtype`."""
    precision, value, error = gradient.precision, gradient.value, gradient.error
    deviation, shared = gradient.deviation, gradient.shared
    assert precision is not None
    assert error is not None
    assert dtype.format is not None
    if gradient.dtype.kind == "complex" and dtype.kind != "complex":
        error, deviation, shared = (
            x if x is None else np.broadcast_to(x, value.shape)[..., 0] for x in (error, deviation, shared)
        )
        value = value[..., 0]
        assert error is not None
    storage = precision.storage
    with np.errstate(all="ignore"):
        y = to_float64(value)
        largest = np.abs(y) + error
        rounding = storage.unit_roundoff * (2 if precision.truncates else 1) * largest
        rounding = rounding + (storage.tiny if precision.flushes else storage.smallest)
        is_exact = (error == 0) & (round_to(y, storage) == y) | ~np.isfinite(y)
        error = np.where(is_exact, error, np.where(largest >= storage.max, np.inf, error + rounding))
        shared = None if shared is None else shared + rounding
    narrowed = precision.replace(storage=dtype.format.name)
    return replace(
        gradient, dtype=dtype, value=value, error=error, precision=narrowed, deviation=deviation, shared=shared
    )
