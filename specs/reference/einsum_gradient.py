"""Reference gradients of einsum: the vector-Jacobian product is an einsum too, and so are its value and bound.

For y = einsum(x_0 … x_{n-1}) and a cotangent c of y's shape, the gradient of operand i is

    g_i = d/dx_i sum(c * y) = einsum(c, the other operands -> labels of operand i)

because y is linear in each operand: its derivative by x_i is the product of the other operands.  Besides,
    an axis of size 1 that broadcasts     is used once per index, so its gradient is the sum over them
    a label that only operand i has       is summed with weight 1, so the gradient is constant along it
    a label repeated within operand i     takes the diagonal: off it the gradient is exactly zero

Complex operands.  The reference is g_i = einsum(c, others) without conjugation: the transpose of the derivative, which
jax.vjp returns.  An einsum is holomorphic, so this determines its derivative, and it is one formula for all dtypes.
PyTorch and TensorFlow return the gradient for steepest descent, dL/d(conj x) for a real L, which is
einsum(c, conj(others)); that is conj(g_i) for the cotangent conj(c).  Neither is wrong, and conjugation rounds nothing,
so a backend declares its convention (`Backend.conjugates`): if the declaration is wrong, every complex gradient fails.

A gradient that only copies elements of c is exact, and so are the zeros off a diagonal.  The error bound is that of the
same einsum: `specs.bound.einsum_gradient`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from specs.arithmetic.double_double import broadcast_to, where
from specs.case.equation import ELLIPSIS, Contraction, Shape, Term


def gradient_contraction(forward: Contraction, of: int, shape: Shape) -> Contraction:
    """The contraction of the cotangent and the other operands into the labels that operand `of` varies along.

    >>> gradient_contraction(bind("iij,jk->k", [(2, 2, 1), (3, 4)]), 0, (2, 2, 1))
    Contraction(operands=(('k',), ('j', 'k')), output=('i',), sizes={'i': 2, 'j': 3, 'k': 4})
    """
    own = dict(zip(forward.operands[of], shape, strict=True))
    varying = tuple(label for label, size in own.items() if size == forward.sizes[label])
    others = (*forward.operands[:of], *forward.operands[of + 1 :])
    return Contraction((forward.output, *others), varying, forward.sizes)


def deferred_sum_labels(forward: Contraction, shapes: Sequence[Shape], terms: Sequence[Term], of: int) -> Term:
    """Labels of a deferred sum: operand `of`, or a product with it, was broadcast along them; `terms` are as written.

    >>> deferred_sum_labels(bind("i,ij,ij->ij", [(2,), (2, 1), (2, 3)]), [(2,), (2, 1), (2, 3)], ["i", "ij", "ij"], 0)
    ('j',)
    """
    varying = gradient_contraction(forward, of, shapes[of]).output
    broadcast = (
        broadcast_labels(forward, i, shape, ELLIPSIS in term)
        for i, (shape, term) in enumerate(zip(shapes, terms, strict=True))
    )
    return tuple(dict.fromkeys(label for labels in broadcast for label in labels if label not in varying))


def broadcast_labels(forward: Contraction, of: int, shape: Shape, has_ellipsis: bool) -> Term:
    """The labels along which operand `of` was broadcast.

    They are those for which it has size 1 and, where it has an ellipsis, the unnamed axes that it lacks.
    """
    own = dict(zip(forward.operands[of], shape, strict=True))
    size_one = (label for label, size in own.items() if size != forward.sizes[label])
    missing = (label for label in forward.sizes if has_ellipsis and label.startswith(ELLIPSIS) and label not in own)
    return (*size_one, *missing)


def place_on_diagonal(values: Any, rank: int, term: Term, shape: Shape) -> Any:
    """Values over the `rank` labels that an operand varies along, as an array of its shape: zero off its diagonals.

    Further axes (the two parts of a complex value) stay last.

    >>> place_on_diagonal(np.array([5.0, 7.0]), 1, ("i", "i"), (2, 2)).tolist()
    [[5.0, 0.0], [0.0, 7.0]]
    """
    parts = values.shape[rank:]
    first = [term.index(label) == axis for axis, label in enumerate(term)]
    unit_shape = tuple(size if is_first else 1 for size, is_first in zip(shape, first, strict=True))
    spread = broadcast_to(values.reshape((*unit_shape, *parts)), (*shape, *parts))
    if all(first):
        return spread
    diagonal = diagonal_mask(term, shape)
    return where(diagonal.reshape((*shape, *(1 for _ in parts))), spread, 0.0)


def diagonal_mask(term: Term, shape: Shape) -> npt.NDArray[np.bool_]:
    """Where the indices of each repeated label are equal."""
    indices = np.indices(shape, sparse=True)
    agree = np.ones(shape, bool)
    for axis, label in enumerate(term):
        agree &= indices[axis] == indices[term.index(label)]
    return agree
