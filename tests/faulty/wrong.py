"""What faults are made of: NumPy with another einsum, attention with another config, and equations taken apart."""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from backends.attention.by_hand import ByHand
from backends.base import Computation
from backends.numpy import EINSUMS, Numpy, asking
from backends.parts.contraction import Contraction
from backends.parts.primitives import Primitives
from specs.arithmetic.formats import Array
from specs.case.attention import AttentionConfig
from specs.case.einsum import EinsumConfig
from specs.case.equation import ELLIPSIS, Term, bind, parse

Einsum = Callable[..., Array]


class AnotherEinsum(Numpy):
    """NumPy with `contract` for its einsum, in contractions and in attention alike."""

    def __init__(self) -> None:
        self.primitives = replace(Numpy.primitives, einsum=partial(self.contract, np.einsum))

    def einsum(self, config: EinsumConfig, implementation: str) -> Computation:
        einsum = partial(EINSUMS[implementation], **dict(asking(config)))
        return Contraction(partial(self.contract, einsum), config.equation)

    def contract(self, einsum: Einsum, equation: str, *operands: Array) -> Array:
        """The contraction, made of calls of the right `einsum`."""
        raise NotImplementedError


class Misread(ByHand):
    """Attention that is right for `misread(config)`, which is not the config that was asked for."""

    def __init__(self, primitives: Primitives, config: AttentionConfig) -> None:
        super().__init__(primitives, config.model_copy(update=self.misread(config)))

    @staticmethod
    def misread(config: AttentionConfig) -> dict[str, Any]:
        """The fields that are taken for something else."""
        raise NotImplementedError


class LongestSum:
    """A contraction cut along the summed label that has the most terms, as kernels with blocks cut it."""

    def __init__(self, equation: str, operands: tuple[Array, ...]) -> None:
        bound = bind(equation, [x.shape for x in operands])
        self.label = max(bound.summed_labels, key=bound.sizes.__getitem__, default="")
        self.length = bound.sizes.get(self.label, 0)
        self.terms, self.operands = bound.operands, operands

    def part(self, start: int | None, stop: int | None, step: int = 1) -> list[Array]:
        """The operands of these terms alone; an axis of size 1 broadcasts, and stays."""

        def cut(label: str, size: int) -> slice:
            return slice(start, stop, step) if label == self.label and size > 1 else slice(None)

        return [x[tuple(map(cut, term, x.shape))] for term, x in zip(self.terms, self.operands, strict=True)]

    def blocks(self, size: int) -> Iterator[list[Array]]:
        return (self.part(start, min(start + size, self.length)) for start in range(0, self.length, size))


def formulated(step: type[ByHand]) -> type[Numpy]:
    """NumPy whose formulations all take the methods that `step` overrides."""
    formulations = {
        name: type(f"{step.__name__}In{right.__name__}", (step, right), {})
        for name, right in Numpy.formulations.items()
    }
    return type(step.__name__, (Numpy,), {"formulations": formulations, "__doc__": step.__doc__})


def explicit(equation: str, operands: tuple[Array, ...]) -> tuple[list[Term], Term, Iterator[str]]:
    """Terms of the operands and of the output, and letters that the equation leaves free."""
    terms, output = parse(equation)
    if output is None:
        named = [label for label in bind(equation, [x.shape for x in operands]).output if ELLIPSIS not in label]
        output = (*([ELLIPSIS] if any(ELLIPSIS in term for term in terms) else []), *named)
    return list(terms), output, (letter for letter in string.ascii_letters if letter not in equation)


def spelled(terms: list[Term], output: Term) -> str:
    return ",".join(map("".join, terms)) + "->" + "".join(output)
