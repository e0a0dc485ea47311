"""A check's record for pytest: the text of a failure, and the properties in JUnit XML."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from specs.verdict.check import Check
from specs.verdict.record import Record, to_plain

LONGEST = 300  # characters of a case's fields in a failure's text; literal operands can be pages
PROPERTIES = (
    *("verdict", "backend", "device", "implementation", "mode", "dtype", "direction"),
    *("error_ratio", "max_ulp"),
)


def junit_properties(record: Record) -> list[tuple[str, object]]:
    """The properties of a record in JUnit XML."""
    fields = vars(record) | vars(record.measurement)
    pairs = [(name, to_plain(fields[name])) for name in PROPERTIES if fields[name] is not None]
    return [*pairs, ("source", f"{record.file}:{record.line}")]


def explain(check: Check, record: Record, version: str | None) -> str:
    """The text of a failing check: what was computed and where, what was wrong, and how to run it again.

    `version` is that of the framework.
    """
    measurement, worst = record.measurement, record.measurement.worst
    framework = f"{check.backend} {version or ''}".strip()
    gradient = measurement.bound.get("gradient_of")
    of = f" of the gradient of {gradient}" if gradient else ""
    facts = {
        "about": check.case.config.about,
        check.case.kind: format_fields(check),
        "on": f"{framework} {check.device}: {check.implementation}, {check.mode}, {check.dtype}, {check.direction}",
        record.verdict: record.reason,
        "worst": worst and f"{list(worst.index)}{of}: expected {worst.expected}, got {worst.got}, bound {worst.bound}",
        "ratio": measurement.error_ratio is not None and f"{measurement.error_ratio:.4g} times the bound",
        "ULPs": measurement.max_ulp is not None and f"{measurement.max_ulp:.4g} at most",
        "RMS": measurement.rms is not None and f"{measurement.rms:.4g} times the deviation of correct arithmetic",
        "again": record.again,
    }
    lines = [f"{record.file}:{record.line}: {check.case.id}"]
    lines += [f"  {label:<10} " + str(fact).replace("\n", "\n" + " " * 13) for label, fact in facts.items() if fact]
    return "\n".join(lines)


def format_fields(check: Check) -> str:
    """The fields of the case that define its computation, in one line."""
    excluded = {"about", "source", "weak", "dtypes", "modes", "implementations"}
    stated = check.case.config.model_dump(exclude_unset=True, exclude=excluded)
    line = ", ".join(f"{name}: {json.dumps(to_plain(value))}" for name, value in stated.items())
    return line if len(line) <= LONGEST else line[:LONGEST] + " …"


class NotPassedError(Exception):
    """Fails an item of pytest; only its text is shown."""


@dataclass(frozen=True)
class FailureText:
    """A failure's text, with the one-line message that pytest's short summary and JUnit XML read from `reprcrash`."""

    text: str
    message: str

    @property
    def reprcrash(self) -> FailureText:
        return self

    def toterminal(self, out: Any) -> None:
        out.line(self.text)

    def __str__(self) -> str:
        return self.text
