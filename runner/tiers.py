"""Tiers: how much of the product of cases and places a session runs.

    full      every check
    standard  what is cheap as the product; a framework's own operations forward, in the mode people use, in every
              dtype; of the rest a covering design (`runner.covering`); probes, and what a deviation is recorded for,
              in one mode of those it is recorded for: by each case that it names, or by each file where it is recorded
              for every topic or the checks are dear
    smoke     of each implementation a handful, to see that it works at all

Which checks of a case are in standard depends on the case, the place and the cases above it: those in its file for the
pairs of values (of dear checks without dtypes), and those in all files of the session for what the whole suite must
show once (`covering.kinds`).  So appending a case to a file changes no other's in that file.  What is unsupported
covers nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, get_args

from runner.covering import Item, Items, cover, features_in_dtypes, features_in_modes, kinds, pairs, values
from specs.case.case import Case
from specs.verdict.check import Check
from specs.verdict.deviation import DeviationEntry, describe
from specs.verdict.place import Place, iter_checks

Tier = Literal["smoke", "standard", "full"]
TIERS: tuple[Tier, ...] = get_args(Tier)
DEFAULT: Tier = "standard"

DEAR = 250.0  # CPU milliseconds: too much to show every feature in every mode, and in each file every dtype
CHEAP = 20.0  # CPU milliseconds: little enough to show every feature in every mode and dtype
DEAR_ONCE = 2.0  # times the cost of a forward check in the usual mode: too much for each case,
CHEAP_ONCE = 50.0  # if it is more than so many CPU milliseconds
SMOKE_CASES = 3  # of each implementation, each from another file

Supported = Callable[[Check], bool]


def standard(
    files: Iterable[Sequence[Case]], place: Place, supported: Supported, deviations: Sequence[DeviationEntry]
) -> Iterator[Check]:
    """The checks of some files at one place; `deviations` are those of its backend."""
    specific = [entry for entry in deviations if not entry.is_general]

    def pairs_of(check: Check) -> frozenset[Item]:
        return pairs(check, dtypes=place.cost(check) < DEAR)

    possible: set[Item] = set()  # what some case above can show, in whichever file
    for cases in files:
        met: set[Item] = set()  # pairs of values, and deviations, in the cases above, in the same file
        for case in cases:
            candidates = list(iter_checks(case, [place]))
            able = [check for check in candidates if supported(check)]
            chosen = [check for check in candidates if always(check, place)]
            not_dear = [check for check in able if place.cost(check) < DEAR]
            cheap = [check for check in able if place.cost(check) < CHEAP]
            for items, of, above in (
                (recorded(case, specific), cheap_enough(able, place), frozenset()),
                (recorded(case, deviations), able, met),
                (lambda check: values(check, place.handwritten(check)), by_case(able, place), frozenset()),
                (pairs_of, able, met),
                (kinds, able, possible),
                (features_in_modes, not_dear, possible),
                (features_in_dtypes, cheap, possible),
            ):
                chosen += cover(of, items, above | _all(items, filter(supported, chosen)), place.cost)
            met |= _all(pairs_of, filter(supported, chosen)) | _all(recorded(case, deviations), chosen)
            possible |= _all(kinds, able) | _all(features_in_modes, not_dear) | _all(features_in_dtypes, cheap)
            yield from chosen


def by_case(able: Sequence[Check], place: Place) -> list[Check]:
    """The checks whose values each case shows by itself: those that are not dear, and by hand only cheap ones.

    Where no operation of the framework's own can, what is written by hand is shown whatever it costs.
    """
    only_by_hand, unit = all(map(place.handwritten, able)), _unit(able, place)
    return [
        check
        for check in cheap_enough(able, place)
        if only_by_hand or not place.handwritten(check) or place.cost(check) < unit
    ]


def cheap_enough(able: Sequence[Check], place: Place) -> list[Check]:
    """The checks of a case that are not too dear to show something by each case."""
    limit = max(DEAR_ONCE * _unit(able, place), CHEAP_ONCE)
    return [check for check in able if place.cost(check) <= limit and (place.usual(check) or place.cost(check) < DEAR)]


def _unit(able: Sequence[Check], place: Place) -> float:
    """The cost of the cheapest forward check of a case in the usual mode."""
    usual = [check for check in able if place.usual(check) and check.direction == "forward"]
    return min(map(place.cost, usual or able), default=1.0)


def always(check: Check, place: Place) -> bool:
    """Whether a check is in standard whatever else is."""
    own = not place.handwritten(check) and place.usual(check) and check.direction == "forward"
    is_cheap = check.mode in place.cheap_modes and place.cost(check) < CHEAP
    return own or is_cheap or check.case.config.probe is not None


def recorded(case: Case, deviations: Iterable[DeviationEntry]) -> Items:
    """Which deviations are recorded for a check, for whichever versions: each may have become stale.

    What is recorded for several modes is shown in one of them, as is most of what a covering design shows.
    """
    of_case = [entry for entry in deviations if entry.cases.fullmatch(case.id)]

    def items(check: Check) -> frozenset[Item]:
        facts = describe(check)
        return frozenset(
            (f"{entry.file}:{entry.line}", check.implementation, check.dtype, check.direction)
            for entry in of_case
            if entry.deviation.match.applies(facts)
        )

    return items


def smoke(files: Iterable[Sequence[Case]], place: Place, supported: Supported) -> Iterator[Check]:
    """Of every implementation one case in each of a few files: its result, and its gradient where there is one."""
    tried: Counter[tuple[str, str]] = Counter()
    for cases in files:
        here: dict[tuple[str, str], list[Check]] = {}
        for case in cases:
            for implementation, able in _simplest(case, place, supported).items():
                here.setdefault((case.kind, implementation), able)
        for key, able in here.items():
            if tried[key] < SMOKE_CASES:
                yield from able
        tried.update(here.keys())


def _simplest(case: Case, place: Place, supported: Supported) -> dict[str, list[Check]]:
    """By implementation the checks of one dtype, float32 if it can be, in the mode people use; none of a refusal."""
    able: dict[str, list[Check]] = {}
    for check in iter_checks(case, [place]):
        if not case.config.expected_error and supported(check):
            able.setdefault(check.implementation, []).append(check)
    for name, of in able.items():
        mode = next((check.mode for check in of if place.usual(check)), of[0].mode)
        able[name] = [check for check in of if check.mode == mode]
    dtypes = {name: min(of, key=lambda check: check.dtype != "float32").dtype for name, of in able.items()}
    return {name: [check for check in of if check.dtype == dtypes[name]] for name, of in able.items()}


def _all(items: Items, chosen: Iterable[Check]) -> set[Item]:
    return set().union(*map(items, chosen))
