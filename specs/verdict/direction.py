"""The contract of a direction: what a check computes on a backend, the outputs that it returns, and the right ones.

Each direction is one file of `specs/directions/`, which is found by its name.
"""

from __future__ import annotations

import importlib
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar, Protocol

from specs.arithmetic.formats import DTYPES, Array
from specs.arithmetic.precision import Precision
from specs.case.case import Case
from specs.case.common import RESULT
from specs.reference import cache as cached_references
from specs.reference.reference import Reference
from specs.verdict.check import Check

FOLDER = Path(__file__).parents[1] / "directions"


class BackendProtocol(Protocol):
    """The part of a backend that a verdict needs."""

    def unsupported(self, check: Check) -> str | None: ...
    def precision(self, check: Check) -> Precision: ...
    def returns_view(self, check: Check) -> bool: ...
    def varies(self, check: Check) -> str | None: ...
    def run(self, check: Check, operands: Mapping[str, Array]) -> Array: ...
    def outputs(self, check: Check, operands: Mapping[str, Array]) -> Mapping[str, Array]: ...
    def gradient(self, check: Check, operands: Mapping[str, Array], cotangent: Array) -> Mapping[str, Array]: ...
    def evaluate(
        self, check: Check, operands: Mapping[str, Array], extra: Mapping[str, Array]
    ) -> Mapping[str, Array]: ...


@dataclass(frozen=True)
class Output:
    """One array that a check must return.

    label   `result` or the name of another output, or of the operand whose gradient it is
    case    the case that is computed: the check's own, or the same case with a designed recipe of inputs
    role    what it is of that name, as in "gradient of"; "" for the output of this name itself
    recipe  the designed recipe of its inputs; None for the case's own inputs
    """

    label: str
    case: Case
    role: str = ""
    recipe: str | None = None

    @property
    def description(self) -> str:
        """The name of this output in a reason; "" for the case's own result."""
        label = f"{self.role} {self.label}" if self.role else "" if self.label == RESULT else self.label
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
    """What is computed of a case; its name, in a check and in `--direction`, is that of its file.

    method      the method of a backend that makes the function of this direction, from (computation, names of the
                differentiable operands, check); a backend that defines it has the direction.  The function returns a
                tensor, which is the result, or a mapping by the label of the output
    of_result   whether it is a direction of the result alone, whatever other outputs the computation has
    conjugated  whether extra inputs and outputs follow the backend's convention of complex gradients
    """

    method: ClassVar[str]
    of_result: ClassVar[bool] = True
    conjugated: ClassVar[bool] = False

    @property
    def name(self) -> str:
        return type(self).__module__.rpartition(".")[2]

    # What is computed -------------------------------------------------------------------------------------------------

    @abstractmethod
    def exists(self, case: Case, dtype: str) -> bool:
        """Whether a case has this direction in this dtype."""

    def extra_inputs(self, case: Case, dtype: str) -> dict[str, Array]:
        """What a backend is given besides the operands, by name."""
        return {}

    @abstractmethod
    def outputs(self, check: Check) -> list[Output]:
        """The outputs that must be returned, at least one; raises CaseError for an invalid case."""

    def calls(self, outputs: Sequence[Output]) -> list[Call]:
        """The calls that compute the outputs, in their order."""
        of_case: dict[tuple[Case, str | None], list[Output]] = {}
        for output in outputs:
            of_case.setdefault((output.case, output.recipe), []).append(output)
        return [Call(case, recipe, tuple(computed)) for (case, recipe), computed in of_case.items()]

    # How a backend computes it ----------------------------------------------------------------------------------------

    def call(
        self, backend: BackendProtocol, check: Check, operands: Mapping[str, Array], extra: Mapping[str, Array]
    ) -> Mapping[str, Array]:
        """Have the backend compute the check; what it returns, by the label of the output."""
        return backend.evaluate(check, operands, extra)

    def arguments(self, operands: Mapping[str, Any], extra: Mapping[str, Any]) -> tuple[Any, ...]:
        """What the function that `method` makes is called with, from tensors by name."""
        return (operands, *extra.values())

    # What is right ----------------------------------------------------------------------------------------------------

    @abstractmethod
    def references(
        self,
        case: Case,
        dtype: str,
        operands: Mapping[str, Array],
        extra: Mapping[str, Array],
        precision: Precision | None,
    ) -> Mapping[str, Reference]:
        """The value and the error bound of each output, by label, in a declared precision (None for exact dtypes).

        Raises CaseError where the case has no meaning.
        """

    def reference(
        self,
        case: Case,
        dtype: str,
        operands: Mapping[str, Array],
        precision: Precision | None,
        folder: Path | None = None,
        label: str = RESULT,
    ) -> Reference:
        """The reference of one output for these operands and the case's own extra inputs.

        It is computed once and shared by all backends of a worker; `folder` stores expensive ones between runs.
        """
        key = partial(cached_references.key, case, DTYPES[dtype], precision, self.name)
        if (known := cached_references.find(key(label), folder)) is not None:
            return known
        started = time.perf_counter()
        references = self.references(case, dtype, operands, self.extra_inputs(case, dtype), precision)
        by_key = {key(name): value for name, value in references.items()}
        cached_references.store(by_key, time.perf_counter() - started, folder)
        return references[label]


class _Directions(Mapping[str, Direction]):
    """All directions by name, each imported when it is first used: they import this file."""

    def __iter__(self) -> Iterator[str]:
        return iter(_names())

    def __len__(self) -> int:
        return len(_names())

    def __getitem__(self, name: str) -> Direction:
        return _load(name)


@cache
def _names() -> tuple[str, ...]:
    return tuple(sorted(file.stem for file in FOLDER.glob("*.py") if not file.stem.startswith("__")))


@cache
def _load(name: str) -> Direction:
    if name not in _names():
        raise KeyError(name)
    module = importlib.import_module(f"specs.directions.{name}")
    defined = [x for x in vars(module).values() if isinstance(x, type) and x.__module__ == module.__name__]
    (direction,) = (x for x in defined if issubclass(x, Direction))
    return direction()


DIRECTIONS: Mapping[str, Direction] = _Directions()


# Messages of exceptions ---------------------------------------------------------------------------------------------

OUT_OF_MEMORY = ("out of memory", "resource_exhausted", "resource exhausted")
LONGEST_MESSAGE = 500


def summarize_exception(error: Exception) -> str:
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message[:LONGEST_MESSAGE]}".rstrip(": ")


def is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or any(phrase in str(error).lower() for phrase in OUT_OF_MEMORY)
