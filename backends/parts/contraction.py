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

# In the order that an output left out has, capitals first: NumPy and PyTorch number them alike
NUMBERS = {label: number for number, label in enumerate(string.ascii_uppercase + string.ascii_lowercase)}
# Of more operands an exhaustive search for the best order can take minutes: it grows with their factorial
LONGEST_SEARCH = 6


@dataclass(frozen=True)
class Contraction:
    """An equation with the function that evaluates it; a value, so that equal contractions are compiled once.

    `options` are further keyword arguments of the function.
    """

    evaluate: Callable[..., Tensor]
    equation: str
    options: tuple[tuple[str, Any], ...] = ()

    def __call__(self, operands: Operands) -> Tensor:
        # By name: jax.jit and tf.function hand a mapping on sorted, where operand_10 precedes operand_2
        tensors = (operands[f"operand_{i}"] for i in range(len(operands)))
        return self.evaluate(self.equation, *tensors, **dict(self.options))


def interleaved(equation: str, operands: Sequence[Tensor]) -> list[Any]:
    """The same contraction without a string: each operand followed by its labels as numbers, then those of the output.

    >>> interleaved("Bi,...i", ["x", "y"])
    ['x', [1, 34], 'y', [Ellipsis, 34]]
    """
    terms, output = parse(equation)
    arguments = [each for pair in zip(operands, map(_numbered, terms), strict=True) for each in pair]
    return arguments if output is None else [*arguments, _numbered(output)]


def has_sublists(equation: str, operand_count: int) -> bool:
    """Whether there is such a form: of an equation that can be read and has a term for each operand."""
    try:
        return len(parse(equation)[0]) == operand_count
    except CaseError:
        return False


def too_long_a_search(config: EinsumConfig) -> str | None:
    """Why the best order of contraction is not searched for exhaustively, or None where it can be."""
    if config.operand_count <= LONGEST_SEARCH:
        return None
    return "an exhaustive search for the best order of so many operands can take minutes"


def _numbered(term: Term) -> list[Any]:
    return [Ellipsis if label == ELLIPSIS else NUMBERS[label] for label in term]
