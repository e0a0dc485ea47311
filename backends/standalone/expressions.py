"""Values as expressions in a program."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

import numpy as np

ALIASES = {"jax.numpy": "jnp", "numpy": "np", "tensorflow": "tf"}  # the usual abbreviations
# How values of frameworks' own types are written, by `_kind`
SPELLINGS: Mapping[tuple[str, str], Callable[[Any], str]] = {
    ("torch", "dtype"): str,
    ("torch", "device"): lambda device: f'torch.device("{device}")',
    ("tensorflow", "DType"): lambda dtype: f"tf.{dtype.name}",
    ("tensorflow", "TensorShape"): lambda shape: source(tuple(shape)),
}
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
    if (kind := _kind(value)) in SPELLINGS:
        return SPELLINGS[kind](value)
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
    return _kind(value) in SPELLINGS or type(value) in PLAIN_TYPES or isinstance(value, (Enum, np.dtype))


def _kind(value: Any) -> tuple[str, str]:
    """The package and the name of a value's type."""
    return type(value).__module__.partition(".")[0], type(value).__name__


def shorten(path: str) -> str:
    """A dotted name with the usual abbreviation of its module."""
    for module, alias in ALIASES.items():
        if path == module or path.startswith(f"{module}."):
            return alias + path[len(module) :]
    return path
