"""The contraction of the reference: operands are multiplied pair by pair, each pair as one batched matmul.

It works on float64 arrays, on `DoubleDouble` (for float64 cases) and on integer arrays (exact modulo 2**64): whatever
`matrix_product.matmul` multiplies.  No framework's einsum is called.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from specs.arithmetic.double_double import broadcast_to, ignore_float_errors
from specs.arithmetic.matrix_product import matmul
from specs.case.equation import Contraction, Term

Real = Any  # a float64 or integer array, or DoubleDouble; one kind throughout a contraction


@ignore_float_errors
def contract(contraction: Contraction, operands: Sequence[Real]) -> Real:
    """The sum of products that `contraction` defines, of shape `contraction.output_shape`."""
    parts = [
        _sum_lone_labels(
            _with_distinct_labels(term, operand, contraction),
            contraction.operands[:i] + contraction.operands[i + 1 :],
            contraction.output,
        )
        for i, (term, operand) in enumerate(zip(contraction.operands, operands, strict=True))
    ]
    for first, second, kept in _products([term for term, _ in parts], contraction):
        rest = [part for i, part in enumerate(parts) if i not in (first, second)]
        parts = [*rest, _multiply(parts[first], parts[second], kept)]
    term, result = parts[0]
    # Labels of size 1, or of no operand (a gradient is constant along labels that only its own operand has)
    missing = tuple(label for label in contraction.output if label not in term)
    result = result.reshape((*result.shape, *(1 for _ in missing)))
    order = [(*term, *missing).index(label) for label in contraction.output]
    return broadcast_to(result.transpose(order), contraction.output_shape)


def largest_product(contraction: Contraction) -> int:
    """Elements of the largest array that `contract` makes on the way; 0 for a single operand."""
    terms = [tuple(dict.fromkeys(term)) for term in contraction.operands]
    return max((math.prod(contraction.sizes[x] for x in kept) for *_, kept in _products(terms, contraction)), default=0)


def _products(terms: Sequence[Term], contraction: Contraction) -> Iterator[tuple[int, int, Term]]:
    """The products of pairs that make one tensor of several, whose labels are `terms`.

    Yields the indices of both factors and the labels that their product keeps; the product then comes last.
    """
    while len(terms) > 1:
        first, second = _cheapest_pair(terms, contraction)
        rest = [term for i, term in enumerate(terms) if i not in (first, second)]
        needed = set(contraction.output).union(*rest)
        kept = tuple(label for label in dict.fromkeys(terms[first] + terms[second]) if label in needed)
        yield first, second, kept
        terms = [*rest, kept]


def _with_distinct_labels(term: Term, operand: Real, contraction: Contraction) -> tuple[Term, Real]:
    """The operand with distinct labels: diagonals taken, axes that broadcast dropped."""
    for label in dict.fromkeys(term):
        axes = [axis for axis, other in enumerate(term) if other == label]
        for axis in reversed(axes[1:]):
            operand = _diagonal(operand, axes[0], axis)
            term = term[:axis] + term[axis + 1 :]
    varying_axes = [axis for axis, label in enumerate(term) if operand.shape[axis] == contraction.sizes[label]]
    operand = operand.reshape(tuple(operand.shape[axis] for axis in varying_axes))
    return tuple(term[axis] for axis in varying_axes), operand


def _diagonal(operand: Real, first: int, second: int) -> Real:
    """Axes `first` < `second` become one axis, at `first`."""
    rest = [axis for axis in range(operand.ndim) if axis not in (first, second)]
    front = operand.transpose([first, second, *rest])
    along = np.arange(front.shape[0])
    diagonal = front[along, along]
    return diagonal.transpose([*range(1, first + 1), 0, *range(first + 1, diagonal.ndim)])


def _sum_lone_labels(part: tuple[Term, Real], others: Sequence[Term], output: Term) -> tuple[Term, Real]:
    """Sum over labels that neither the output nor any other operand has."""
    term, operand = part
    needed = set(output).union(*others)
    alone = tuple(axis for axis, label in enumerate(term) if label not in needed)
    if alone:
        operand = operand.sum(axis=alone)
    return tuple(label for label in term if label in needed), operand


def _cheapest_pair(terms: Sequence[Term], contraction: Contraction) -> tuple[int, int]:
    """The pair whose product has the fewest elements: greedy, so that rings and stars stay small."""
    if len(terms) == 2:
        return 0, 1
    counts = Counter(label for term in terms for label in term)

    def cost(pair: tuple[int, int]) -> int:
        own = Counter(label for i in pair for label in terms[i])
        kept = (label for label, count in own.items() if count < counts[label] or label in contraction.output)
        return math.prod(contraction.sizes[label] for label in kept)

    return min(combinations(range(len(terms)), 2), key=cost)


def _multiply(left: tuple[Term, Real], right: tuple[Term, Real], kept: Term) -> tuple[Term, Real]:
    """Product of two operands, summed over labels that are not `kept`: one batched matmul."""
    left_term, a = _sum_lone_labels(left, (right[0],), kept)
    right_term, b = _sum_lone_labels(right, (left[0],), kept)
    shared = [label for label in left_term if label in right_term]
    batch = [label for label in shared if label in kept]
    inner = [label for label in shared if label not in kept]
    rows = [label for label in left_term if label not in shared]
    columns = [label for label in right_term if label not in shared]
    sizes = dict(zip((*left_term, *right_term), (*a.shape, *b.shape), strict=True))

    def arranged(operand: Real, term: Term, *groups: list[str]) -> Real:
        ordered = operand.transpose([term.index(label) for group in groups for label in group])
        return ordered.reshape(tuple(math.prod(sizes[label] for label in group) for group in groups))

    product = matmul(arranged(a, left_term, batch, rows, inner), arranged(b, right_term, batch, inner, columns))
    result = (*batch, *rows, *columns)
    return result, product.reshape(tuple(sizes[label] for label in result))
