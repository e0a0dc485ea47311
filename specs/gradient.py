"""Reference gradients of an einsum: the vector-Jacobian product is an einsum too, so value and bound are those of one.

For y = einsum(x_0 … x_{n-1}) and a cotangent c of y's shape, the gradient of operand i is

    g_i = d/dx_i sum(c * y) = einsum(c, the other operands -> labels of operand i)

because y is linear in each operand: its derivative along x_i is what the other operands multiply it with.  Beyond that,
    an axis of size 1 that broadcast      is read once for each place, so its gradient is the sum over them
    a label that only operand i has       adds up in y with weight 1, so the gradient is constant along it
    a label repeated within operand i     reads the diagonal only: off it the gradient is zero, exactly

Complex operands.  The project holds g_i = einsum(c, others) as it stands, without conjugation: the transpose of the
derivative, which is what jax.vjp returns.  An einsum is holomorphic, so this says everything about its derivative, and
it keeps one formula for all dtypes.  PyTorch and TensorFlow return the gradient for steepest descent, dL/d(conj x) for
a real L, which is einsum(c, conj(others)); that is conj(g_i) for the cotangent conj(c).  Neither is wrong, and
conjugation changes no digit, so a backend declares its convention (`Backend.conjugates`) and is held to it: where it
does not hold, every complex gradient fails.

Bound.  That of `specs.einsum`, in which c counts as an operand:
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
import numpy.typing as npt

from specs.bound import Reference, rounded
from specs.case import EinsumConfig
from specs.double_double import broadcast_to, where
from specs.einsum import inexact_reference
from specs.equation import ELLIPSIS, Contraction, Shape, Term, bind, parse
from specs.formats import DTYPES, Array, DType, dtype_name, round_to
from specs.precision import Precision


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
    precision = precision.but(storage=dtype.format.name)  # also where the one given was that of a found reference
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
        y = rounded(value)
        largest = np.abs(y) + error
        lost = stored.unit_roundoff * (2 if precision.truncates else 1) * largest
        lost = lost + (stored.tiny if precision.flushes else stored.smallest)
        kept = (error == 0) & (round_to(y, stored) == y) | ~np.isfinite(y)
        error = np.where(kept, error, np.where(largest >= stored.max, np.inf, error + lost))
        shared = None if shared is None else shared + lost
    narrowed = precision.but(storage=own.format.name)
    return replace(found, dtype=own, value=value, error=error, precision=narrowed, deviation=deviation, shared=shared)


def transposed(forward: Contraction, of: int, shape: Shape) -> Contraction:
    """The contraction of the cotangent and the other operands into the labels that operand `of` varies along.

    >>> transposed(bind("iij,jk->k", [(2, 2, 1), (3, 4)]), 0, (2, 2, 1))
    Contraction(operands=(('k',), ('j', 'k')), output=('i',), sizes={'i': 2, 'j': 3, 'k': 4})
    """
    own = dict(zip(forward.operands[of], shape, strict=True))
    varying = tuple(label for label, size in own.items() if size == forward.sizes[label])
    others = (*forward.operands[:of], *forward.operands[of + 1 :])
    return Contraction((forward.output, *others), varying, forward.sizes)


def summed_late(forward: Contraction, shapes: Sequence[Shape], terms: Sequence[Term], of: int) -> Term:
    """Labels along which operand `of`, or a product that it is part of, was broadcast; `terms` are as written.

    >>> summed_late(bind("i,ij,ij->ij", [(2,), (2, 1), (2, 3)]), [(2,), (2, 1), (2, 3)], ["i", "ij", "ij"], 0)
    ('j',)
    """
    varying = transposed(forward, of, shapes[of]).output
    broadcast = (
        broadcast_along(forward, i, shape, ELLIPSIS in term)
        for i, (shape, term) in enumerate(zip(shapes, terms, strict=True))
    )
    return tuple(dict.fromkeys(label for labels in broadcast for label in labels if label not in varying))


def broadcast_along(forward: Contraction, of: int, shape: Shape, unnamed: bool) -> Term:
    """The labels along which operand `of` was broadcast; `unnamed` says that it has an ellipsis.

    They are those of which it has size 1 and, where it has an ellipsis, the unnamed axes that it has too few of.
    """
    own = dict(zip(forward.operands[of], shape, strict=True))
    size_one = (label for label, size in own.items() if size != forward.sizes[label])
    too_few = (label for label in forward.sizes if unnamed and label.startswith(ELLIPSIS) and label not in own)
    return (*size_one, *too_few)


def onto_diagonal(values: Any, rank: int, term: Term, shape: Shape) -> Any:
    """Values over the `rank` labels that an operand varies along, as an array of its shape: zero off its diagonals.

    Any further axes (a complex value's two parts) stay behind the operand's.

    >>> onto_diagonal(np.array([5.0, 7.0]), 1, ("i", "i"), (2, 2)).tolist()
    [[5.0, 0.0], [0.0, 7.0]]
    """
    parts = values.shape[rank:]
    first = [term.index(label) == axis for axis, label in enumerate(term)]
    thin = tuple(size if is_first else 1 for size, is_first in zip(shape, first, strict=True))
    spread = broadcast_to(values.reshape((*thin, *parts)), (*shape, *parts))
    if all(first):
        return spread
    diagonal = on_diagonal(term, shape)
    return where(diagonal.reshape((*shape, *(1 for _ in parts))), spread, 0.0)


def on_diagonal(term: Term, shape: Shape) -> npt.NDArray[np.bool_]:
    """Where the indices of each repeated label agree."""
    indices = np.indices(shape, sparse=True)
    agree = np.ones(shape, bool)
    for axis, label in enumerate(term):
        agree &= indices[axis] == indices[term.index(label)]
    return agree
