"""`pytest --baseline DIR`: what changed since an earlier run, at the end of a session.

The earlier run is read when the session begins, so it may be the run that this session overwrites.  The changes are
printed on the terminal and written to `run.json`, from which the views read them.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any

import pytest

from reports.compare import text
from reports.compare.model import Side
from reports.compare.runs import compare
from reports.compare.sections import Section, build_sections
from reports.stream import Stream


class Baseline:
    """pytest plugin; `stream` holds the facts of the current run.  Any change for the worse fails the session."""

    def __init__(self, earlier: Side, stream: Stream) -> None:
        self.earlier, self.stream = earlier, stream
        self.records: dict[str, dict[str, Any]] = {}
        self.sections: list[Section] = []  # the first answers whether the change is safe

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if record := getattr(report, "conformance", None):
            self.records[record["id"]] = record

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if not self.records:
            return
        # If the session ran only some checks, compare only those; the others are not reported as missing
        part = {id: record for id, record in self.earlier.records.items() if id in self.records}
        new = Side(str(self.stream.folder), self.stream.run, self.records, {})
        comparison = compare(replace(self.earlier, records=part), new)
        self.sections = [section for section in build_sections(comparison) if section.rows or section.tone != "plain"]
        self.stream.run["changes"] = {
            "since": self.earlier.name,
            "regressed": comparison.regressed,
            "sections": [section.as_json() for section in self.sections],
        }
        if comparison.regressed and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(wrapper=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> Generator[None, None, None]:
        yield
        if self.sections:
            terminalreporter.write_sep("=", f"compared with {self.earlier.name}", bold=True)
        for line in text.format_lines(self.sections):
            terminalreporter.write_line(line)
