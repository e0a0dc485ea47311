"""What formulations compute with: a framework's tensors, and a table of its functions that each backend fills in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from backends.parts.framework import INSTALLED, Framework

Tensor = Any
Operands = Mapping[str, Tensor]


@dataclass(frozen=True)
class Primitives:
    """The functions that formulations need from a framework, named as in the Python array API where it has them.

    They are called with positional arguments only.

    einsum        (equation, *tensors)
    permute_dims  (x, axes)
    reshape       (x, shape)
    broadcast_to  (x, shape)
    concat        (tensors, axis)
    repeat        (x, repeats, axis): each entry `repeats` times in a row, a a b b
    where         (condition, x, y): x and y are tensors or numbers
    any           (x, axis): keeps the axis, with size 1
    softmax       (x, axis)
    tanh          (x)
    arange        (length, like): integers from 0, on the device of `like`
    lowest        (like): the lowest finite number of its dtype

    framework   the modules from which formulations take the framework's own operations
    """

    einsum: Callable[..., Tensor]
    permute_dims: Callable[[Tensor, tuple[int, ...]], Tensor]
    reshape: Callable[[Tensor, tuple[int, ...]], Tensor]
    broadcast_to: Callable[[Tensor, tuple[int, ...]], Tensor]
    concat: Callable[[list[Tensor], int], Tensor]
    repeat: Callable[[Tensor, int, int], Tensor]
    where: Callable[[Tensor, Tensor, Tensor], Tensor]
    any: Callable[[Tensor, int], Tensor]
    softmax: Callable[[Tensor, int], Tensor]
    tanh: Callable[[Tensor], Tensor]
    arange: Callable[[int, Tensor], Tensor]
    lowest: Callable[[Tensor], float]
    framework: Framework = INSTALLED
