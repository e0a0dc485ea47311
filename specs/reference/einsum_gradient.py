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

A gradient that is c itself, moved, spread or taken apart, is a copy, and so it is off a diagonal.  How wrong it may be
is that of the same einsum: `specs.bound.einsum_gradient`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from specs.arithmetic.double_double import broadcast_to, where
from specs.case.equation import ELLIPSIS, Contraction, Shape, Term


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
