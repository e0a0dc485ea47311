"""The checks of costly modes: a part of them, within a budget, chosen over all cases of a session.

Compiling one graph by torch.compile takes as long as hundreds of eager checks, so what such a mode shows is asked of
the suite and not of each case or file (`Share`).  In standard that is, in this order,

    every implementation in every direction                  for both kinds, on ordinary values
    the same in every dtype
    every feature of attention, and every property in which  by the implementation that has it and costs least
        a known difference may occur, in every direction
    every implementation on each of these properties         of what is different at once under a compiler: values that
                                                             are not finite, axes of size 0

and in full every feature by every implementation, in every dtype.  What is recorded for a mode, and for none that runs
by default or comes before it in `shares`, always runs: in standard once by an implementation, in full by each case.

The choice is that of `covering.cover`, until the budget is spent.  It depends on the set of cases, and neither on their
order nor on who runs them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

from runner.covering import Item, Items, cover, features_of, shuffled
from runner.tiers import Supported, recorded
from specs.case.case import Case
from specs.verdict.check import Check
from specs.verdict.deviation import DeviationEntry, matches
from specs.verdict.place import Place, Share, iter_checks
from specs.verdict.properties import PROPERTIES, Property

SPECIAL: tuple[Property, ...] = ("not_finite", "empty", "empty_axis")  # properties that each implementation shows


def choose(
    tier: str, cases: Sequence[Case], place: Place, supported: Supported, deviations: Sequence[DeviationEntry]
) -> Iterator[Check]:
    """The checks of a tier at one place in the modes of which it runs a share."""
    for position, (mode, share) in enumerate(place.shares.items()):
        if tier not in share.budgets:
            continue
        others = (*place.modes, *list(place.shares)[:position])
        of_mode = replace(place, modes=(mode,))
        able = {case: list(filter(supported, iter_checks(case, [of_mode]))) for case in cases}
        own = [entry for entry in deviations if _is_of(mode, others, entry)]
        chosen = list(_checks_of_entries(able, own, share, by_case=tier == "full"))
        budget = min(share.budgets[tier], share.per_case[tier] * len(cases))
        already = set(chosen)
        candidates = [check for checks in able.values() for check in checks if check not in already]
        for items in ORDER[tier]:
            left = budget - sum(map(share.seconds, chosen))
            chosen += cover(candidates, items, set().union(*map(items, chosen)), share.seconds, left)
        yield from chosen


def _is_of(mode: str, others: Iterable[str], entry: DeviationEntry) -> bool:
    """Whether something is recorded for a mode, and for no other: that one would show it."""
    patterns = entry.deviation.match.mode
    return matches(mode, patterns) and not any(matches(other, patterns) for other in others)


def _checks_of_entries(
    able: Mapping[Case, Sequence[Check]], entries: Sequence[DeviationEntry], share: Share, by_case: bool
) -> Iterator[Check]:
    """The checks for which something is recorded in this mode: an entry once by an implementation, or so by case."""
    having: dict[Check, set[Item]] = {}
    for case, checks in able.items():
        items, of = recorded(case, entries), case.id if by_case else ""
        having |= {check: {(item[0], check.implementation, of) for item in items(check)} for check in checks}
    covered = set[Item]()
    for check in sorted(having, key=lambda check: (share.seconds(check), shuffled(check))):
        if having[check] - covered:
            covered |= having[check]
            yield check


def _first(check: Check) -> frozenset[Item]:
    """What the suite shows before anything else: that each implementation computes."""
    return frozenset([] if _specials(check) else [(check.case.kind, check.implementation, check.direction)])


def _coarse(check: Check) -> frozenset[Item]:
    """What the suite shows in standard."""
    implementation, properties, special = check.implementation, _properties(check.case), _specials(check)
    return frozenset(
        [
            *([] if special else [(check.case.kind, implementation, check.dtype, check.direction)]),
            *(("feature", name, check.direction) for name in (*features_of(check.case), *properties)),
            *(("special", name, implementation) for name in special),
        ]
    )


def _fine(check: Check) -> frozenset[Item]:
    """What the suite shows in full."""
    axes = (check.implementation, check.direction)
    more = (("feature", name, *axes, check.dtype) for name in features_of(check.case))
    return _coarse(check) | frozenset(more) | {("file", str(check.case.file), *axes)}


def _specials(check: Check) -> frozenset[Property]:
    return _properties(check.case).intersection(SPECIAL)


@lru_cache(maxsize=4096)  # every mode that runs as a share asks again
def _properties(case: Case) -> frozenset[Property]:
    return frozenset(name for name, holds in PROPERTIES.items() if holds(case.config))


ORDER: dict[str, tuple[Items, ...]] = {"standard": (_first, _coarse), "full": (_first, _coarse, _fine)}
