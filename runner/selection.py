"""What a session runs of each case: made once, by the process that asks the frameworks, and handed to its workers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner import shares, tiers
from runner.tiers import Supported, Tier
from specs.case.case import Case
from specs.verdict.check import Check
from specs.verdict.deviation import DeviationEntry
from specs.verdict.memory import describe_excess
from specs.verdict.place import Place, iter_checks

Support = Mapping[str, Mapping[str, Sequence[str]]]  # backend → case file → names of the checks that it lacks


@dataclass(frozen=True)
class Selection:
    """The checks of a tier.

    masks  file, relative to the root of ids → name of a case → a bit for each of its checks, in their order.
           What is not in it runs in full, without modes that run as a share.
    """

    tier: Tier
    masks: Mapping[str, Mapping[str, int]]

    def of(self, case: Case, file: str, places: Sequence[Place]) -> Iterator[Check]:
        """The checks of a case that run."""
        mask = self.masks.get(file, {}).get(case.name)
        if mask is None:
            return iter_checks(case, places)
        return (check for index, check in enumerate(_possible(case, places)) if mask >> index & 1)

    def as_json(self) -> dict[str, Any]:
        masks = {file: {name: f"{mask:x}" for name, mask in cases.items()} for file, cases in self.masks.items()}
        return {"tier": self.tier, "masks": masks}

    @classmethod
    def from_json(cls, stated: Mapping[str, Any]) -> Selection:
        masks = {file: {name: int(mask, 16) for name, mask in cases.items()} for file, cases in stated["masks"].items()}
        return cls(stated["tier"], masks)


def select(
    tier: Tier,
    files: Mapping[str, Sequence[Case]],
    places: Sequence[Place],
    supported: Supported,
    deviations: Callable[[str], Sequence[DeviationEntry]],
) -> Selection:
    """The checks of a tier.

    `files` are the cases of each file, relative to the root of ids, in their order; `deviations` those of a backend.
    """
    if tier == "full" and not any(place.shares for place in places):
        return Selection(tier, {})
    chosen: set[Check] = set()
    all_cases = [case for cases in files.values() for case in cases]
    for place in places:
        if tier == "smoke":
            chosen.update(tiers.smoke(files.values(), place, supported))
        elif tier == "standard":
            chosen.update(tiers.standard(files.values(), place, supported, deviations(place.backend)))
        else:
            chosen.update(check for case in all_cases for check in iter_checks(case, [place]))
        chosen.update(shares.choose(tier, all_cases, place, supported, deviations(place.backend)))
    masks = {
        file: {
            case.name: sum((check in chosen) << index for index, check in enumerate(_possible(case, places)))
            for case in cases
        }
        for file, cases in files.items()
    }
    return Selection(tier, masks)


def _possible(case: Case, places: Sequence[Place]) -> Iterator[Check]:
    """Every check of a case that may be chosen, in a stable order."""
    return iter_checks(case, [place.in_all_modes for place in places])


def read_support(path: str) -> Support:
    """What is lacking elsewhere, as `python -m backends.discovery.inventory` prints it; ValueError if it is not."""
    try:
        findings = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines() if line]
        return {finding["backend"]: finding["lacking"] for finding in findings}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not what an inventory prints ({error})") from error


def supported_by(tables: Sequence[Support], max_memory: float | None = None) -> Supported:
    """Whether a check is supported somewhere, in so many GiB; so it is assumed of a file of which nothing is known."""
    lacking = [
        {backend: {file: frozenset(names) for file, names in files.items()} for backend, files in table.items()}
        for table in tables
    ]

    def supported(check: Check) -> bool:
        return not describe_excess(check, max_memory) and any(
            check.name not in table.get(check.backend, {}).get(str(check.case.file), frozenset()) for table in lacking
        )

    return supported
