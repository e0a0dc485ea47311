"""The calls that a backend makes for a check, recorded by computing it with stand-ins for the framework's modules."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass

from backends.base import Backend
from backends.discovery import registry
from backends.standalone.expressions import TracingError, names_in, source
from backends.standalone.lines import Block, prune
from backends.standalone.tracing import RecordedFramework, Recorder, Traced
from specs.arithmetic.formats import Array
from specs.case.common import COTANGENT
from specs.inputs import inputs
from specs.verdict.check import Check
from specs.verdict.direction import DIRECTIONS


@dataclass(frozen=True)
class Trace:
    """What a backend did for a check.

    setup     lines before the operands
    operands  the arrays that became tensors, by name; a cotangent in the framework's convention
    lines     lines after the operands
    modules   full names of the framework's modules that were used
    results   expressions of the results, by the label of the output
    error     the exception that the framework raised
    """

    setup: list[str]
    operands: Mapping[str, Array]
    lines: list[str]
    modules: frozenset[str]
    results: Mapping[str, str]
    error: Exception | None


def trace_check(check: Check) -> Trace:
    """Run the check once with stand-ins for its framework; TracingError where it cannot be written as a program."""
    direction = DIRECTIONS[check.direction]
    operands = inputs.operands(check.case, check.dtype)
    extra = direction.extra_inputs(check.case, check.dtype)
    recorder = Recorder()
    backend = registry.load_class(check.backend)(RecordedFramework(recorder))
    setup, body = recorder.blocks[0], Block()
    recorder.blocks[0] = body
    tensors = _intercept_tensors(backend, recorder, {**operands, **extra}, check.device)
    labels: list[str] = []
    raised = None
    try:
        labels = list(direction.call(backend, check, operands, extra))
    except TracingError:
        raise
    except Exception as error:
        _require_framework_error(check, error)
        raised = error
    lines, reads = prune(body, frozenset().union(*map(names_in, tensors.results)))
    setup_lines, _ = prune(setup, reads)
    results = {label: source(tensor) for label, tensor in zip(labels, tensors.results, strict=True)}
    return Trace(setup_lines, tensors.operands, lines, frozenset(recorder.modules), results, raised)


def _require_framework_error(check: Check, error: Exception) -> None:
    """TracingError unless the check raises without stand-ins too: only then the exception is the framework's."""
    direction, operands = DIRECTIONS[check.direction], inputs.operands(check.case, check.dtype)
    extra = direction.extra_inputs(check.case, check.dtype)
    try:
        direction.call(registry.get(check.backend), check, operands, extra)
    except Exception:
        return
    raise TracingError(f"its calls cannot be written down: {type(error).__name__}: {error}") from error


@dataclass(frozen=True)
class _Tensors:
    """What was converted to tensors, by name, and the tensors that were converted to arrays."""

    operands: dict[str, Array]
    results: list[Traced]


def _intercept_tensors(backend: Backend, recorder: Recorder, arrays: Mapping[str, Array], device: str) -> _Tensors:
    """Replace the conversions of a backend, so that tensors get the names of their arrays and results are noted."""
    framework = registry.get(backend.name)
    names = {id(array): name for name, array in reversed([*arrays.items()])}  # the first, where several share one
    tensors = _Tensors({}, [])

    def from_numpy(array: Array, device: str) -> Traced:
        name = names.get(id(array), COTANGENT)  # which alone may have been converted, to another convention
        tensors.operands[name] = array
        return Traced(recorder, framework.from_numpy(array, device), name, name)

    def to_numpy(tensor: Traced) -> Array:
        tensors.results.append(tensor)
        return framework.to_numpy(tensor._real)

    backend.from_numpy, backend.to_numpy = from_numpy, to_numpy  # type: ignore[method-assign]
    backend.read = lambda tensors: {}  # type: ignore[method-assign]  # makes arrays of operands, which are no results
    if device == "cpu":
        backend.on = lambda device: nullcontext()  # type: ignore[method-assign]
    return tensors
