"""Directions: what a check computes on a backend (the result, or gradients), and the outputs that must be returned.

A direction is an object that knows which cases have it, which outputs it has, and which method of a backend to call.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from specs.arithmetic.formats import DTYPES, Array
from specs.arithmetic.precision import Precision
from specs.case.attention import AttentionConfig
from specs.case.case import Case
from specs.case.common import RESULT
from specs.inputs import designed, inputs
from specs.verdict.check import Check

COTANGENT = "cotangent"


class BackendProtocol(Protocol):
    """The part of a backend that a verdict needs."""

    def unsupported(self, check: Check) -> str | None: ...
    def precision(self, check: Check) -> Precision: ...
    def returns_view(self, check: Check) -> bool: ...
    def varies(self, check: Check) -> str | None: ...
    def run(self, check: Check, operands: Mapping[str, Array]) -> Array: ...
    def outputs(self, check: Check, operands: Mapping[str, Array]) -> Mapping[str, Array]: ...
    def gradient(self, check: Check, operands: Mapping[str, Array], cotangent: Array) -> Mapping[str, Array]: ...


@dataclass(frozen=True)
class Output:
    """One array that a check must return.

    label        `result` or the name of another output, or of the operand whose gradient it is
    case         the case that is computed: the check's own, or the same case with a designed recipe of inputs
    gradient_of  the operand whose gradient it is; None for a result
    recipe       the designed recipe of its inputs; None for the case's own inputs
    """

    label: str
    case: Case
    gradient_of: str | None = None
    recipe: str | None = None

    @property
    def description(self) -> str:
        """The name of this output in a reason; "" for the case's own result."""
        if self.gradient_of is not None:
            return f"gradient of {self.gradient_of}"
        label = "" if self.label == RESULT else self.label
        return f"{label} on {self.recipe} inputs".strip() if self.recipe else label


@dataclass(frozen=True)
class Call:
    """What a backend computes at once: outputs of one case, `recipe` is that of its inputs."""

    case: Case
    recipe: str | None
    outputs: tuple[Output, ...]


class MisbehaviourError(BaseException):
    """An adapter did what it may not; the message blames it.  What handles a framework's exceptions lets it through."""


class Direction(ABC):
    """What is computed of a case; `name` is its name in a check and in `--direction`."""

    name: ClassVar[str]

    @abstractmethod
    def exists(self, case: Case, dtype: str) -> bool:
        """Whether a case has this direction in this dtype."""

    @abstractmethod
    def arrays(self, case: Case, dtype: str) -> dict[str, Array]:
        """The arrays that a backend is given, by name: the operands and, for a gradient, the cotangent."""

    @abstractmethod
    def call(self, backend: BackendProtocol, check: Check, arrays: Mapping[str, Array]) -> Mapping[str, Array]:
        """Have the backend compute the check with these arrays; what it returns, by the label of the output."""

    @abstractmethod
    def outputs(self, check: Check) -> list[Output]:
        """The outputs that must be returned, at least one; raises CaseError for an invalid case."""

    def calls(self, outputs: Sequence[Output]) -> list[Call]:
        """The calls that compute the outputs, in their order."""
        of_case: dict[tuple[Case, str | None], list[Output]] = {}
        for output in outputs:
            of_case.setdefault((output.case, output.recipe), []).append(output)
        return [Call(case, recipe, tuple(computed)) for (case, recipe), computed in of_case.items()]


class Forward(Direction):
    """The result, on the case's own inputs and on designed inputs."""

    name = "forward"

    def exists(self, case: Case, dtype: str) -> bool:
        return True

    def arrays(self, case: Case, dtype: str) -> dict[str, Array]:
        return dict(inputs.operands(case, dtype))

    def call(self, backend: BackendProtocol, check: Check, arrays: Mapping[str, Array]) -> Mapping[str, Array]:
        if check.case.config.output_labels == (RESULT,):
            return {RESULT: backend.run(check, arrays)}
        return backend.outputs(check, arrays)

    def outputs(self, check: Check) -> list[Output]:
        recipes = designed.applicable_recipes(check.case, check.dtype)
        labels = check.case.config.output_labels
        own = [Output(label, check.case) for label in labels]
        designed_cases = {name: designed.with_recipe(check.case, name) for name in recipes}
        return [*own, *(Output(label, case, recipe=name) for name, case in designed_cases.items() for label in labels)]


class Gradient(Direction):
    """The vector-Jacobian product for every differentiable operand."""

    name = "grad"

    def exists(self, case: Case, dtype: str) -> bool:
        """For inexact dtypes, in a valid case that does not turn gradients off.

        Attention whose case expects NaN, for queries without keys or under a mask, has no derivative there.
        """
        config = case.config
        requested = dtype in config.gradient if isinstance(config.gradient, list) else config.gradient
        if not requested or config.expected_error:
            return False
        if isinstance(config, AttentionConfig) and (config.fully_masked == "nan" or config.masked_values == "spread"):
            return False
        operands = getattr(config, "operand_dtypes", None) or [dtype]
        return DTYPES[dtype].inexact and any(DTYPES[name].inexact for name in operands)

    def arrays(self, case: Case, dtype: str) -> dict[str, Array]:
        return {**inputs.operands(case, dtype), COTANGENT: inputs.cotangent(case, dtype)}

    def call(self, backend: BackendProtocol, check: Check, arrays: Mapping[str, Array]) -> Mapping[str, Array]:
        operands = dict(arrays)
        return backend.gradient(check, operands, operands.pop(COTANGENT))

    def outputs(self, check: Check) -> list[Output]:
        names = inputs.differentiable(inputs.operands(check.case, check.dtype))
        return [Output(name, check.case, gradient_of=name) for name in names]


DIRECTIONS: Mapping[str, Direction] = {direction.name: direction for direction in (Forward(), Gradient())}


# Messages of exceptions ---------------------------------------------------------------------------------------------

OUT_OF_MEMORY = ("out of memory", "resource_exhausted", "resource exhausted")
LONGEST_MESSAGE = 500


def summarize_exception(error: Exception) -> str:
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message[:LONGEST_MESSAGE]}".rstrip(": ")


def is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or any(phrase in str(error).lower() for phrase in OUT_OF_MEMORY)
