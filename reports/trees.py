"""Trees that a page turns into MathML, and symbols that write themselves as such.

A tree is a string or `[tag, child, …]`: `["msub", ["mi", "A"], ["mi", "i"]]`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

Tree = str | list[Any]


def identifier(text: str) -> Tree:
    return ["mi", text]


def number(value: float | str) -> Tree:
    text = f"{value:.6g}" if isinstance(value, float) and math.isfinite(value) else str(value)
    return ["mn", text]


def operator(text: str) -> Tree:
    return ["mo", text]


def words(text: str) -> Tree:
    return ["mtext", text.replace(" ", "\N{NO-BREAK SPACE}")]


def row(*children: Tree) -> Tree:
    return ["mrow", *children]


def summation(over: Sequence[Tree]) -> Tree:
    return ["munder", operator("∑"), join_indices(over)]


def join_indices(indices: Sequence[Tree]) -> Tree:
    """Single letters side by side; longer indices separated by commas."""
    if all(index[0] == "mi" for index in indices):
        return row(*indices)
    return row(*[part for index in indices for part in (operator(","), index)][1:])


def indexed(tensor: str, indices: Sequence[Tree], above: str | None = None) -> Tree:
    if not indices:
        return identifier(tensor)
    if above:
        return ["msubsup", identifier(tensor), join_indices(indices), identifier(above)]
    return ["msub", identifier(tensor), join_indices(indices)]


# Symbols --------------------------------------------------------------------------------------------------------------


class Expression:
    """A symbol of which operators and `Functions` make terms, so that a function which is applied to it is written."""

    def __init__(self, *parts: Tree, is_sum: bool = False) -> None:
        self.parts, self.is_sum = parts, is_sum

    @property
    def tree(self) -> Tree:
        return self.parts[0] if len(self.parts) == 1 else row(*self.parts)

    @property
    def factors(self) -> tuple[Tree, ...]:
        return (operator("("), *self.parts, operator(")")) if self.is_sum else self.parts

    def __add__(self, other: Any) -> Expression:
        return self._join(self, "+", other)

    def __radd__(self, other: Any) -> Expression:
        return self._join(other, "+", self)

    def __sub__(self, other: Any) -> Expression:
        return self._join(self, "−", other)

    def __mul__(self, other: Any) -> Expression:
        return Expression(*self.factors, *_expression(other).factors)

    def __rmul__(self, other: Any) -> Expression:
        return Expression(*_expression(other).factors, *self.factors)

    def __truediv__(self, other: Any) -> Expression:
        return Expression(["mfrac", self.tree, _expression(other).tree])

    def _join(self, left: Any, sign: str, right: Any) -> Expression:
        return Expression(*_expression(left).parts, operator(sign), *_expression(right).factors, is_sum=True)


def _expression(value: Any) -> Expression:
    return value if isinstance(value, Expression) else Expression(number(value))


class Functions:
    """Any function of symbols, by its name."""

    def __getattr__(self, name: str) -> Callable[..., Expression]:
        def call(*arguments: Any) -> Expression:
            written = [part for argument in arguments for part in (operator(","), _expression(argument).tree)][1:]
            return Expression(identifier(name), operator("("), *written, operator(")"))

        return call
