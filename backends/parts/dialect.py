"""How a stand-alone program (`backends.standalone`) makes and reads tensors: stated by each backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Dialect:
    """Expressions unless stated otherwise.

    imports      modules, with their usual abbreviation (`numpy as np`); a program imports those that it uses
    tensor       a tensor made from `{array}`, an array of `library`
    dtype        the name of the dtype of `result`
    array        `result` as a NumPy array
    bfloat16     the dtype; "" without it
    library      name of the module that has `array` (torch: `tensor`), `frombuffer` and `zeros`: np or torch
    widened      a `result` of bfloat16 in a dtype that NumPy has, where `array` needs one; else empty
    spellings    for types of the framework (`torch.dtype`: package and type): how a value is written
    substitutes  by full name, what is called instead of functions that read code: they cannot read stand-ins
    """

    imports: tuple[str, ...]
    tensor: str
    dtype: str
    array: str
    bfloat16: str = ""
    library: str = "np"
    widened: str = ""
    spellings: Mapping[str, Callable[[Any], str]] = field(default_factory=dict)
    substitutes: Mapping[str, Callable[..., Any]] = field(default_factory=dict)

    @property
    def aliases(self) -> dict[str, str]:
        """The abbreviations of modules by their full names."""
        parts = (module.partition(" as ") for module in self.imports)
        return {module: alias for module, _, alias in parts if alias}


NUMPY = Dialect(("numpy as np",), "{array}", "str(result.dtype)", "np.asarray(result)")
