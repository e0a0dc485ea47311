"""What a run did not do, and what made it fail other than its checks: the first thing in every report."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from reports.compare.sections import Section
from reports.read import Run

NOTHING_SELECTED = 5  # exit status of pytest
TIERS_IN_PART = {
    "smoke": "A handful of checks of each implementation, to see that it works at all; --tier full runs everything.",
    "standard": "All checks that are cheap, each framework's own operations, and a design that covers the rest; of "
    "costly modes a share, as in full; --tier full runs everything.",
}


@dataclass(frozen=True)
class Notice:
    """`severe`: the run fails because of it, or its result does not cover everything."""

    title: str
    lines: list[str] = field(default_factory=list)
    severe: bool = False


def collect_notices(run: Run, ran: Collection[str]) -> Iterator[Notice]:
    """All notices of a run; `ran` are the backends that it has records of."""
    facts = run.facts
    if not facts["complete"]:
        lines = ["It was stopped before every check had finished: a check without a record here may fail."]
        if run.truncated:
            lines.append("The last line of a file was cut off and has been left out.")
        if id := facts.get("ended_in"):
            lines.append(f"Its process died while it ran {id}; with -n 1 such a check is recorded, and the others run.")
        yield Notice("The run is not complete", lines, severe=True)
    for backend, reason in facts["unmet"].items():
        yield Notice(
            f"{backend} had to run and could not", _reason_lines(facts["backends"][backend], reason), severe=True
        )
    changes = facts.get("changes")  # a run without --baseline has none
    if changes and changes["regressed"]:
        yield Notice(
            f"Worse than the run in {changes['since']}", [Section.from_json(changes["sections"][0]).answer], severe=True
        )
    for file, problems in facts["broken_case_files"].items():
        yield Notice(f"{file} cannot be used, so none of its cases ran", problems, severe=True)
    for message in facts["stale_deviations"]:
        yield Notice("A recorded deviation is stale", [f"{message}; remove it"], severe=True)
    for backend, finding in facts["backends"].items():
        if backend not in ran and backend not in facts["unmet"]:
            yield Notice(f"{backend} did not run", _reason_lines(finding, describe_absence(backend, facts)))
    if (tier := facts.get("tier")) in TIERS_IN_PART:
        yield Notice(f"The {tier} tier", [TIERS_IN_PART[tier]])
    if narrowed := _list_narrowing(facts["selection"]):
        yield Notice("Only part of the suite was requested", narrowed)


def describe_absence(backend: str, facts: Mapping[str, Any]) -> str:
    """Why a backend has no results in a run."""
    requested = facts["selection"].get("backend")
    if reason := facts["backends"][backend].get("reason"):
        return reason
    if requested and backend not in requested:
        return "it was not requested"
    if facts["complete"] or facts["exit_status"] == NOTHING_SELECTED:
        return "nothing that was selected runs on it"
    return "the run ended before its first check had"


def _reason_lines(finding: Mapping[str, Any], reason: str) -> list[str]:
    return [reason, *filter(None, [finding["next_step"]])]


def _list_narrowing(selection: Mapping[str, Any]) -> list[str]:
    """The options by which the command line narrowed the run."""
    ignored = ("paths", "adapter", "require", "checks", "left_out")
    options = {name: value for name, value in selection.items() if value and name not in ignored}
    lines = [f"{name}: {', '.join(value) if isinstance(value, list) else value}" for name, value in options.items()]
    if left_out := selection.get("left_out"):
        lines.append(f"left out: {left_out:,} of {selection['checks']:,} checks, by an option of pytest or a plugin")
    paths = [path for path in selection["paths"] if path != "cases"]
    return [f"paths: {', '.join(paths)}", *lines] if paths else lines
