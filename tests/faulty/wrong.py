"""Base classes of faults: NumPy with another einsum, attention with another config, contractions cut into blocks."""

from __future__ import annotations

import importlib
import string
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from backends.attention.by_hand import ByHand
from backends.base import Computation, Declaration
from backends.numpy import EINSUMS, Numpy, dtype_arguments
from backends.parts.contraction import Contraction
from backends.parts.primitives import Primitives
from specs.arithmetic.formats import DTYPES, Array
from specs.case.attention import AttentionConfig
from specs.case.einsum import EinsumConfig
from specs.case.equation import ELLIPSIS, Term, bind, parse

Einsum = Callable[..., Array]


class CustomEinsum(Numpy):
    """NumPy with `contract` in place of its einsum, both in contractions and in attention."""

    def __init__(self) -> None:
        self.primitives = replace(Numpy.primitives, einsum=partial(self.contract, np.einsum))

    def einsum(self, config: EinsumConfig, implementation: str) -> Computation:
        einsum = partial(EINSUMS[implementation], **dict(dtype_arguments(config)))
        return Contraction(partial(self.contract, einsum), config.equation)

    def contract(self, einsum: Einsum, equation: str, *operands: Array) -> Array:
        """The contraction, computed with calls of the right `einsum`."""
        raise NotImplementedError


class Misread(ByHand):
    """Attention that is right for another config, the requested one with the fields of `misread(config)`."""

    def __init__(self, primitives: Primitives, config: AttentionConfig) -> None:
        super().__init__(primitives, config.model_copy(update=self.misread(config)))

    @staticmethod
    def misread(config: AttentionConfig) -> dict[str, Any]:
        """The fields that are misread, with their wrong values."""
        raise NotImplementedError


class LongestSum:
    """A contraction split along the summed label with the most terms, as blocked kernels split it."""

    def __init__(self, equation: str, operands: tuple[Array, ...]) -> None:
        contraction = bind(equation, [x.shape for x in operands])
        self.label = max(contraction.summed_labels, key=contraction.sizes.__getitem__, default="")
        self.length = contraction.sizes.get(self.label, 0)
        self.terms, self.operands = contraction.operands, operands

    def part(self, start: int | None, stop: int | None, step: int = 1) -> list[Array]:
        """The operands restricted to these terms of the sum; axes of size 1 broadcast and are kept."""

        def select(label: str, size: int) -> slice:
            return slice(start, stop, step) if label == self.label and size > 1 else slice(None)

        return [x[tuple(map(select, term, x.shape))] for term, x in zip(self.terms, self.operands, strict=True)]

    def blocks(self, size: int) -> Iterator[list[Array]]:
        return (self.part(start, min(start + size, self.length)) for start in range(0, self.length, size))


def make_backend(step: type[ByHand], declarations: tuple[Declaration, ...] = Numpy.declarations) -> type[Numpy]:
    """A NumPy backend whose formulations all use the methods that `step` overrides."""
    formulations = {
        name: type(f"{step.__name__}In{formulation.__name__}", (step, formulation), {})
        for name, formulation in Numpy.formulations.items()
    }
    own = {"formulations": formulations, "declarations": declarations, "__doc__": step.__doc__}
    return type(step.__name__, (Numpy,), own)


def name_dtype(x: Any) -> str:
    """The dtype of a tensor of any framework."""
    return str(getattr(x.dtype, "name", x.dtype)).removeprefix("torch.")


def cast(x: Any, dtype: str) -> Any:
    """A tensor of any framework in another dtype."""
    if hasattr(x, "astype"):  # NumPy, JAX
        return x.astype(DTYPES[dtype].numpy)
    framework = importlib.import_module(type(x).__module__.partition(".")[0])
    return x.to(getattr(framework, dtype)) if hasattr(x, "to") else framework.cast(x, dtype)


def make_explicit(equation: str, operands: tuple[Array, ...]) -> tuple[list[Term], Term, Iterator[str]]:
    """Terms of the operands, the explicit term of the output, and letters that the equation does not use."""
    terms, output = parse(equation)
    if output is None:
        labels = [label for label in bind(equation, [x.shape for x in operands]).output if ELLIPSIS not in label]
        output = (*([ELLIPSIS] if any(ELLIPSIS in term for term in terms) else []), *labels)
    return list(terms), output, (letter for letter in string.ascii_letters if letter not in equation)


def format_equation(terms: list[Term], output: Term) -> str:
    return ",".join(map("".join, terms)) + "->" + "".join(output)
