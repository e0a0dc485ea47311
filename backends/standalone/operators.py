"""The Python operators that tensors have: symbol and function, by the name of the method."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

BINARY: Mapping[str, tuple[str, Callable[[Any, Any], Any]]] = {
    "add": ("+", operator.add),
    "sub": ("-", operator.sub),
    "mul": ("*", operator.mul),
    "truediv": ("/", operator.truediv),
    "floordiv": ("//", operator.floordiv),
    "mod": ("%", operator.mod),
    "pow": ("**", operator.pow),
    "matmul": ("@", operator.matmul),
    "and": ("&", operator.and_),
    "or": ("|", operator.or_),
    "xor": ("^", operator.xor),
}
COMPARISON: Mapping[str, tuple[str, Callable[[Any, Any], Any]]] = {
    "lt": ("<", operator.lt),
    "le": ("<=", operator.le),
    "gt": (">", operator.gt),
    "ge": (">=", operator.ge),
    "eq": ("==", operator.eq),
    "ne": ("!=", operator.ne),
}
UNARY: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "neg": ("-", operator.neg),
    "invert": ("~", operator.invert),
    "pos": ("+", operator.pos),
}
