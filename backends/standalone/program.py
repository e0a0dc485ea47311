"""A check as a short program that needs only its framework: what one attaches to a report of a bug.

The program holds the operands, exactly; the calls that the backend makes (`tracing`); and of the result the numbers
that lie worst, each with the value that is right and the lowest and highest one that correct arithmetic of the declared
precision can give.  It prints them and ends with status 1 where one of them lies outside.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from math import inf, nan
from pathlib import Path
from typing import Any

import numpy as np

from backends import registry
from backends.attention.keras import VARIABLE, host
from backends.base import Backend
from backends.standalone.expressions import TracingError, names_in, source
from backends.standalone.lines import pruned
from backends.standalone.tracing import Recorder, Traced, execute, stand_ins
from specs.arithmetic.double_double import rounded
from specs.arithmetic.formats import DTYPES, Array, components, dtype_name, round_to, spacing
from specs.bound.bound import reference
from specs.inputs import inputs
from specs.reference.reference import Reference
from specs.verdict.check import Check
from specs.verdict.comparison import error_ratio

SHOWN = 12  # numbers of a result, the worst first
INLINE = 64  # numbers of an operand that are written as such; more are bytes


class ScriptError(Exception):
    """There is no such program; says why."""


@dataclass(frozen=True)
class Dialect:
    """How a framework's tensors are made and read in a program.

    imports   modules that are always imported
    tensor    makes a tensor of `{array}`, an expression for an array of `library`
    library   which of them has `array`, `frombuffer` and `zeros`: np or torch
    dtype     the name of the dtype of `result`
    narrow    the expression for bfloat16
    """

    imports: tuple[str, ...]
    tensor: str
    dtype: str
    narrow: str
    library: str = "np"


DIALECTS = {
    "numpy": Dialect(("numpy as np",), "{array}", "str(result.dtype)", ""),
    "jax": Dialect(
        ("jax", "jax.numpy as jnp", "numpy as np"), "jnp.asarray({array})", "str(result.dtype)", "jnp.bfloat16"
    ),
    "tensorflow": Dialect(
        ("numpy as np", "tensorflow as tf"),
        "tf.constant({array})",
        "result.dtype.name",
        "tf.bfloat16.as_numpy_dtype",
    ),
    "torch": Dialect(("torch",), "{array}", 'str(result.dtype).removeprefix("torch.")', "torch.bfloat16", "torch"),
}


@dataclass(frozen=True)
class Trace:
    """What a backend did: the lines before the operands, those after, expressions of the results, and their values."""

    setup: list[str]
    lines: list[str]
    modules: frozenset[str]
    results: Mapping[str, str]
    values: Mapping[str, Array]
    raised: Exception | None


def script(check: Check, title: str) -> str:
    """The program; `title` says what it shows.  Raises ScriptError where there is nothing to show or to write."""
    if check.backend not in DIALECTS:
        raise ScriptError(f"how a program makes tensors of {check.backend} is not known: {Path(__file__).name}")
    backend = registry.get(check.backend)
    if lacking := backend.unsupported(
        check.case.config, check.implementation, check.mode, check.dtype, check.device, check.direction
    ):
        raise ScriptError(f"there is nothing to show: {lacking}")
    operands = dict(inputs.operands(check.case, check.dtype))
    cotangent = inputs.cotangent(check.case, check.dtype) if check.direction == "grad" else None
    try:
        trace = traced(check, operands, cotangent)
    except TracingError as error:
        raise ScriptError(f"{check.name} cannot be written as a program: {error}") from error
    if cotangent is not None:
        operands["cotangent"] = backend.own_convention(cotangent)
    dialect = DIALECTS[check.backend]
    parts = [
        _head(title),
        "\n".join(_imports(dialect, trace)),
        "\n".join(trace.setup),
        "\n".join(_operand(name, array, dialect) for name, array in operands.items()),
        *_body(check, backend, trace, dialect),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


# What the backend does ------------------------------------------------------------------------------------------------


def traced(check: Check, operands: Mapping[str, Array], cotangent: Array | None) -> Trace:
    """Run the check once with stand-ins for its framework."""
    recorder = Recorder()
    file = registry.source(check.backend)
    declared = registry.declare(check.backend)
    packages = frozenset({declared.distribution, *declared.related, "keras", "opt_einsum"} - {"ml_dtypes", "jaxlib"})
    with stand_ins(recorder, packages, frozenset({file})):
        backend = registry.only_backend(execute(file))()
        setup = recorder.blocks[0]
        recorder.blocks[0] = body = type(setup)()
        outputs: list[Traced] = []
        _observe(backend, recorder, operands, outputs, check.device)
        arguments = (check.case, check.implementation, check.mode, operands)
        raised, found = None, {}
        try:
            if cotangent is None:
                found = {"result": backend.run(*arguments, check.device)}
            else:
                found = dict(backend.gradient(*arguments, cotangent, check.device))
        except TracingError:
            raise
        except Exception as error:
            _must_raise(check, operands, cotangent, error)
            raised = error
            for line in body.lines[-1:]:
                line.needed = True  # the call that raised
    wanted = frozenset().union(*map(names_in, outputs))
    lines, read = pruned(body, wanted)
    before, _ = pruned(setup, read)
    results = {name: source(output) for name, output in zip(found, outputs, strict=True)}
    return Trace(before, lines, frozenset(recorder.modules), results, found, raised)


def _must_raise(check: Check, operands: Mapping[str, Array], cotangent: Array | None, error: Exception) -> None:
    """An exception belongs into a program only if it is the framework's: then there is one without stand-ins too."""
    backend, arguments = registry.get(check.backend), (check.case, check.implementation, check.mode, operands)
    try:
        if cotangent is None:
            backend.run(*arguments, check.device)
        else:
            backend.gradient(*arguments, cotangent, check.device)
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


# Text -----------------------------------------------------------------------------------------------------------------


def _head(title: str) -> str:
    text = title.replace("\\", "\\\\").replace('"""', "'''")
    return f'"""{text}\n"""'


def _imports(dialect: Dialect, trace: Trace) -> Iterator[str]:
    text = "\n".join((*trace.setup, *trace.lines))
    yield from ("import base64", "import os", "import sys", "from math import inf, nan", "")
    if "keras" in trace.modules:
        yield f"os.environ[{VARIABLE!r}] = {host()!r}"
    modules = list(dialect.imports)
    tops = {module.partition(" ")[0] for module in modules}
    modules += [name for name in sorted(trace.modules) if name not in tops and f"{name}." in text]
    yield from (f"import {module}" for module in modules)


def _operand(name: str, array: Array, dialect: Dialect) -> str:
    """A line that makes the operand, the same to the last bit."""
    library = dialect.library
    named = dtype_name(array.dtype)
    dtype = dialect.narrow if named == "bfloat16" else f"{library}.{named}"
    if array.size == 0:
        made = f"{library}.zeros({array.shape}, dtype={dtype})"
    elif array.size <= INLINE and (values := _literal(array)):
        made = f"{library}.{'tensor' if library == 'torch' else 'array'}({values}, dtype={dtype})"
    else:
        text = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
        buffer = f'bytearray(base64.b64decode("{text}"))'
        made = f"{library}.frombuffer({buffer}, dtype={dtype}).reshape({array.shape})"
    return f"{name} = {dialect.tensor.format(array=made)}"


def _literal(array: Array) -> str | None:
    """Nested lists, of a narrow format of the shortest numbers that round to these; None if that loses a bit."""
    if array.dtype.kind == "c":  # a part that is infinite or -0.0 has no literal
        return None
    narrow = dtype_name(array.dtype) in ("float32", "float16", "bfloat16")
    values = np.array([float(str(each)) for each in array.ravel()]).reshape(array.shape) if narrow else array
    text = repr(values.tolist())
    again = np.array(eval(text, {"nan": nan, "inf": inf}), dtype=array.dtype)
    return text if again.tobytes() == np.ascontiguousarray(array).tobytes() else None


REFUSAL = """\
print({expected!r})
try:
{lines}
except Exception as error:
    print(f"refused: {{type(error).__name__}}: {{error}}")
else:
    print("accepted, with a result of shape", tuple({result}.shape))
    sys.exit(1)"""

COMPARISON = """\
# For each result its dtype and shape, and numbers of it: index, part of a complex number, the right value, the lowest
# and the highest one that correct arithmetic can give
expected = {{
{rows}
}}
wrong = 0
for name, (dtype, shape, numbers) in expected.items():
    result = results[name]
    found = {dtype}
    print(f"{{name}}: {{found}}, shape {{tuple(result.shape)}}; expected {{dtype}}, shape {{shape}}")
    if found != dtype or tuple(result.shape) != shape:
        wrong += 1
        continue
    for index, part, right, lowest, highest in numbers:
        number = result[index]
        got = getattr(complex(number), part) if part else int(number) if isinstance(right, int) else float(number)
        fits = lowest <= got <= highest or (got != got and right != right)
        wrong += not fits
        told = "" if fits else f"  OUTSIDE {{lowest!r}} ... {{highest!r}}"
        off = abs(got - right)
        print(f"  {{list(index)}} {{part}} expected {{right!r}}, got {{got!r}}, difference {{off!r}}{{told}}")
print(f"{{wrong}} wrong" if wrong else "all of these are right")
sys.exit(1 if wrong else 0)"""


def _body(check: Check, backend: Backend, trace: Trace, dialect: Dialect) -> Iterator[str]:
    lines = "\n".join(trace.lines)
    if error := check.case.config.expected_error:
        said = f"expected: it is refused ({error})"
        inside = "\n".join(f"    {line}" for line in trace.lines) or "    pass"
        result = trace.results.get("result", "None")
        yield REFUSAL.format(expected=said, lines=inside, result=result)
        return
    yield lines
    if trace.raised is not None:
        yield f'print("expected: a result; {type(trace.raised).__name__} was raised above when this was written")'
        return
    yield "results = {" + ", ".join(f'"{name}": {text}' for name, text in trace.results.items()) + "}"
    rows = [_expected(check, backend, name, value) for name, value in trace.values.items()]
    yield COMPARISON.format(rows="\n".join(rows), dtype=dialect.dtype)


def _expected(check: Check, backend: Backend, name: str, got: Array) -> str:
    """The entry of one result."""
    precision = None
    if DTYPES[check.dtype].inexact:  # the dtype of the result, whatever the operands have
        precision = backend.precision(check.case.kind, check.implementation, check.mode, check.dtype, check.device)
    operands = inputs.operands(check.case, check.dtype)
    of = None if check.direction == "forward" else name
    right = reference(check.case, check.dtype, operands, precision, None, of)
    rows = list(_numbers(right, got, conjugate=of is not None and backend.conjugates))
    numbers = "".join(f"\n        ({', '.join(map(repr, row))})," for row in rows)
    return f'    "{name}": ("{right.dtype.name}", {right.shape}, [{numbers}\n    ]),'


def _numbers(right: Reference, got: Array, conjugate: bool) -> Iterator[tuple[Any, ...]]:
    """Rows of the numbers that lie worst."""
    comparable = tuple(got.shape) == right.shape and got.dtype == right.dtype.numpy
    if right.error is None or right.precision is None:
        value = np.asarray(right.value)
        order = np.argsort(value == got if comparable else np.zeros(value.shape), axis=None, kind="stable")
        for index in _indices(order, value.shape):
            yield index, "", int(value[index]), int(value[index]), int(value[index])
        return
    value, low, high = rounded(right.value), *_accepted(right)
    ratio = np.zeros(value.shape)
    if comparable:
        ratio = error_ratio(components(got), right.value, np.broadcast_to(right.error, value.shape), right.precision)
    for index in _indices(np.argsort(-np.nan_to_num(ratio, posinf=1e308), axis=None, kind="stable"), value.shape):
        numbers = [float(each[index]) for each in (value, low, high)]
        part = ""
        place = index
        if right.dtype.kind == "complex":
            place, part = index[:-1], ("real", "imag")[index[-1]]
            if part == "imag" and conjugate:
                numbers = [-numbers[0], -numbers[2], -numbers[1]]
        yield place, part, *numbers


def _indices(order: Sequence[Any] | Array, shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    for flat in order[:SHOWN]:
        yield tuple(int(i) for i in np.unravel_index(flat, shape))


def _accepted(right: Reference) -> tuple[Array, Array]:
    """The lowest and the highest result that an error within the bound explains (`specs.verdict.comparison`)."""
    assert right.error is not None
    assert right.precision is not None
    format, value = right.precision.storage, rounded(right.value)
    error = np.broadcast_to(right.error, value.shape)
    with np.errstate(all="ignore"):
        low, high = (round_to(value + sign * error, format) for sign in (-1, 1))
        if right.precision.truncates:
            low, high = low - spacing(low, format), high + spacing(high, format)
        if right.precision.flushes:
            low = np.where((low > 0) & (value - error <= format.tiny), 0.0, low)
            high = np.where((high < 0) & (value + error >= -format.tiny), 0.0, high)
    exact = ~np.isfinite(value)
    return np.where(exact, value, low), np.where(exact, value, high)
