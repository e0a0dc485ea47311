"""An equation as a backend's einsum is called with it."""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from backends.parts.primitives import Operands, Tensor
from specs.case.einsum import EinsumConfig
from specs.case.equation import ELLIPSIS, Term, parse
from specs.case.error import CaseError

# In the order of an implicit output, capitals first; the same numbers in NumPy and PyTorch
LABEL_NUMBERS = {label: number for number, label in enumerate(string.ascii_uppercase + string.ascii_lowercase)}
# With more operands an exhaustive search for the best order, which grows with their factorial, can take minutes
MAX_SEARCH_OPERANDS = 6


@dataclass(frozen=True)
class Contraction:
    """An equation and the function that evaluates it.  Equal contractions compare equal, so they are compiled once.

    `options` are further keyword arguments of the function.
    """

    evaluate: Callable[..., Tensor]
    equation: str
    options: tuple[tuple[str, Any], ...] = ()

    def __call__(self, operands: Operands) -> Tensor:
        # By name: jax.jit and tf.function sort mappings, which puts operand_10 before operand_2
        tensors = (operands[f"operand_{i}"] for i in range(len(operands)))
        return self.evaluate(self.equation, *tensors, **dict(self.options))


def interleave(equation: str, operands: Sequence[Tensor]) -> list[Any]:
    """The same einsum's arguments without a string: each operand, then its labels as numbers; last the output's labels.

    >>> interleaved("Bi,...i", ["x", "y"])
    ['x', [1, 34], 'y', [Ellipsis, 34]]
    """
    terms, output = parse(equation)
    arguments = [argument for pair in zip(operands, map(_label_numbers, terms), strict=True) for argument in pair]
    return arguments if output is None else [*arguments, _label_numbers(output)]


def has_sublists(equation: str, operand_count: int) -> bool:
    """Whether the equation has that form: it can be parsed and has a term for each operand."""
    try:
        return len(parse(equation)[0]) == operand_count
    except CaseError:
        return False


def search_limitation(config: EinsumConfig) -> str | None:
    """Why no exhaustive search for the best order of contraction is made; None where one is possible."""
    if config.operand_count <= MAX_SEARCH_OPERANDS:
        return None
    return "an exhaustive search for the best order of so many operands can take minutes"


def _label_numbers(term: Term) -> list[Any]:
    return [Ellipsis if label == ELLIPSIS else LABEL_NUMBERS[label] for label in term]
