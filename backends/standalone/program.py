"""A check as a short program that needs only its framework: what one attaches to a report of a bug.

The program holds the operands, exactly (`dialects`); the calls that the backend makes (`calls`); and of every number of
a result the value that is right and the lowest and highest one that correct arithmetic of the declared precision can
give (`expectation`).  It compares them all (`comparison`) and ends with status 1 where one of them lies outside.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from backends.attention.keras import VARIABLE, host
from backends.base import Backend
from backends.discovery import registry
from backends.standalone import dialects
from backends.standalone.calls import Trace, traced
from backends.standalone.comparison import comparison
from backends.standalone.expectation import expected
from backends.standalone.expressions import TracingError
from specs.inputs import inputs
from specs.verdict.check import Check


class ScriptError(Exception):
    """There is no such program; says why."""


def script(check: Check, title: str) -> str:
    """The program; `title` says what it shows.  Raises ScriptError where there is nothing to show or to write."""
    if check.backend not in dialects.DIALECTS:
        where = Path(dialects.__file__).name
        raise ScriptError(f"how a program makes tensors of {check.backend} is not known: {where}")
    backend = registry.get(check.backend)
    if lacking := backend.unsupported(check):
        raise ScriptError(f"there is nothing to show: {lacking}")
    operands = dict(inputs.operands(check.case, check.dtype))
    cotangent = inputs.cotangent(check.case, check.dtype) if check.direction == "grad" else None
    try:
        trace = traced(check, operands, cotangent)
    except TracingError as error:
        raise ScriptError(f"{check.name} cannot be written as a program: {error}") from error
    if cotangent is not None:
        operands["cotangent"] = backend.convert_convention(cotangent)
    dialect = dialects.DIALECTS[check.backend]
    parts = [
        "\n".join(trace.setup),
        "\n".join(dialects.operand(name, array, dialect) for name, array in operands.items()),
        *_body(check, backend, trace, dialect),
    ]
    text = "\n\n".join(part for part in parts if part) + "\n"
    return "\n\n".join([_head(title), "\n".join(_imports(text, dialect, trace)), text])


def _head(title: str) -> str:
    text = title.replace("\\", "\\\\").replace('"""', "'''")
    return f'"""{text}\n"""'


def _imports(text: str, dialect: dialects.Dialect, trace: Trace) -> Iterator[str]:
    """Lines that import what the rest of the program, `text`, uses."""
    names = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    on_keras = "keras" in trace.modules
    standard = [name for name in ("base64", "os", "sys") if name in names or (name == "os" and on_keras)]
    yield from (f"import {name}" for name in standard)
    if numbers := [name for name in ("inf", "nan") if name in names]:
        yield f"from math import {', '.join(numbers)}"
    if standard or numbers:
        yield ""
    if on_keras:
        yield f"os.environ[{VARIABLE!r}] = {host()!r}"
    modules = [module for module in dialect.imports if module.rpartition(" ")[2] in names]
    tops = {module.partition(" ")[0] for module in dialect.imports}
    modules += [name for name in sorted(trace.modules) if name not in tops and f"{name}." in text]
    yield from (f"import {module}" for module in modules)


REFUSAL = """\
print({expected!r})
try:
{lines}
except Exception as error:
    print(f"refused: {{type(error).__name__}}: {{error}}")
else:
    print({accepted})
    sys.exit(1)"""


def _body(check: Check, backend: Backend, trace: Trace, dialect: dialects.Dialect) -> Iterator[str]:
    """The calls, and what their outcome is held against: a refusal, or numbers; nothing where they raise."""
    lines = "\n".join(trace.lines)
    if error := check.case.config.expected_error:
        said = f"expected: it is refused ({error})"
        inside = "\n".join(f"    {line}" for line in trace.lines) or "    pass"
        result = trace.results.get("result")  # none where it is refused
        shape = f', "with a result of shape", tuple({result}.shape)' if result else ""
        yield REFUSAL.format(expected=said, lines=inside, accepted=f'"accepted"{shape}')
        return
    yield lines
    if trace.raised is not None:
        yield f'print("expected: a result; {type(trace.raised).__name__} was raised above when this was written")'
        return
    names = ["result"]
    if check.direction == "grad":
        names = inputs.differentiable(inputs.operands(check.case, check.dtype))
    # An operand that the framework sees no connection to has no gradient
    yield "results = {" + ", ".join(f'"{name}": {trace.results.get(name)}' for name in names) + "}"
    right = {name: expected(check, backend, None if check.direction == "forward" else name) for name in names}
    yield comparison(right, dialect, missing=len(trace.results) < len(names))
