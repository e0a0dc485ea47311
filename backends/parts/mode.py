"""What a mode of a backend is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Mode:
    """How the code of a computation is executed, whatever the framework calls it.

    execution  eager: the code itself is run each time; graph: it is run once, and then the operations that it called,
               each as it is; compiled: a compiler makes a program of these operations
    any_sizes  whether one graph or program serves operands of any sizes
    constants  whether the program holds the operands
    """

    execution: Literal["eager", "graph", "compiled"]
    any_sizes: bool = False
    constants: bool = False


EAGER = Mode("eager")
COMPILED = Mode("compiled")
