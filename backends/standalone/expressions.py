"""Values as the expressions that stand for them in a program."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

import numpy as np

SHORT = {"jax.numpy": "jnp", "numpy": "np", "tensorflow": "tf"}  # names that everybody knows
# Values of the frameworks' own that are written by what they say of themselves, by `_kind`
SPELLED: Mapping[tuple[str, str], Callable[[Any], str]] = {
    ("torch", "dtype"): str,
    ("torch", "device"): lambda device: f'torch.device("{device}")',
    ("tensorflow", "DType"): lambda dtype: f"tf.{dtype.name}",
    ("tensorflow", "TensorShape"): lambda shape: source(tuple(shape)),
}
PLAIN = (int, float, complex, str, bytes, bool, type(None), type(...), slice)  # exactly: a NumPy scalar is none


class TracingError(Exception):
    """Something that a backend does has no form as a line of a program."""


class Named:
    """What stands for a value in a program.

    _real         the value itself
    _expression   what gives it
    _root         the name in that expression; none for something that stands in a module
    """

    _real: Any
    _expression: str
    _root: str


def real(value: Any) -> Any:
    """Without stand-ins, however deep they are."""
    if isinstance(value, Named):
        return value._real
    if isinstance(value, slice):
        return slice(real(value.start), real(value.stop), real(value.step))
    if type(value) in (tuple, list):
        return type(value)(real(each) for each in value)
    return {key: real(each) for key, each in value.items()} if type(value) is dict else value


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
        return "{" + ", ".join(f"{source(key)}: {source(each)}" for key, each in value.items()) + "}"
    if type(value) in PLAIN:
        return "..." if value is ... else f'"{value}"' if isinstance(value, str) and '"' not in value else repr(value)
    if isinstance(value, np.dtype):
        return f'"{value}"'
    if (kind := _kind(value)) in SPELLED:
        return SPELLED[kind](value)
    raise TracingError(f"{repr(value)[:80]} has no form as a line of a program")


def names_in(value: Any) -> frozenset[str]:
    """The names that an expression for it reads."""
    if isinstance(value, Named):
        return frozenset({value._root}) - {""}
    if isinstance(value, slice):
        value = (value.start, value.stop, value.step)
    if isinstance(value, (tuple, list)):
        return frozenset().union(*map(names_in, value))
    return names_in(list(value.values())) if isinstance(value, Mapping) else frozenset()


def index(key: Any) -> str:
    if isinstance(key, tuple):
        return ", ".join(map(index, key)) + ("," if len(key) == 1 else "")
    if isinstance(key, slice):
        start, stop, step = ("" if part is None else source(part) for part in (key.start, key.stop, key.step))
        return f"{start}:{stop}" + (f":{step}" if step else "")
    return source(key)


def is_plain(value: Any) -> bool:
    """Whether it is a value of Python's own, or one that is written as its own name, such as a dtype."""
    if isinstance(value, (tuple, list)):
        return not hasattr(value, "_fields") and all(map(is_plain, value))  # a named tuple is an object of its own
    return _kind(value) in SPELLED or type(value) in PLAIN or isinstance(value, (Enum, np.dtype))


def _kind(value: Any) -> tuple[str, str]:
    """The package and the name of a value's type."""
    return type(value).__module__.partition(".")[0], type(value).__name__


def short(path: str) -> str:
    for long, short in SHORT.items():
        if path == long or path.startswith(f"{long}."):
            return short + path[len(long) :]
    return path
