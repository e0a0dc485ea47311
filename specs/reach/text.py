"""The table of reach as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from specs.case.problems import suggest
from specs.reach.feature import Feature
from specs.reach.fields import FEATURES
from specs.reach.reach import SIZES, VIEWS, Reach, gaps, why_impossible

GAP, IMPOSSIBLE = "gap", "-"


def summarize(reach: Reach) -> Iterator[str]:
    """A line for each feature: in each view, with how many of the others it meets, and at which size at most."""
    for kind, features in FEATURES.items():
        yield f"{kind}: features met of those that can be met, and the largest {SIZES[kind]}"
        rows = [[feature.name, *_summaries(reach, kind, feature)] for feature in features]
        yield from _align([["", *VIEWS[kind]], *rows])
        yield ""
    found = gaps(reach)
    yield from map(str, found)
    yield f"{len(found)} gaps: add cases that have both features" if found else "no gap"


def describe_feature(reach: Reach, name: str) -> Iterator[str]:
    """A line for each feature that this one can meet: the largest size in each view, and why there is none.

    Raises LookupError with the nearest name where there is no such feature.
    """
    known = {feature.name: kind for kind, features in FEATURES.items() for feature in features}
    kinds = [kind for kind, features in FEATURES.items() if name in {feature.name for feature in features}]
    if not kinds:
        hint = suggest(name, known)
        raise LookupError(f"no feature is named {name!r}" + (f"; {hint}" if hint else ""))
    for kind in kinds:
        (feature,) = (feature for feature in FEATURES[kind] if feature.name == name)
        yield f"{kind}: the largest {SIZES[kind]} at which {name} meets"
        rows = [_sizes(reach, kind, feature, other) for other in FEATURES[kind] if other != feature]
        yield from _align([["", *VIEWS[kind], ""], *rows])


def _summaries(reach: Reach, kind: str, feature: Feature) -> Iterator[str]:
    for view in VIEWS[kind]:
        possible = [x for x in FEATURES[kind] if x != feature and not why_impossible(kind, feature, x, view)]
        met = sum(reach.size(kind, frozenset({feature.name, other.name}), view) is not None for other in possible)
        size = reach.size(kind, frozenset({feature.name}), view)
        yield f"{met} of {len(possible)}, {size}" if size is not None else GAP if possible else IMPOSSIBLE


def _sizes(reach: Reach, kind: str, feature: Feature, other: Feature) -> list[str]:
    """The name of the other feature, a size or a mark for each view, and the reason if they cannot meet in one."""
    pair = frozenset({feature.name, other.name})
    sizes = [reach.size(kind, pair, view) for view in VIEWS[kind]]
    reasons = [why_impossible(kind, feature, other, view) for view in VIEWS[kind]]
    marks = [IMPOSSIBLE if reason else GAP for reason in reasons]
    cells = [mark if size is None else str(size) for size, mark in zip(sizes, marks, strict=True)]
    return [other.name, *cells, next((reason for reason in reasons if reason and IMPOSSIBLE in cells), "")]


def _align(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
