"""A backend's own code, written down as the calls that it makes of its framework.

A backend is made with stand-ins for the framework's modules.  A stand-in does what the real thing does, with the real
tensors, and writes the call down as a line of Python in the framework's own names.  So what a backend computes can be
shown as a program without a second statement of it: formulations, fused operations, compilation and gradients alike.

A function that is handed to the framework, to be compiled or differentiated, becomes a `def` whose body is written when
the framework first calls it.  Lines that nothing needs are left out at the end.
"""

from __future__ import annotations

import inspect
import keyword
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import ModuleType, TracebackType
from typing import Any

from backends.parts.framework import Framework
from backends.standalone.expressions import Named, index, is_plain, names_in, real, short, source
from backends.standalone.lines import Block, Line
from backends.standalone.operators import BINARY, COMPARED, UNARY

# Tracing what it compiles is its own way of reading code, and stand-ins are not part of what it reads
NOT_COMPILED: dict[str, Callable[..., Any]] = {
    "torch.compile": lambda function, **_: function,
    "torch.compiler.reset": lambda: None,
}


class Recorder:
    """Writes lines into the innermost block; names are given in the order of the lines."""

    def __init__(self) -> None:
        self.blocks = [Block()]
        self.count = 0
        self.modules: set[str] = set()  # imported, by their real names

    def name(self, prefix: str = "t") -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def write(self, line: Line) -> None:
        self.blocks[-1].lines.append(line)

    def call(self, text: str, parts: Sequence[Any], compute: Callable[[], Any], keep: bool = False) -> Any:
        """The value of an expression, computed and written down; `parts` are what it is made of."""
        reads = frozenset().union(*(names_in(part) for part in parts))
        name = self.name()
        line = Line(f"{name} = {text}", name, reads, needed=keep)
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
        return self.wrapped(value, name, name)

    def wrapped(self, value: Any, expression: str, root: str) -> Any:
        """What a name stands for, as stand-ins; containers stay what they are."""
        if is_plain(value):
            return value
        if type(value) in (tuple, list):
            return type(value)(self.wrapped(each, f"{expression}[{i}]", root) for i, each in enumerate(value))
        if type(value) is dict:
            return {key: self.wrapped(each, f"{expression}[{source(key)}]", root) for key, each in value.items()}
        return Traced(self, value, expression, root)

    def function(self, callee: Callable[..., Any]) -> Function:
        """A function that the framework is handed, as a `def`."""
        name = self.name("f")
        arguments = _arguments(callee)
        block = Block()
        self.write(Line(f"def {name}({', '.join(arguments)}):", name, needed=False, body=block))
        return Function(self, callee, name, arguments, block)


class Function(Named):
    """What the framework calls instead of a function: the first call is written down."""

    def __init__(
        self, recorder: Recorder, callee: Callable[..., Any], name: str, arguments: Sequence[str], block: Block
    ) -> None:
        self.recorder, self.callee, self.arguments, self.block = recorder, callee, arguments, block
        self.__name__ = self._expression = self._root = name
        # Which a framework may look at, to see what it is
        self.__signature__ = inspect.Signature(
            [inspect.Parameter(argument, inspect.Parameter.POSITIONAL_OR_KEYWORD) for argument in arguments]
        )
        self._real = self
        self.written = False

    def __call__(self, *values: Any) -> Any:
        recorder = self.recorder
        # Written once: a later call is the same, and goes into a block that nobody reads
        block, self.written = (Block() if self.written else self.block), True
        recorder.blocks.append(block)
        try:
            wrapped = [recorder.wrapped(v, name, name) for v, name in zip(values, self.arguments, strict=True)]
            result = self.callee(*wrapped)
            block.result, block.reads = source(result), names_in(result)
            return real(result)
        finally:
            recorder.blocks.remove(block)


class StandIn(Named):
    """For a module, class or function of the framework, known by its dotted name."""

    def __init__(self, recorder: Recorder, real: Any, path: str) -> None:
        self.__dict__.update(_recorder=recorder, _real=real, _path=path, _expression=short(path), _root="")

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._real, name)
        path = f"{self._path}.{name}"
        if isinstance(value, ModuleType) or callable(value):
            return StandIn(self._recorder, value, path)
        return value if is_plain(value) else Traced(self._recorder, value, short(path), "")

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._real, name, real(value))
        self._recorder.write(Line(f"{self._expression}.{name} = {source(value)}", reads=names_in(value), needed=True))

    def __call__(self, *positional: Any, **named: Any) -> Any:
        function = NOT_COMPILED.get(self._path, self._real)
        return _called(self._recorder, self._expression, function, (), positional, named)

    def __instancecheck__(self, instance: Any) -> bool:
        return isinstance(real(instance), self._real)


class Traced(Named):
    """For a tensor or an object of the framework, known by the expression that gives it."""

    def __init__(self, recorder: Recorder, real: Any, expression: str, root: str) -> None:
        self.__dict__.update(_recorder=recorder, _real=real, _expression=expression, _root=root)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._real, name)
        expression = f"{self._expression}.{name}"
        if callable(value) and not is_plain(value):
            return partial(_method, self, name)
        return self._recorder.wrapped(value, expression, self._root)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._real, name, real(value))
        text = f"{self._expression}.{name} = {source(value)}"
        self._recorder.write(Line(text, reads=names_in(value) | names_in(self), needed=True))

    def __call__(self, *positional: Any, **named: Any) -> Any:
        return _called(self._recorder, self._expression, self._real, (self,), positional, named)

    def __getitem__(self, key: Any) -> Any:
        text = f"{self._expression}[{index(key)}]"
        return self._recorder.call(text, (self, key), lambda: self._real[real(key)])

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
        return self._recorder.wrapped(value, name, name)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Any:
        self._recorder.blocks.remove(self._block)
        return self._real.__exit__(kind, error, trace)


def _of_two(sign: str, compute: Callable[[Any, Any], Any], swapped: bool = False) -> Callable[[Traced, Any], Any]:
    """The method of an operator; `swapped` where the traced value stands on its right."""

    def method(self: Traced, other: Any) -> Any:
        a, b = (other, self) if swapped else (self, other)
        return self._recorder.call(f"{source(a)} {sign} {source(b)}", (a, b), lambda: compute(real(a), real(b)))

    return method


def _of_one(sign: str, compute: Callable[[Any], Any]) -> Callable[[Traced], Any]:
    def method(self: Traced) -> Any:
        return self._recorder.call(f"{sign}{source(self)}", (self,), lambda: compute(self._real))

    return method


def _operators() -> None:
    for name, (sign, compute) in {**BINARY, **COMPARED}.items():
        setattr(Traced, f"__{name}__", _of_two(sign, compute))
    for name, (sign, compute) in BINARY.items():
        setattr(Traced, f"__r{name}__", _of_two(sign, compute, swapped=True))
    for name, (sign, change) in UNARY.items():
        setattr(Traced, f"__{name}__", _of_one(sign, change))


_operators()


def _method(of: Traced, name: str, *positional: Any, **named: Any) -> Any:
    # By its name PyTorch's in-place methods are known: they change what others read
    text, keep = f"{of._expression}.{name}", name.endswith("_") and not name.startswith("_")
    return _called(of._recorder, text, getattr(of._real, name), (of,), positional, named, keep)


def _called(
    recorder: Recorder,
    text: str,
    function: Callable[..., Any],
    read: tuple[Any, ...],
    positional: tuple[Any, ...],
    named: Mapping[str, Any],
    keep: bool = False,
) -> Any:
    """Call it, with everything real, and write the call down."""
    positional = tuple(_as_argument(recorder, value) for value in positional)
    named = {name: _as_argument(recorder, value) for name, value in named.items()}
    said = [*map(source, positional), *(f"{name}={source(value)}" for name, value in named.items())]
    parts = (*read, *positional, *named.values())

    def compute() -> Any:
        return function(*real(positional), **real(dict(named)))

    out = named.get("out")  # what is written into: the call changes it, and returns it
    result = recorder.call(f"{text}({', '.join(said)})", parts, compute, keep or out is not None)
    return out if out is not None and real(result) is real(out) else result


def _as_argument(recorder: Recorder, value: Any) -> Any:
    """Functions of the backend become written ones."""
    own = callable(value) and not isinstance(value, (StandIn, Traced, Function, type)) and not is_plain(value)
    return recorder.function(value) if own else value


def _arguments(callee: Callable[..., Any]) -> list[str]:
    """Names for a function's positional arguments."""
    parameters = inspect.signature(callee).parameters.values()
    names = [parameter.name for parameter in parameters if parameter.default is inspect.Parameter.empty]
    return [name if name.isidentifier() and not keyword.iskeyword(name) else f"x{i}" for i, name in enumerate(names)]


class Recorded(Framework):
    """The modules of a framework as stand-ins; the names of those that were asked for are the recorder's `modules`."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def __getitem__(self, module: str) -> Any:
        self.recorder.modules.add(module)
        return StandIn(self.recorder, super().__getitem__(module), module)
