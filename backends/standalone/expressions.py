"""Values as expressions in a program."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import Enum
from functools import cache
from typing import Any

import numpy as np

from backends.discovery import registry
from backends.parts.dialect import NUMPY, Dialect

# These types exactly: a NumPy scalar is not plain
PLAIN_TYPES = (int, float, complex, str, bytes, bool, type(None), type(...), slice)


class TracingError(Exception):
    """Something that a backend does cannot be written as a line of a program."""


class Named:
    """A value with the expression that gives it in a program.

    _real         the value itself
    _expression   the expression
    _root         the name that the expression reads; empty for a member of a module
    """

    _real: Any
    _expression: str
    _root: str


def unwrap(value: Any) -> Any:
    """The value without stand-ins, at any depth."""
    if isinstance(value, Named):
        return value._real
    if isinstance(value, slice):
        return slice(unwrap(value.start), unwrap(value.stop), unwrap(value.step))
    if type(value) in (tuple, list):
        return type(value)(unwrap(item) for item in value)
    return {key: unwrap(item) for key, item in value.items()} if type(value) is dict else value


def source(value: Any) -> str:
    """An expression for a value."""
    if isinstance(value, Named):
        return value._expression
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if isinstance(value, tuple):
        return f"({', '.join(map(source, value))}{',' * (len(value) == 1)})"
    if isinstance(value, list):
        return f"[{', '.join(map(source, value))}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{source(key)}: {source(item)}" for key, item in value.items()) + "}"
    if type(value) in PLAIN_TYPES:
        return "..." if value is ... else f'"{value}"' if isinstance(value, str) and '"' not in value else repr(value)
    if isinstance(value, np.dtype):
        return f'"{value}"'
    if spelling := _spelling(value):
        return spelling(value)
    raise TracingError(f"{repr(value)[:80]} cannot be written as an expression")


def names_in(value: Any) -> frozenset[str]:
    """The names that an expression for the value reads."""
    if isinstance(value, Named):
        return frozenset({value._root}) - {""}
    if isinstance(value, slice):
        value = (value.start, value.stop, value.step)
    if isinstance(value, (tuple, list)):
        return frozenset().union(*map(names_in, value))
    return names_in(list(value.values())) if isinstance(value, Mapping) else frozenset()


def index_source(key: Any) -> str:
    """The text between the brackets of an index."""
    if isinstance(key, tuple):
        return ", ".join(map(index_source, key)) + ("," if len(key) == 1 else "")
    if isinstance(key, slice):
        start, stop, step = ("" if part is None else source(part) for part in (key.start, key.stop, key.step))
        return f"{start}:{stop}" + (f":{step}" if step else "")
    return source(key)


def is_plain(value: Any) -> bool:
    """Whether the value is of Python's own types, or is written as its own name, such as a dtype."""
    if isinstance(value, (tuple, list)):
        return not hasattr(value, "_fields") and all(map(is_plain, value))  # a named tuple is not plain
    return _spelling(value) is not None or type(value) in PLAIN_TYPES or isinstance(value, (Enum, np.dtype))


def _spelling(value: Any) -> Callable[[Any], str] | None:
    """How a value of a framework's own type is written, as the framework's backend states."""
    package, name = type(value).__module__.partition(".")[0], type(value).__name__
    return _dialect().spellings.get(f"{package}.{name}")


def substitute(path: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """What is called instead of the framework's function of this full name, as its backend states."""
    return _dialect().substitutes.get(path, function)


def _dialect() -> Dialect:
    """The imports, spellings and substitutes of all backends: a backend may call another framework, as Keras does."""
    return _join_dialects(tuple(registry.names()))


@cache
def _join_dialects(names: tuple[str, ...]) -> Dialect:
    dialects = [backend.dialect for backend in map(registry.load_class, names) if backend.dialect is not None]
    return replace(
        NUMPY,
        imports=tuple(name for dialect in dialects for name in dialect.imports),
        spellings={kind: spelling for dialect in dialects for kind, spelling in dialect.spellings.items()},
        substitutes={path: function for dialect in dialects for path, function in dialect.substitutes.items()},
    )


def shorten(path: str) -> str:
    """A dotted name with the usual abbreviation of its module."""
    for module, alias in _dialect().aliases.items():
        if path == module or path.startswith(f"{module}."):
            return alias + path[len(module) :]
    return path
