"""Which features of cases meet, in which dtypes and directions, and up to which sizes.

A *view* is a class of dtypes and a direction, such as `16 bits grad`.  In each view that matters for its kind, every
two features must meet in a case, unless `specs.reach.impossible` says why they cannot: anything else is a gap.

What the table says of the case files holds for the tiers standard and full: in both, frameworks whose checks are cheap
run every dtype and direction of every case.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import combinations_with_replacement

from specs.arithmetic.formats import DTYPES
from specs.case.case import Case, Config
from specs.case.einsum import EinsumConfig
from specs.reach.einsum import axis_sizes
from specs.reach.feature import Feature
from specs.reach.fields import FEATURES
from specs.reach.impossible import IMPOSSIBLE
from specs.verdict.direction import DIRECTIONS

Pair = frozenset[str]  # two features, or one for a feature by itself
VIEWS: Mapping[str, tuple[str, ...]] = {
    "attention": ("float32 forward", "16 bits forward", "float32 grad", "16 bits grad"),
    "einsum": ("float32 forward", "16 bits forward", "float32 grad", "16 bits grad"),
}

SIZES: Mapping[str, str] = {"attention": "number of keys", "einsum": "axis"}


def view_of(dtype: str, direction: str) -> str:
    """The view of a check: `float64`, `float32`, `16 bits`, `complex`, `integer` or `bool`, and its direction.

    >>> view_of("bfloat16", "grad"), view_of("complex64", "forward")
    ('16 bits grad', 'complex forward')
    """
    format = DTYPES[dtype]
    name = format.kind if format.kind != "float" else dtype if dtype in ("float64", "float32") else "16 bits"
    return f"{name} {direction}"


def features_of(config: Config, direction: str = "forward") -> frozenset[str]:
    """Names of the features that a valid config has in a direction."""
    possible = (feature for feature in FEATURES[config.kind] if feature.direction in ("", direction))
    return frozenset(feature.name for feature in possible if feature.has(config))


def size_of(config: Config) -> int:
    """What the table says of a case: the number of keys, or the longest axis of an einsum."""
    return max(axis_sizes(config), default=1) if isinstance(config, EinsumConfig) else config.kv_len


@dataclass
class Reach:
    """What meets: kind of case → pair of features → view → largest size (`size_of`)."""

    sizes: dict[str, dict[Pair, dict[str, int]]] = field(
        default_factory=lambda: {kind: defaultdict(dict) for kind in FEATURES}
    )

    def add(self, config: Config, views: Iterable[str]) -> None:
        """Count a valid case that is computed in these views."""
        size, by_direction = size_of(config), defaultdict(list)
        for view in views:
            by_direction[view.split()[-1]].append(view)
        for direction, directed in by_direction.items():
            for pair in combinations_with_replacement(sorted(features_of(config, direction)), 2):
                meeting = self.sizes[config.kind][frozenset(pair)]
                for view in directed:
                    meeting[view] = max(size, meeting.get(view, 0))

    def size(self, kind: str, pair: Pair, view: str) -> int | None:
        """The largest size at which two features meet in a view; None where they do not."""
        return self.sizes[kind].get(pair, {}).get(view)


@dataclass(frozen=True)
class Gap:
    """Two features that meet in no case in these views, although they can; one by itself is in no case."""

    kind: str
    pair: Pair
    views: tuple[str, ...]

    def __str__(self) -> str:
        names, where = sorted(self.pair), ", ".join(self.views)
        if len(names) == 1:
            return f"{self.kind}: no case has {names[0]} ({where})"
        return f"{self.kind}: no case has both {names[0]} and {names[1]} ({where})"


def reach_of(cases: Iterable[Case]) -> Reach:
    """The reach of case files: all dtypes and directions of each case that computes what users do."""
    reach = Reach()
    for case in cases:
        if case.config.expected_error is None and case.config.probe is None:
            reach.add(case.config, views_of(case))
    return reach


def views_of(case: Case) -> set[str]:
    """The views in which a case is computed."""
    return {
        view_of(dtype, name)
        for dtype in case.config.dtypes
        for name, direction in DIRECTIONS.items()
        if direction.exists(case, dtype)
    }


def gaps(reach: Reach) -> list[Gap]:
    """What does not meet although it can, in the order of the features."""
    found = []
    for kind, features in FEATURES.items():
        for one, other in combinations_with_replacement(features, 2):
            pair = frozenset({one.name, other.name})
            missing = [view for view in VIEWS[kind] if reach.size(kind, pair, view) is None]
            views = tuple(view for view in missing if why_impossible(kind, one, other, view) is None)
            if views:
                found.append(Gap(kind, pair, views))
    return found


def why_impossible(kind: str, one: Feature, other: Feature, view: str) -> str | None:
    """Why two features cannot meet in a view; None where they can."""
    if one != other and one.group and one.group == other.group:
        return "one or the other"
    if only := [feature for feature in (one, other) if feature.direction and not view.endswith(feature.direction)]:
        return f"{only[0].name}: {only[0].direction} only"
    pair = frozenset({one.name, other.name})
    return next((entry.reason for entry in IMPOSSIBLE if entry.covers(kind, pair, view)), None)
