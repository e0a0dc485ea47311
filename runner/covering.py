"""A covering design: few checks in which each value, and each pair of values, occurs.

The values of a check are those of its implementation, mode, dtype and direction.  Choice is greedy: the check that adds
most for its cost comes next, and among equals the first in an order that the checks' own names shuffle, so that cases
which look alike choose differently, and every session chooses the same.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import math
from collections.abc import Callable, Collection, Iterable, Set

from specs.case.attention import AttentionConfig
from specs.case.case import Case
from specs.case.features import features
from specs.verdict.check import Check

Item = tuple[str, ...]  # one value, or a pair of them, each with the name of its axis

Items = Callable[[Check], Set[Item]]
Cost = Callable[[Check], float]


def values(check: Check, handwritten: bool = False) -> frozenset[Item]:
    """What a case shows by itself, of the checks that are not too dear for that: implementation, mode and direction.

    Attention written out by hand counts as one implementation: cases take turns, a file has them all.
    """
    implementation = "by hand" if handwritten else check.implementation
    return frozenset([("implementation", implementation), ("mode", check.mode), ("direction", check.direction)])


def pairs(check: Check, dtypes: bool = True) -> frozenset[Item]:
    """What a file of cases shows at a place: which values of the four axes meet, or of three, without `dtypes`."""
    axes = [("implementation", check.implementation), ("mode", check.mode), ("direction", check.direction)]
    if dtypes:
        axes.append(("dtype", check.dtype))
    return frozenset((*first, *second) for first, second in itertools.combinations(axes, 2))


def kinds(check: Check) -> frozenset[Item]:
    """What the suite shows at a place: which values of all four axes meet, and what features an implementation has."""
    together = (check.case.kind, check.implementation, check.mode, check.dtype, check.direction)
    return frozenset(
        [together, *(("feature", name, check.implementation, check.direction) for name in features_of(check.case))]
    )


def features_in_modes(check: Check) -> frozenset[Item]:
    """What the suite shows of checks that are not dear: what features an implementation has in which mode."""
    axes = (check.implementation, check.mode, check.direction)
    return frozenset(("feature", name, *axes) for name in features_of(check.case))


def features_in_dtypes(check: Check) -> frozenset[Item]:
    """What the suite shows of checks that cost little: the same in each dtype."""
    return frozenset((*item, check.dtype) for item in features_in_modes(check))


def features_of(case: Case) -> frozenset[str]:
    """The features of an attention; none of an einsum."""
    return features(case.config) if isinstance(case.config, AttentionConfig) else frozenset()


def cover(
    candidates: Collection[Check], items: Items, covered: Iterable[Item], cost: Cost, budget: float = math.inf
) -> list[Check]:
    """Checks that together have all items of the candidates which are not covered already; dear ones are avoided.

    It ends where the next check would cost more than what is left of the budget.
    """
    having = {check: items(check) for check in candidates}
    missing = set().union(*having.values()).difference(covered) if having else set()
    if not missing:
        return []
    costs = {check: cost(check) for check in candidates}

    def weigh(check: Check) -> tuple[float, int, bytes]:
        """By what is added for the cost; of equals the one that adds more, because fewer checks remain to be chosen."""
        added = len(having[check] & missing)
        return -added / costs[check], -added, shuffled(check)

    # What a check adds only becomes less, so one that is still the best when it is weighed anew is the best of all
    heap = [(weigh(check), index, check) for index, check in enumerate(candidates)]
    heapq.heapify(heap)
    chosen = []
    while missing:
        weight, index, best = heapq.heappop(heap)
        if (now := weigh(best)) != weight:
            heapq.heappush(heap, (now, index, best))
            continue
        budget -= costs[best]
        if budget < 0:
            break
        chosen.append(best)
        missing -= having[best]
    return chosen


def shuffled(check: Check) -> bytes:
    """A key by which the checks' own names shuffle them."""
    return hashlib.sha256(f"{check.case.id} {check.name}".encode()).digest()
