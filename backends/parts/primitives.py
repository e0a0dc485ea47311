"""What formulations compute with: a framework's tensors, and the table of its functions that a backend fills."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from backends.parts.framework import INSTALLED, Framework

Tensor = Any
Operands = Mapping[str, Tensor]


@dataclass(frozen=True)
class Primitives:
    """What the formulations need of a framework; its functions are called with positional arguments only.

    einsum   (equation, *tensors)
    permute  (x, axes)
    reshape  (x, shape)
    spread   (x, shape): broadcast to it
    join     (tensors, axis): one behind the other
    repeat   (x, times, axis): each entry `times` times in a row, a a b b
    where    (condition, x, y): x and y tensors or numbers
    any      (x, axis): the axis stays, with size 1
    softmax  (x, axis)
    tanh     (x)
    arange   (length, like): integers, where `like` is
    lowest   (like): the lowest finite number of its dtype

    framework   the modules of which formulations take what the framework has of its own
    """

    einsum: Callable[..., Tensor]
    permute: Callable[[Tensor, tuple[int, ...]], Tensor]
    reshape: Callable[[Tensor, tuple[int, ...]], Tensor]
    spread: Callable[[Tensor, tuple[int, ...]], Tensor]
    join: Callable[[list[Tensor], int], Tensor]
    repeat: Callable[[Tensor, int, int], Tensor]
    where: Callable[[Tensor, Tensor, Tensor], Tensor]
    any: Callable[[Tensor, int], Tensor]
    softmax: Callable[[Tensor, int], Tensor]
    tanh: Callable[[Tensor], Tensor]
    arange: Callable[[int, Tensor], Tensor]
    lowest: Callable[[Tensor], float]
    framework: Framework = INSTALLED
