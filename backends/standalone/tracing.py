"""Recording the calls that a backend's code makes to its framework.

A backend is created with stand-ins for the framework's modules.  A stand-in does what the original does, with real
tensors, and writes the call as a line of Python in the framework's own names.  So everything that a backend computes
(formulations, fused operations, compilation and gradients) can be shown as a program without stating it a second time.

A function that is passed to the framework, to be compiled or differentiated, becomes a `def` whose body is written when
the framework first calls it.  Lines that are not needed are left out at the end.
"""

from __future__ import annotations

import inspect
import keyword
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import ModuleType, TracebackType
from typing import Any

from backends.parts.framework import Framework
from backends.standalone.expressions import Named, index_source, is_plain, names_in, shorten, source, substitute, unwrap
from backends.standalone.lines import Block, Line
from backends.standalone.operators import BINARY, COMPARISON, UNARY


class Recorder:
    """Writes lines into the innermost block; names are numbered in the order of the lines."""

    def __init__(self) -> None:
        self.blocks = [Block()]
        self.count = 0
        self.modules: set[str] = set()  # full names of the modules that were imported

    def name(self, prefix: str = "t") -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def write(self, line: Line) -> None:
        self.blocks[-1].lines.append(line)

    def call(self, text: str, parts: Sequence[Any], compute: Callable[[], Any], needed: bool = False) -> Any:
        """Compute the value of an expression and write its line; `parts` are the values in the expression."""
        reads = frozenset().union(*(names_in(part) for part in parts))
        name = self.name()
        line = Line(f"{name} = {text}", name, reads, needed=needed)
        self.write(line)  # first, since computing may write lines, and may raise
        try:
            value = compute()
        except Exception:
            line.needed = True
            raise
        if is_plain(value):
            self.blocks[-1].lines.remove(line)
            self.count -= name == f"t{self.count}"
            if value is None:
                self.write(Line(text, None, reads, needed=True))
            return value
        return self.wrap(value, name, name)

    def wrap(self, value: Any, expression: str, root: str) -> Any:
        """The value as a stand-in for `expression`; of a container the items."""
        if is_plain(value):
            return value
        if type(value) in (tuple, list):
            return type(value)(self.wrap(item, f"{expression}[{i}]", root) for i, item in enumerate(value))
        if type(value) is dict:
            return {key: self.wrap(item, f"{expression}[{source(key)}]", root) for key, item in value.items()}
        return Traced(self, value, expression, root)

    def function(self, callee: Callable[..., Any]) -> Function:
        """A function that is passed to the framework, as a `def`."""
        name = self.name("f")
        arguments = _parameter_names(callee)
        block = Block()
        self.write(Line(f"def {name}({', '.join(arguments)}):", name, needed=False, body=block))
        return Function(self, callee, name, arguments, block)


class Function(Named):
    """What the framework calls instead of a function; the first call writes its body."""

    def __init__(
        self, recorder: Recorder, callee: Callable[..., Any], name: str, arguments: Sequence[str], block: Block
    ) -> None:
        self.recorder, self.callee, self.arguments, self.block = recorder, callee, arguments, block
        self.__name__ = self._expression = self._root = name
        # A framework may inspect the signature
        self.__signature__ = inspect.Signature(
            [inspect.Parameter(argument, inspect.Parameter.POSITIONAL_OR_KEYWORD) for argument in arguments]
        )
        self._real = self
        self.written = False

    def __call__(self, *values: Any) -> Any:
        recorder = self.recorder
        # Later calls are the same, and are written into a block that is dropped
        block, self.written = (Block() if self.written else self.block), True
        recorder.blocks.append(block)
        try:
            arguments = [recorder.wrap(v, name, name) for v, name in zip(values, self.arguments, strict=True)]
            result = self.callee(*arguments)
            block.result, block.reads = source(result), names_in(result)
            return unwrap(result)
        finally:
            recorder.blocks.remove(block)


class StandIn(Named):
    """A module, class or function of the framework, written as its dotted name."""

    def __init__(self, recorder: Recorder, real: Any, path: str) -> None:
        self.__dict__.update(_recorder=recorder, _real=real, _path=path, _expression=shorten(path), _root="")

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._real, name)
        path = f"{self._path}.{name}"
        if isinstance(value, ModuleType) or callable(value):
            return StandIn(self._recorder, value, path)
        return value if is_plain(value) else Traced(self._recorder, value, shorten(path), "")

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._real, name, unwrap(value))
        self._recorder.write(Line(f"{self._expression}.{name} = {source(value)}", reads=names_in(value), needed=True))

    def __call__(self, *positional: Any, **named: Any) -> Any:
        return _call(self._recorder, self._expression, substitute(self._path, self._real), (), positional, named)

    def __instancecheck__(self, instance: Any) -> bool:
        return isinstance(unwrap(instance), self._real)


class Traced(Named):
    """A tensor or another object of the framework, written as the expression that gives it."""

    def __init__(self, recorder: Recorder, real: Any, expression: str, root: str) -> None:
        self.__dict__.update(_recorder=recorder, _real=real, _expression=expression, _root=root)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._real, name)
        expression = f"{self._expression}.{name}"
        if callable(value) and not is_plain(value):
            return partial(_call_method, self, name)
        return self._recorder.wrap(value, expression, self._root)

    def __setattr__(self, name: str, value: Any) -> None:
        value = _to_argument(self._recorder, value)
        setattr(self._real, name, unwrap(value))
        text = f"{self._expression}.{name} = {source(value)}"
        self._recorder.write(Line(text, reads=names_in(value) | names_in(self), needed=True))

    def __call__(self, *positional: Any, **named: Any) -> Any:
        return _call(self._recorder, self._expression, self._real, (self,), positional, named)

    def __getitem__(self, key: Any) -> Any:
        text = f"{self._expression}[{index_source(key)}]"
        return self._recorder.call(text, (self, key), lambda: self._real[unwrap(key)])

    def __bool__(self) -> bool:
        return bool(self._real)

    def __len__(self) -> int:
        return len(self._real)

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(len(self._real)))

    def __float__(self) -> float:
        return float(self._real)

    def __int__(self) -> int:
        return int(self._real)

    def __hash__(self) -> int:
        return id(self)

    def __enter__(self) -> Any:
        block, name = Block(), self._recorder.name()
        value = self._real.__enter__()
        line = Line(f"with {self._expression}:", name, names_in(self), needed=True, body=block)
        self._recorder.write(line)
        self._recorder.blocks.append(block)
        self.__dict__["_block"] = block
        return self._recorder.wrap(value, name, name)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Any:
        self._recorder.blocks.remove(self._block)
        return self._real.__exit__(kind, error, trace)


def _binary_method(
    sign: str, compute: Callable[[Any, Any], Any], swapped: bool = False
) -> Callable[[Traced, Any], Any]:
    """The method of an operator; `swapped` if the traced value is its right operand."""

    def method(self: Traced, other: Any) -> Any:
        a, b = (other, self) if swapped else (self, other)
        text = f"{source(a)} {sign} {source(b)}"
        return self._recorder.call(text, (a, b), lambda: compute(unwrap(a), unwrap(b)))

    return method


def _unary_method(sign: str, compute: Callable[[Any], Any]) -> Callable[[Traced], Any]:
    def method(self: Traced) -> Any:
        return self._recorder.call(f"{sign}{source(self)}", (self,), lambda: compute(self._real))

    return method


def _add_operators() -> None:
    for name, (sign, compute) in {**BINARY, **COMPARISON}.items():
        setattr(Traced, f"__{name}__", _binary_method(sign, compute))
    for name, (sign, compute) in BINARY.items():
        setattr(Traced, f"__r{name}__", _binary_method(sign, compute, swapped=True))
    for name, (sign, compute_one) in UNARY.items():
        setattr(Traced, f"__{name}__", _unary_method(sign, compute_one))


_add_operators()


def _call_method(traced: Traced, name: str, *positional: Any, **named: Any) -> Any:
    # PyTorch's in-place methods, which end in an underscore, change what other lines read
    text, in_place = f"{traced._expression}.{name}", name.endswith("_") and not name.startswith("_")
    return _call(traced._recorder, text, getattr(traced._real, name), (traced,), positional, named, in_place)


def _call(
    recorder: Recorder,
    text: str,
    function: Callable[..., Any],
    owner: tuple[Any, ...],
    positional: tuple[Any, ...],
    named: Mapping[str, Any],
    needed: bool = False,
) -> Any:
    """Call the function with real values and write the call; `owner` is what `text` reads, the object of a method."""
    positional = tuple(_to_argument(recorder, value) for value in positional)
    named = {name: _to_argument(recorder, value) for name, value in named.items()}
    arguments = [*map(source, positional), *(f"{name}={source(value)}" for name, value in named.items())]
    parts = (*owner, *positional, *named.values())

    def compute() -> Any:
        return function(*unwrap(positional), **unwrap(dict(named)))

    out = named.get("out")  # the array that the call writes into and returns
    result = recorder.call(f"{text}({', '.join(arguments)})", parts, compute, needed or out is not None)
    return out if out is not None and unwrap(result) is unwrap(out) else result


def _to_argument(recorder: Recorder, value: Any) -> Any:
    """The value as an argument of the framework; a function of the backend becomes a recorded one."""
    is_own = callable(value) and not isinstance(value, (StandIn, Traced, Function, type)) and not is_plain(value)
    return recorder.function(value) if is_own else value


def _parameter_names(callee: Callable[..., Any]) -> list[str]:
    """Names for a function's positional arguments."""
    parameters = inspect.signature(callee).parameters.values()
    names = [parameter.name for parameter in parameters if parameter.default is inspect.Parameter.empty]
    return [name if name.isidentifier() and not keyword.iskeyword(name) else f"x{i}" for i, name in enumerate(names)]


class RecordedFramework(Framework):
    """The modules of a framework as stand-ins; the names of those in use are added to the recorder's `modules`."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def __getitem__(self, module: str) -> Any:
        self.recorder.modules.add(module)
        return StandIn(self.recorder, super().__getitem__(module), module)
