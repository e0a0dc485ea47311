"""A group of checks as a whole: how many results have other bits, how errors moved, how long it took.

One check tells little of any of these.  A sum made in another order has other bits and an error that is larger or
smaller by chance; the seconds of one check hold a compilation and whatever else the machine did.  So a statement is
made of a group, from the median over its checks, and only where most of them agree.

Seconds are those of the backend's call, compilation included.  How busy the machine was is not known from one run each;
backends whose versions are the same on both sides tell how it moved, and are the yardstick.  Where there is none,
nothing is said: on a busy machine a whole run of one and the same version can take twice as long as another.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

from reports.compare.change import comparable, ratio
from reports.compare.outcome import Record

Pair = tuple[Record, Record]
Group = dict[str, Any]

FEWEST = 20  # checks of which a median is taken
AGREE = 0.8  # share of them that must have moved in the median's direction
# Ratios are small and noisy near zero, so this share of the bound is added to both sides
ERROR_FLOOR, ERROR_FACTOR = 0.01, 2.0
# A median over calls that take microseconds moves by some tenths from run to run on a quiet machine
SPEED_FACTOR = 1.3  # against the yardstick

BITS = ("family", "backend", "implementation", "dtype")
ERRORS = ("backend", "device", "implementation", "mode", "dtype", "direction")
SPEED = ("backend", "device", "implementation", "mode", "direction")


@dataclass(frozen=True)
class Bits:
    """How many results of a group have other bits, of those whose bits are known on both sides."""

    group: Group
    changed: int
    of: int


@dataclass(frozen=True)
class Shift:
    """A group in which something moved: the median factor over `checks`, of which `share` moved in its direction.

    before, after   medians of the two sides, error ratios or seconds
    """

    group: Group
    checks: int
    factor: float
    share: float
    before: float
    after: float


@dataclass(frozen=True)
class Speed:
    """Groups that became slower or faster; the yardstick's own factor, None where no backend kept its version."""

    shifts: tuple[Shift, ...]
    yardstick: float | None


def bits(pairs: Iterable[Pair]) -> list[Bits]:
    """Per group, most changes first; groups in which nothing changed are left out."""
    changed: Counter[Hashable] = Counter()
    known: Counter[Hashable] = Counter()
    for old, new in pairs:
        if old["digest"] is not None and new["digest"] is not None:
            key = _key(new, BITS)
            known[key] += 1
            changed[key] += old["digest"] != new["digest"]
    return [Bits(_group(BITS, key), count, known[key]) for key, count in changed.most_common() if count]


def errors(pairs: Iterable[Pair]) -> list[Shift]:
    """Groups whose errors, of results with other bits, grew by ERROR_FACTOR or more."""
    moved = [pair for pair in pairs if pair[0]["digest"] != pair[1]["digest"] and comparable(*pair)]
    found = _shifts(moved, ERRORS, lambda record: ratio(record) + ERROR_FLOOR)
    return [shift for shift in found if shift.factor >= ERROR_FACTOR and shift.share >= AGREE]


def speed(pairs: Iterable[Pair], same_version: Collection[str]) -> Speed:
    """Groups that took longer, or less long, than the yardstick of the backends named in `same_version`."""
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
    """Every group that is large enough; factors are divided by the yardstick."""
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
        agreeing = sum(each * middle > 0 for each in logs) / len(logs)
        yield Shift(_group(by, key), len(members), math.exp(middle), agreeing, median(before), median(after))


def family(case: str) -> str:
    """`einsum/products::matrix` → `einsum/products`: a file is a topic."""
    return case.partition("::")[0]


def _key(record: Record, by: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(family(record["case"]) if name == "family" else record[name] for name in by)


def _group(by: tuple[str, ...], key: Hashable) -> Group:
    assert isinstance(key, tuple)
    return dict(zip(by, key, strict=True))
