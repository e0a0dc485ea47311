"""The checks of a case, on each backend and device where it can be computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from specs.case.case import Case, Config
from specs.verdict.check import Check
from specs.verdict.direction import DIRECTIONS


@dataclass(frozen=True)
class Share:
    """What runs of a mode whose checks are too costly to be chosen case by case, unless the mode is asked for.

    budgets    CPU seconds that all its checks may take together, by tier; of any other tier none run
    per_case   CPU seconds by tier for each case of a session: one of few cases spends a part of the budget
    seconds    CPU seconds of a check that nothing was kept of; measured (docs/performance.md)
    """

    budgets: Mapping[str, float]
    per_case: Mapping[str, float]
    seconds: Callable[[Check], float]


@dataclass(frozen=True)
class Place:
    """One backend on one device, with all that may be computed there.

    on_request   implementations that run only where a case names them
    distinct     whether an implementation computes a config differently from the backend's other implementations
    usual        whether the mode of a check is the one in which people use its implementation
    cheap_modes  the modes in which a check costs little more than its comparison
    cost         of a check, in CPU milliseconds
    handwritten  whether an implementation of attention is written out in operations of the framework
    modes_of     implementations that exist in these modes only
    shares       the modes of which a tier runs a part, chosen over all cases of a session
    """

    backend: str
    device: str
    implementations: dict[str, tuple[str, ...]]  # by kind
    modes: tuple[str, ...]  # without those that run as a share
    directions: tuple[str, ...] = ("forward",)
    dtypes: tuple[str, ...] | None = None  # only these; None: every dtype of the case
    on_request: frozenset[str] = frozenset()
    distinct: Callable[[Config, str, str], bool] = lambda config, implementation, device: True
    usual: Callable[[Check], bool] = lambda check: check.mode == "eager"
    cheap_modes: frozenset[str] = frozenset()
    cost: Callable[[Check], float] = lambda check: 1.0
    handwritten: Callable[[Check], bool] = lambda check: False
    shares: Mapping[str, Share] = field(default_factory=dict)
    modes_of: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def in_all_modes(self) -> Place:
        """The same place with the modes that run as a share among the others."""
        return replace(self, modes=(*self.modes, *self.shares), shares={}) if self.shares else self

    def offers(self, config: Config, implementation: str) -> bool:
        """Whether this implementation of a config is checked."""
        names = config.implementations
        if implementation not in names if names is not None else implementation in self.on_request:
            return False
        return self.distinct(config, implementation, self.device)


def iter_checks(case: Case, places: Iterable[Place]) -> Iterator[Check]:
    """Every check of `case` at the places, in a stable order."""
    config = case.config
    for place in places:
        for implementation in place.implementations.get(case.kind, ()):
            if not place.offers(config, implementation):
                continue
            for mode in place.modes:
                if config.modes is not None and mode not in config.modes:
                    continue
                if mode not in place.modes_of.get(implementation, place.modes):
                    continue
                for dtype in config.dtypes:
                    if place.dtypes is not None and dtype not in place.dtypes:
                        continue
                    for direction in place.directions:
                        if DIRECTIONS[direction].exists(case, dtype):
                            yield Check(case, place.backend, place.device, implementation, mode, dtype, direction)
