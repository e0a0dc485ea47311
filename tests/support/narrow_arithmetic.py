"""Correct arithmetic of low precision, simulated: every operation is exact and then rounded to a format.

The bounds of einsum, of its gradients and of attention must cover it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from specs.arithmetic.formats import DTYPES, Array, cast, components, round_to
from specs.arithmetic.precision import Precision
from specs.case.equation import bind
from specs.reference.reference import Reference
from specs.verdict.comparison import error_ratio

Rounding = Callable[[Array], Array]


# A simulated backend: rounds after every operation ------------------------------------------------------------------


def sequential(terms: Array, rnd: Rounding) -> Array:
    total = terms[0]
    for term in terms[1:]:
        total = rnd(total + term)
    return total


def pairwise(terms: Array, rnd: Rounding) -> Array:
    while len(terms) > 1:
        even, odd = terms[: len(terms) // 2 * 2 : 2], terms[1::2]
        terms = np.concatenate([rnd(even + odd), terms[len(terms) // 2 * 2 :]])
    return terms[0]


def blocked(terms: Array, rnd: Rounding) -> Array:
    lanes = [sequential(terms[i::8], rnd) for i in range(min(8, len(terms)))]
    return sequential(np.stack(lanes), rnd)


ORDERS = {
    "sequential": sequential,
    "reversed": lambda terms, rnd: sequential(terms[::-1], rnd),
    "pairwise": pairwise,
    "blocked": blocked,
}


class Simulated:
    """Contracts pair by pair in a random order, and stores the intermediates."""

    def __init__(self, p: Precision, order: str, seed: int = 0, fused: bool = False, sums_first: bool = False) -> None:
        self.p, self.order, self.fused, self.sums_first = p, order, fused, sums_first
        self.random = np.random.default_rng(seed)

    def round(self, values: Array) -> Array:
        return round_to(values, self.p.accumulate)

    def sum(self, terms: Array) -> Array:
        return ORDERS[self.order](terms, self.round) if len(terms) else np.zeros(terms.shape[1:])

    def __call__(self, equation: str, operands: list[Array]) -> Array:
        contraction = bind(equation, [o.shape for o in operands])
        sizes, output = contraction.sizes, contraction.output
        letter = {label: chr(ord("a") + i) for i, label in enumerate(sizes)}
        parts: list[tuple[list[str], Array]] = []
        for term, operand in zip(contraction.operands, operands, strict=True):
            labels = list(dict.fromkeys(term))
            diagonal = np.einsum("".join(letter[x] for x in term) + "->" + "".join(letter[x] for x in labels), operand)
            shape = [
                sizes[x] if not self.sums_first or n > 1 else n for x, n in zip(labels, diagonal.shape, strict=True)
            ]
            parts.append((labels, np.broadcast_to(diagonal, shape)))
        if self.sums_first and len(parts) > 1:
            for i, (labels, operand) in enumerate(parts):
                others = {
                    x for j, (ls, o) in enumerate(parts) if j != i for x, n in zip(ls, o.shape, strict=True) if n > 1
                }
                if not others.union(output).issuperset(labels):
                    parts[i] = self.store(self.sum_labels(labels, operand, others.union(output)))
        while len(parts) > 1:
            i, j = sorted(self.random.choice(len(parts), 2, replace=False))
            second, first = parts.pop(j), parts.pop(i)
            needed = set(output).union(*(labels for labels, _ in parts))
            product = self.multiply(first, second, needed)
            parts.append(self.store(product) if parts else product)
        labels, result = self.sum_labels(*parts[0], set(output))
        result = np.broadcast_to(result, [sizes[x] for x in labels])
        return round_to(result.transpose([labels.index(x) for x in output]), self.p.storage)

    def store(self, part: tuple[list[str], Array]) -> tuple[list[str], Array]:
        return part[0], round_to(part[1], self.p.intermediate)

    def sum_labels(self, labels: list[str], values: Array, needed: set[str]) -> tuple[list[str], Array]:
        axes = [i for i, label in enumerate(labels) if label not in needed]
        if not axes:
            return labels, values
        front = values.transpose([*axes, *(i for i in range(len(labels)) if i not in axes)])
        terms = front.reshape((-1, *front.shape[len(axes) :]))
        return [label for label in labels if label in needed], self.sum(terms)

    def multiply(self, a: tuple[list[str], Array], b: tuple[list[str], Array], needed: set[str]) -> Any:
        labels = list(dict.fromkeys([*a[0], *b[0]]))

        def expand(part: tuple[list[str], Array]) -> Array:
            values = round_to(part[1], self.p.multiply) if self.p.u_m else part[1]
            order = [part[0].index(x) for x in labels if x in part[0]]
            return values.transpose(order).reshape(
                [values.shape[part[0].index(x)] if x in part[0] else 1 for x in labels]
            )

        left, right = expand(a), expand(b)
        if self.fused:  # one rounding for a product and its addition
            axes = [i for i, label in enumerate(labels) if label not in needed]
            exact = (left * right).transpose([*axes, *(i for i in range(len(labels)) if i not in axes)])
            terms = exact.reshape((-1, *exact.shape[len(axes) :]))
            total = np.zeros(terms.shape[1:])
            for term in terms:
                total = self.round(total + term)
            return [x for x in labels if x in needed], total
        return self.sum_labels(labels, self.round(left * right), needed)


def normal(shapes: list[tuple[int, ...]], dtype: str, seed: int = 0) -> list[Array]:
    generator = np.random.default_rng(seed)
    return [cast(generator.standard_normal(s), DTYPES[dtype]) for s in shapes]


def worst_ratio(result: Array, expected: Reference) -> float:
    values = components(np.asarray(result))
    assert expected.precision is not None
    return float(np.max(error_ratio(values, expected.value, expected.error, expected.precision), initial=0.0))


PRECISIONS = {
    "float64": ("float64", {}),
    "float64 computed in float32": (
        "float64", {"multiply": "float32", "accumulate": "float32", "intermediate": "float32"},
    ),
    "float32": ("float32", {}),
    "float32 summed in float64": ("float32", {"accumulate": "float64"}),
    "float32 by TF32": ("float32", {"multiply": "tf32"}),
    "float32 by bfloat16": ("float32", {"multiply": "bfloat16"}),
    "float32 summed in float16": ("float32", {"accumulate": "float16", "intermediate": "float16"}),
    "float16": ("float16", {}),
    "float16 stored in float32": ("float16", {"intermediate": "float32"}),
    "float16 summed in float16": ("float16", {"accumulate": "float16"}),
    "bfloat16": ("bfloat16", {}),
    "bfloat16 summed in bfloat16": ("bfloat16", {"accumulate": "bfloat16"}),
}  # fmt: skip
