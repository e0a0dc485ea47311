"""Which planted faults a tier catches.

A fault is caught by a tier if a check that the tier selects fails, and passes without the fault.  Of a place only the
checks that the fault affects run, until one of them catches it: first those of the cases that the fault names, then
those of the same files, then all others, and cheap ones before dear ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path

from backends.base import Backend
from backends.discovery import registry
from runner.collection import relative
from runner.selection import select
from runner.tiers import Tier
from specs.case.case import Case
from specs.case.loading import discover
from specs.verdict.check import Check
from specs.verdict.verdict import judge
from tests.faulty.fault import CHECK, ROOT, cases_of
from tests.faulty.planting import Planting


@dataclass(frozen=True)
class Detection:
    """How a tier fares with one planted fault.

    ran        how many of the tier's checks that the fault affects were run
    caught_by  those that caught it: the first, or all
    left_out   a check that catches it and is not in the tier, looked for only where nothing in the tier does
    """

    planting: Planting
    ran: int
    caught_by: tuple[Check, ...]
    left_out: Check | None = None

    @property
    def missed(self) -> bool:
        """Whether full catches what the tier does not."""
        return self.left_out is not None


def detect(planting: Planting, tier: Tier, all_checks: bool = False) -> Detection:
    """Run the tier's checks until one catches the fault, or all of them; where none does, those that it leaves out."""
    right, wrong = planting.right, planting.wrong
    ran: set[Check] = set()
    caught_by: list[Check] = []
    for check in affected_checks(planting, right, tier):
        ran.add(check)
        if catches(check, right, wrong):
            caught_by.append(check)
            if not all_checks:
                break
    others = (check for check in affected_checks(planting, right, "full") if check not in ran)
    left_out = None if caught_by else next((check for check in others if catches(check, right, wrong)), None)
    return Detection(planting, len(ran), tuple(caught_by), left_out)


def catches(check: Check, right: Backend, wrong: Backend) -> bool:
    """Whether a session would fail by this check with the fault, and not without it."""
    return _fails(check, wrong) and not _fails(check, right)


def _fails(check: Check, backend: Backend) -> bool:
    file = str(check.case.file)
    record = judge(check, backend, f"{file}::{check.name}", file, registry.deviations(backend.name))
    return record.verdict == "fail"


def affected_checks(planting: Planting, right: Backend, tier: Tier) -> list[Check]:
    """The checks of the tier that a fault affects: of cases that it names, of others in their files, of all others."""
    names = [parts for name in planting.fault.caught_by if (parts := CHECK.fullmatch(name))]
    cases, files = {parts["case"] for parts in names}, {ROOT / f"cases/{parts['file']}.yaml" for parts in names}

    def distance(check: Check) -> int:
        """0 in a case that the fault names, 1 in another of the same file, 2 elsewhere."""
        return 0 if check.case.id in cases else 1 if check.case.file in files else 2

    affected = filter(planting.affects, chain.from_iterable(selected_checks(tier, right).values()))
    return sorted(affected, key=lambda check: (distance(check), right.cost(check)))


@cache
def selected_checks(tier: Tier, backend: Backend) -> Mapping[Path, Sequence[Check]]:
    """By file the checks that a tier selects for a backend, and that this supports."""
    place, files = type(backend).place("cpu"), {file: list(cases_of(file).values()) for file in discover([], ROOT)}
    named: dict[str, Sequence[Case]] = {relative(file, ROOT): cases for file, cases in files.items()}
    selection = select(tier, named, [place], lambda check: not backend.unsupported(check), registry.deviations)
    return {
        file: [
            check
            for case in cases
            for check in selection.of(case, relative(file, ROOT), [place])
            if not backend.unsupported(check)
        ]
        for file, cases in files.items()
    }
