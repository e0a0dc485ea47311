"""The smallest thing that has a verdict, and which of them a case gives rise to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from specs.arithmetic.formats import DTYPES
from specs.case.attention import AttentionConfig
from specs.case.case import Case, Config

Direction = Literal["forward", "grad"]
DIRECTIONS: tuple[Direction, ...] = ("forward", "grad")


@dataclass(frozen=True)
class Check:
    """case x backend x device x implementation x mode x dtype x direction."""

    case: Case
    backend: str
    device: str
    implementation: str
    mode: str
    dtype: str
    direction: Direction = "forward"

    @property
    def name(self) -> str:
        """As pytest shows it: `attention_scores[torch-cpu-einsum-eager-float32]`, gradients end in `-grad`."""
        parts = [self.backend, self.device, self.implementation, self.mode, self.dtype]
        if self.direction == "grad":
            parts.append("grad")
        return f"{self.case.name}[{'-'.join(parts)}]"


def has_gradient(case: Case, dtype: str) -> bool:
    """Whether there is a gradient to check: of numbers that vary continuously, in a computation that has a meaning.

    Attention that holds NaN to be right, for queries without keys or under a mask, has no derivative there.
    """
    config = case.config
    wanted = dtype in config.gradient if isinstance(config.gradient, list) else config.gradient
    if not wanted or config.expected_error:
        return False
    if isinstance(config, AttentionConfig) and (config.fully_masked == "nan" or config.masked_values == "spread"):
        return False
    operands = getattr(config, "operand_dtypes", None) or [dtype]
    return DTYPES[dtype].inexact and any(DTYPES[name].inexact for name in operands)


@dataclass(frozen=True)
class Place:
    """One backend on one device, and what may be computed there: what checks are made of.

    on_request  implementations that run only where a case names them
    distinct    whether an implementation computes a config there otherwise than the rest do
    """

    backend: str
    device: str
    implementations: dict[str, tuple[str, ...]]  # by kind
    modes: tuple[str, ...]
    directions: tuple[Direction, ...] = ("forward",)  # grad too where the backend differentiates
    dtypes: tuple[str, ...] | None = None  # narrowed to these; None: every dtype of the case
    on_request: frozenset[str] = frozenset()
    distinct: Callable[[Config, str, str], bool] = lambda config, implementation, device: True

    def offers(self, config: Config, implementation: str) -> bool:
        """Whether a check of this implementation is made."""
        named = config.implementations
        if implementation not in named if named is not None else implementation in self.on_request:
            return False
        return self.distinct(config, implementation, self.device)


def checks(case: Case, places: list[Place]) -> Iterator[Check]:
    """Every check of `case` at the places, in a stable order."""
    config = case.config
    for place in places:
        for implementation in place.implementations.get(case.kind, ()):
            if not place.offers(config, implementation):
                continue
            for mode in place.modes:
                if config.modes is not None and mode not in config.modes:
                    continue
                for dtype in config.dtypes:
                    if place.dtypes is not None and dtype not in place.dtypes:
                        continue
                    for direction in place.directions:
                        if direction == "grad" and not has_gradient(case, dtype):
                            continue
                        yield Check(case, place.backend, place.device, implementation, mode, dtype, direction)
