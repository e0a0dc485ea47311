"""Directions: what a check asks a backend for, and the outputs that must come back.

A direction is an object of its own: which cases have it, which outputs it has, and how a backend is asked for them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

from specs.arithmetic.formats import DTYPES, Array
from specs.arithmetic.precision import Precision
from specs.case.attention import AttentionConfig
from specs.case.case import Case
from specs.inputs import designed, inputs
from specs.verdict.check import Check

RESULT = "result"


class Computes(Protocol):
    """What a verdict needs of a backend."""

    def unsupported(self, check: Check) -> str | None: ...
    def precision(self, check: Check) -> Precision: ...
    def run(self, check: Check, operands: Mapping[str, Array]) -> Array: ...
    def gradient(self, check: Check, operands: Mapping[str, Array], cotangent: Array) -> Mapping[str, Array]: ...


@dataclass(frozen=True)
class Output:
    """One array that a check must return.

    label        `result`, or the operand whose gradient it is
    case         what it is of: the check's own case, or the same under a designed recipe
    gradient_of  the operand whose gradient it is, if it is one
    recipe       the designed recipe of its inputs, if they are not the case's own
    """

    label: str
    case: Case
    gradient_of: str | None = None
    recipe: str | None = None

    @property
    def words(self) -> str:
        """How a reason names it; "" for the case's own result."""
        if self.gradient_of is not None:
            return f"gradient of {self.gradient_of}"
        return f"on {self.recipe} inputs" if self.recipe else ""


class DesignedError(Exception):
    """What a backend raised on designed inputs, after it had computed the case's own."""


class Direction(ABC):
    """What is computed of a case; `name` is that of a check and of `--direction`."""

    name: ClassVar[str]

    @abstractmethod
    def exists(self, case: Case, dtype: str) -> bool:
        """Whether a case of this dtype has it."""

    @abstractmethod
    def outputs(self, check: Check) -> list[Output]:
        """What must come back, at least one; raises CaseError for a case without a meaning."""

    @abstractmethod
    def run(self, backend: Computes, check: Check, outputs: list[Output]) -> dict[Output, Array]:
        """What does come back; raises whatever the framework raises."""


class Forward(Direction):
    """The result, on the case's own inputs and on those that are designed."""

    name = "forward"

    def exists(self, case: Case, dtype: str) -> bool:
        return True

    def outputs(self, check: Check) -> list[Output]:
        recipes = designed.applicable_recipes(check.case, check.dtype)
        own = Output(RESULT, check.case)
        return [own, *(Output(RESULT, designed.with_recipe(check.case, name), recipe=name) for name in recipes)]

    def run(self, backend: Computes, check: Check, outputs: list[Output]) -> dict[Output, Array]:
        found = {}
        for output in outputs:
            try:
                found[output] = backend.run(check, inputs.operands(output.case, check.dtype))
            except Exception as error:
                if output.recipe is None or is_out_of_memory(error):
                    raise
                raise DesignedError(f"{output.words} {in_one_line(error)}") from error
        return found


class Gradient(Direction):
    """The vector-Jacobian product for every operand that varies."""

    name = "grad"

    def exists(self, case: Case, dtype: str) -> bool:
        """Of numbers that vary continuously, in a computation that has a meaning.

        Attention that holds NaN to be right, for queries without keys or under a mask, has no derivative there.
        """
        config = case.config
        wanted = dtype in config.gradient if isinstance(config.gradient, list) else config.gradient
        if not wanted or config.expected_error:
            return False
        if isinstance(config, AttentionConfig) and (config.fully_masked == "nan" or config.masked_values == "spread"):
            return False
        operands = getattr(config, "operand_dtypes", None) or [dtype]
        return DTYPES[dtype].inexact and any(DTYPES[name].inexact for name in operands)

    def outputs(self, check: Check) -> list[Output]:
        names = inputs.differentiable(inputs.operands(check.case, check.dtype))
        return [Output(name, check.case, gradient_of=name) for name in names]

    def run(self, backend: Computes, check: Check, outputs: list[Output]) -> dict[Output, Array]:
        operands, cotangent = inputs.operands(check.case, check.dtype), inputs.cotangent(check.case, check.dtype)
        found = backend.gradient(check, operands, cotangent)
        return {output: found[output.label] for output in outputs if output.label in found}


DIRECTIONS: Mapping[str, Direction] = {direction.name: direction for direction in (Forward(), Gradient())}


# What an exception says ---------------------------------------------------------------------------------------------

OUT_OF_MEMORY = ("out of memory", "resource_exhausted", "resource exhausted")
LONGEST_MESSAGE = 500


def in_one_line(error: Exception) -> str:
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message[:LONGEST_MESSAGE]}".rstrip(": ")


def is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or any(words in str(error).lower() for words in OUT_OF_MEMORY)
