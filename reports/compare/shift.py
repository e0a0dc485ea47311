"""A group of checks as a whole: how many results have different bits, how errors changed, how long it took.

A single check shows little of any of these.  A sum in another order has different bits and an error that is larger or
smaller by chance; the seconds of one check include a compilation and whatever else the machine did.  So statements are
made about groups, from the median over their checks, and only if most of the checks agree.

Seconds are those of the backend's call, compilation included.  One run on each side does not show how busy the machine
was; backends whose versions are the same on both sides show how its load changed, and are the yardstick.  Without one,
no statement is made: on a busy machine, a run can take twice as long as another run of the same version.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

from reports.compare.change import are_comparable, ratio
from reports.compare.outcome import Record

Pair = tuple[Record, Record]
Group = dict[str, Any]

FEWEST = 20  # checks needed to take a median
AGREE = 0.8  # share of them that must have changed in the median's direction
# Error ratios near zero are noisy, so this share of the bound is added on both sides
ERROR_FLOOR, ERROR_FACTOR = 0.01, 2.0
# Medians over calls that take microseconds vary by some tenths from run to run, even on a quiet machine
SPEED_FACTOR = 1.3  # against the yardstick

BITS = ("family", "backend", "implementation", "dtype")
ERRORS = ("backend", "device", "implementation", "mode", "dtype", "direction")
SPEED = ("backend", "device", "implementation", "mode", "direction")


@dataclass(frozen=True)
class Bits:
    """How many results of a group have different bits, `of` those whose bits are known on both sides."""

    group: Group
    changed: int
    of: int


@dataclass(frozen=True)
class Shift:
    """A change of a whole group: the median `factor` over `checks`, of which `share` changed in its direction.

    before, after   medians on the two sides, of error ratios or seconds
    """

    group: Group
    checks: int
    factor: float
    share: float
    before: float
    after: float


@dataclass(frozen=True)
class Speed:
    """Groups that became slower or faster, and the yardstick's own factor; None if no backend kept its version."""

    shifts: tuple[Shift, ...]
    yardstick: float | None


def count_changed_bits(pairs: Iterable[Pair]) -> list[Bits]:
    """Changed results per group, most changes first; groups without changes are left out."""
    changed: Counter[Hashable] = Counter()
    total: Counter[Hashable] = Counter()
    for old, new in pairs:
        if old["digest"] is not None and new["digest"] is not None:
            key = _key(new, BITS)
            total[key] += 1
            changed[key] += old["digest"] != new["digest"]
    return [Bits(_group(BITS, key), count, total[key]) for key, count in changed.most_common() if count]


def find_grown_errors(pairs: Iterable[Pair]) -> list[Shift]:
    """Groups in which the errors of results with different bits grew by ERROR_FACTOR or more."""
    moved = [pair for pair in pairs if pair[0]["digest"] != pair[1]["digest"] and are_comparable(*pair)]
    shifts = _shifts(moved, ERRORS, lambda record: ratio(record) + ERROR_FLOOR)
    return [shift for shift in shifts if shift.factor >= ERROR_FACTOR and shift.share >= AGREE]


def compare_speed(pairs: Iterable[Pair], same_version: Collection[str]) -> Speed:
    """Groups that became slower or faster than the yardstick, the backends named in `same_version`."""
    timed = [pair for pair in pairs if pair[0]["seconds"] > 0 and pair[1]["seconds"] > 0]
    unchanged = [pair for pair in timed if pair[1]["backend"] in same_version]
    others = [pair for pair in timed if pair[1]["backend"] not in same_version]
    if len(unchanged) < FEWEST:
        return Speed((), None)
    yardstick = math.exp(median(math.log(new["seconds"] / old["seconds"]) for old, new in unchanged))
    shifts = tuple(
        shift
        for shift in _shifts(others, SPEED, lambda record: record["seconds"], yardstick)
        if not 1 / SPEED_FACTOR < shift.factor < SPEED_FACTOR and shift.share >= AGREE
    )
    return Speed(shifts, yardstick)


def _shifts(
    pairs: Iterable[Pair], by: tuple[str, ...], number: Callable[[Record], float], yardstick: float = 1.0
) -> Iterator[Shift]:
    """The shift of every group that is large enough; factors are divided by the yardstick."""
    grouped: dict[Hashable, list[Pair]] = defaultdict(list)
    for pair in pairs:
        grouped[_key(pair[1], by)].append(pair)
    for key, members in grouped.items():
        if len(members) < FEWEST:
            continue
        before, after = ([number(pair[side]) for pair in members] for side in (0, 1))
        logs = [math.log(b / a / yardstick) if 0 < a < math.inf and 0 < b < math.inf else 0.0
                for a, b in zip(before, after, strict=True)]  # fmt: skip
        middle = median(logs)
        agreeing = sum(log * middle > 0 for log in logs) / len(logs)
        yield Shift(_group(by, key), len(members), math.exp(middle), agreeing, median(before), median(after))


def family(case: str) -> str:
    """`einsum/products::matrix` → `einsum/products`; each file is a topic."""
    return case.partition("::")[0]


def _key(record: Record, by: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(family(record["case"]) if name == "family" else record[name] for name in by)


def _group(by: tuple[str, ...], key: Hashable) -> Group:
    assert isinstance(key, tuple)
    return dict(zip(by, key, strict=True))
