"""Gradients of einsum in narrow arithmetic: backpropagation along any order of contraction, and its reference."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from specs.arithmetic.formats import DTYPES, Array, cast, round_to
from specs.arithmetic.precision import Precision, declared_precision
from specs.bound import einsum_gradient
from specs.case.einsum import EinsumConfig
from specs.case.equation import bind, parse
from specs.reference.einsum_gradient import deferred_sum_labels
from specs.reference.reference import Reference
from tests.support.narrow_arithmetic import Simulated

Shapes = Sequence[tuple[int, ...]]


def draw(shape: tuple[int, ...], dtype: str, generator: np.random.Generator) -> Array:
    values = generator.standard_normal(shape)
    return cast(values + 1j * generator.standard_normal(shape) if dtype.startswith("c") else values, DTYPES[dtype])


def make_inputs(equation: str, shapes: Shapes, dtype: str, seed: int = 0) -> tuple[list[Array], Array]:
    """Random operands and cotangent."""
    generator = np.random.default_rng(seed)
    cotangent = draw(bind(equation, list(shapes)).output_shape, dtype, generator)
    return [draw(shape, dtype, generator) for shape in shapes], cotangent


def reference(
    equation: str,
    operands: list[Array],
    cotangent: Array,
    of: int,
    dtype: str,
    p: Precision | None = None,
    **options: Any,
) -> Reference:
    config = EinsumConfig(equation=equation, shapes=[list(o.shape) for o in operands])
    p = p or declared_precision(DTYPES[dtype])
    return einsum_gradient.reference(config, DTYPES[dtype], operands, cotangent, of, p, **{"random": True} | options)


def deferred_labels(equation: str, shapes: Shapes, of: int) -> tuple[str, ...]:
    return deferred_sum_labels(bind(equation, list(shapes)), shapes, parse(equation)[0], of)


class Backpropagation(Simulated):
    """Contracts pair by pair in a random order, then propagates gradients back along it; stores intermediates."""

    expanded = False  # whether operands are first expanded along the axes that broadcast

    def gradients(self, equation: str, operands: list[Array], cotangent: Array) -> list[Array]:
        contraction = bind(equation, [o.shape for o in operands])
        sizes = contraction.sizes
        letter = {label: chr(ord("a") + i) for i, label in enumerate(sizes)}
        nodes: list[tuple[tuple[list[str], Array], Any]] = []
        for i, (term, operand) in enumerate(zip(contraction.operands, operands, strict=True)):
            labels = list(dict.fromkeys(term))
            own = np.einsum("".join(letter[x] for x in term) + "->" + "".join(letter[x] for x in labels), operand)
            if self.expanded:
                own = np.broadcast_to(own, [sizes[x] for x in labels])
            needed = [axis for axis, label in enumerate(labels) if own.shape[axis] == sizes[label]]
            nodes.append((([labels[axis] for axis in needed], own.reshape([own.shape[axis] for axis in needed])), i))
        while len(nodes) > 1:
            i, j = sorted(self.random.choice(len(nodes), 2, replace=False))
            second, first = nodes.pop(j), nodes.pop(i)
            needed = set(contraction.output).union(*(part[0] for part, _ in nodes))
            nodes.append((self.store(self.multiply(first[0], second[0], needed)), (first, second)))
        gradients: dict[int, Array] = {}
        self.backward(nodes[0], (list(contraction.output), cotangent), gradients)
        return [
            self.place(gradients[i], term, operand.shape, sizes)
            for i, (term, operand) in enumerate(zip(contraction.operands, operands, strict=True))
        ]

    def backward(self, node: Any, grad: tuple[list[str], Array], gradients: dict[int, Array]) -> None:
        (labels, values), origin = node
        grad = self.expand(self.sum_labels(*grad, set(labels)), labels, values.shape)
        if isinstance(origin, int):
            gradients[origin] = grad[1]
            return
        for child, sibling in (origin, origin[::-1]):
            product = self.multiply(grad, sibling[0], set(child[0][0]))
            self.backward(
                child, self.store(product) if self.expanded or type(child[1]) is tuple else product, gradients
            )

    def expand(self, part: tuple[list[str], Array], labels: list[str], shape: tuple[int, ...]) -> Any:
        """Repeat along labels that only the operand has."""
        own, values = part
        values = values.transpose([own.index(x) for x in labels if x in own])
        thin = [n if x in own else 1 for x, n in zip(labels, shape, strict=True)]
        return labels, np.broadcast_to(values.reshape(thin), shape)

    def place(self, grad: Array, term: Any, shape: tuple[int, ...], sizes: Mapping[str, int]) -> Array:
        distinct = list(dict.fromkeys(term))
        own = dict(zip(term, shape, strict=True))
        if self.expanded:
            varying = [x for x in distinct if own[x] == sizes[x]]
            _, grad = self.sum_labels(distinct, grad, set(varying))
        grad = round_to(grad, self.p.storage).reshape([own[x] for x in distinct])
        whole = np.zeros(shape)
        for index in np.ndindex(grad.shape):
            position = dict(zip(distinct, index, strict=True))
            whole[tuple(position[x] for x in term)] = grad[index]
        return whole


class Expanded(Backpropagation):
    expanded = True


class DeferredSum(Backpropagation):
    """Each product expands what was broadcast: its gradient is stored at that size, summed later, and stored again."""

    deferred: frozenset[str]

    def gradients(self, equation: str, operands: list[Array], cotangent: Array) -> list[Array]:
        shapes = [o.shape for o in operands]
        self.deferred = frozenset(label for i in range(len(shapes)) for label in deferred_labels(equation, shapes, i))
        return super().gradients(equation, operands, cotangent)

    def backward(self, node: Any, grad: tuple[list[str], Array], gradients: dict[int, Array]) -> None:
        (labels, values), origin = node
        if self.deferred.intersection(grad[0]).difference(labels) and isinstance(origin, tuple):
            grad = self.store(self.sum_labels(*grad, set(labels)))
        grad = self.expand(self.sum_labels(*grad, set(labels)), labels, values.shape)
        if isinstance(origin, int):
            gradients[origin] = grad[1]
            return
        for child, sibling in (origin, origin[::-1]):
            full = self.multiply(grad, sibling[0], set(child[0][0]) | self.deferred)
            is_stored = isinstance(child[1], tuple) or not set(full[0]).issubset(child[0][0])
            self.backward(child, self.store(full) if is_stored else full, gradients)
