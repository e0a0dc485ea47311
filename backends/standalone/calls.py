"""The calls that a backend makes for a check, found out by computing it with stand-ins for the framework's modules."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass

from backends.base import Backend
from backends.discovery import registry
from backends.standalone.expressions import TracingError, names_in, source
from backends.standalone.lines import pruned
from backends.standalone.tracing import Recorded, Recorder, Traced
from specs.arithmetic.formats import Array
from specs.verdict.check import Check


@dataclass(frozen=True)
class Trace:
    """What a backend did: the lines before the operands, those after, and expressions of the results."""

    setup: list[str]
    lines: list[str]
    modules: frozenset[str]
    results: Mapping[str, str]
    raised: Exception | None


def traced(check: Check, operands: Mapping[str, Array], cotangent: Array | None) -> Trace:
    """Run the check once with stand-ins for its framework; TracingError where what it does has no form as a program."""
    recorder = Recorder()
    backend = registry.load_class(check.backend)(Recorded(recorder))
    setup = recorder.blocks[0]
    recorder.blocks[0] = body = type(setup)()
    outputs: list[Traced] = []
    _observe(backend, recorder, operands, outputs, check.device)
    raised, found = None, {}
    try:
        if cotangent is None:
            found = {"result": backend.run(check, operands)}
        else:
            found = dict(backend.gradient(check, operands, cotangent))
    except TracingError:
        raise
    except Exception as error:
        _must_raise(check, operands, cotangent, error)
        raised = error
    wanted = frozenset().union(*map(names_in, outputs))
    lines, read = pruned(body, wanted)
    before, _ = pruned(setup, read)
    results = {name: source(output) for name, output in zip(found, outputs, strict=True)}
    return Trace(before, lines, frozenset(recorder.modules), results, raised)


def _must_raise(check: Check, operands: Mapping[str, Array], cotangent: Array | None, error: Exception) -> None:
    """An exception belongs into a program only if it is the framework's: then there is one without stand-ins too."""
    backend = registry.get(check.backend)
    try:
        if cotangent is None:
            backend.run(check, operands)
        else:
            backend.gradient(check, operands, cotangent)
    except Exception:
        return
    raise TracingError(f"its calls cannot be written down: {type(error).__name__}: {error}") from error


def _observe(
    backend: Backend, recorder: Recorder, operands: Mapping[str, Array], outputs: list[Traced], device: str
) -> None:
    """Operands and results pass through here: there tensors get their names, and lose them."""
    framework = registry.get(backend.name)
    names = {id(array): name for name, array in operands.items()}

    def from_numpy(array: Array, device: str) -> Traced:
        name = names.get(id(array), "cotangent")
        return Traced(recorder, framework.from_numpy(array, device), name, name)

    def to_numpy(tensor: Traced) -> Array:
        outputs.append(tensor)
        return framework.to_numpy(tensor._real)

    backend.from_numpy, backend.to_numpy = from_numpy, to_numpy  # type: ignore[method-assign]
    if device == "cpu":
        backend.on = lambda device: nullcontext()  # type: ignore[method-assign]
