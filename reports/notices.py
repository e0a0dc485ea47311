"""What a run did not do, and what failed it besides its checks: said first by every report."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from reports.read import Run


@dataclass(frozen=True)
class Notice:
    """`severe`: it makes the run fail, or its result not one of the whole."""

    title: str
    lines: list[str] = field(default_factory=list)
    severe: bool = False


def notices(run: Run, ran: Collection[str]) -> Iterator[Notice]:
    """Everything that has to be said of a run; `ran` are the backends that it has records of."""
    facts = run.facts
    if not facts["complete"]:
        lines = ["It was stopped before every check had ended: a check that is missing here may fail."]
        if run.truncated:
            lines.append("The last record was cut off, and is left out.")
        yield Notice("The run is not complete", lines, severe=True)
    for backend, reason in facts["unmet"].items():
        yield Notice(f"{backend} had to run and could not", _why(facts["backends"][backend], reason), severe=True)
    changes = facts.get("changes")  # a run without --baseline has none
    if changes and changes["regressed"]:
        yield Notice(f"Worse than the run in {changes['since']}", [changes["sections"][0]["said"]], severe=True)
    for file, problems in facts["broken_case_files"].items():
        yield Notice(f"{file} cannot be used, so none of its cases ran", problems, severe=True)
    for said in facts["stale_deviations"]:
        yield Notice("A recorded deviation is stale", [f"{said}; remove it"], severe=True)
    for backend, finding in facts["backends"].items():
        if backend not in ran and backend not in facts["unmet"]:
            yield Notice(f"{backend} did not run", _why(finding, finding["reason"] or "It was not asked for."))
    if narrowed := _narrowed(facts["selection"]):
        yield Notice("Only a part was asked for", narrowed)


def _why(finding: Mapping[str, Any], reason: str) -> list[str]:
    return [reason, *filter(None, [finding["next_step"]])]


def _narrowed(selection: Mapping[str, Any]) -> list[str]:
    """What the command line narrowed the run to."""
    aside = ("paths", "adapter", "require")
    named = {name: value for name, value in selection.items() if value and name not in aside}
    lines = [f"{name}: {value if isinstance(value, str) else ', '.join(value)}" for name, value in named.items()]
    paths = [path for path in selection["paths"] if path != "cases"]
    return [f"paths: {', '.join(paths)}", *lines] if paths else lines
