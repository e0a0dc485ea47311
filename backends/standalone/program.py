"""A check as a short program that needs only its framework, to be attached to a bug report.

The program holds the operands, bit for bit (`arrays`); the calls that the backend makes (`calls`); and for every
number of a result the expected value, and the lowest and highest that correct arithmetic of the declared precision can
give (`expectation`).  It compares them all (`comparison`) and exits with status 1 if one lies outside.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from backends.attention.keras import VARIABLE, host
from backends.base import Backend
from backends.discovery import registry
from backends.parts.dialect import Dialect
from backends.standalone.arrays import UNALIGNED, operand_line
from backends.standalone.calls import Trace, trace_check
from backends.standalone.comparison import comparison_lines
from backends.standalone.expectation import expected_result
from backends.standalone.expressions import TracingError
from specs.case.common import RESULT
from specs.verdict.check import Check
from specs.verdict.direction import DIRECTIONS


class ScriptError(Exception):
    """Why a check has no program."""


def script(check: Check, title: str) -> str:
    """The program, with `title` as its docstring.  Raises ScriptError where there is none."""
    backend = registry.get(check.backend)
    if (dialect := backend.dialect) is None:
        raise ScriptError(f"{check.backend} does not state its `dialect`: how a program makes and reads tensors")
    if reason := backend.unsupported(check):
        raise ScriptError(f"there is nothing to show: {reason}")
    try:
        trace = trace_check(check)
    except TracingError as error:
        raise ScriptError(f"{check.name} cannot be written as a program: {error}") from error
    layout = check.case.config.memory_of
    operands = "\n".join(operand_line(name, x, dialect, layout(name)) for name, x in trace.operands.items())
    parts = [
        "\n".join(trace.setup),
        f"{UNALIGNED[dialect.library]}\n\n" * ("= unaligned(" in operands) + operands,
        *_body(check, backend, trace, dialect),
    ]
    text = "\n\n".join(part for part in parts if part) + "\n"
    return "\n\n".join([_head(title), "\n".join(_imports(text, dialect, trace)), text])


def _head(title: str) -> str:
    text = title.replace("\\", "\\\\").replace('"""', "'''")
    return f'"""{text}\n"""'


def _imports(text: str, dialect: Dialect, trace: Trace) -> Iterator[str]:
    """The lines that import what the rest of the program, `text`, uses."""
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
    aliased = {module.partition(" ")[0] for module in dialect.imports}
    modules += [name for name in sorted(trace.modules) if name not in aliased and f"{name}." in text]
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


def _body(check: Check, backend: Backend, trace: Trace, dialect: Dialect) -> Iterator[str]:
    """The calls and the check of their outcome, a refusal or numbers; no check where they raise."""
    lines = "\n".join(trace.lines)
    if error := check.case.config.expected_error:
        message = f"expected: it is refused ({error})"
        indented = "\n".join(f"    {line}" for line in trace.lines) or "    pass"
        result = trace.results.get(RESULT)  # None where it is refused
        shape = f', "with a result of shape", tuple({result}.shape)' if result else ""
        yield REFUSAL.format(expected=message, lines=indented, accepted=f'"accepted"{shape}')
        return
    yield lines
    if trace.error is not None:
        yield f'print("expected: a result; {type(trace.error).__name__} was raised above when this was written")'
        return
    outputs = [output for output in DIRECTIONS[check.direction].outputs(check) if output.recipe is None]
    # An operand that is not connected to the result has no gradient: None
    yield "results = {" + ", ".join(f'"{output.label}": {trace.results.get(output.label)}' for output in outputs) + "}"
    expected = {output.label: expected_result(check, backend, output.label) for output in outputs}
    yield comparison_lines(expected, dialect, missing=len(trace.results) < len(outputs))
