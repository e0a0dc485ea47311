"""`pytest --baseline DIR`: what changed since an earlier run, at the end of a session.

The earlier run is read when the session begins, so that it may be the one which this session replaces.  What changed
is said on the terminal and kept in `run.json`, for the views that are made of the run.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import asdict, replace
from typing import Any

import pytest

from reports.compare import text
from reports.compare.model import Side
from reports.compare.runs import compare
from reports.compare.sections import Section, sections
from reports.stream import Stream


class Baseline:
    """pytest plugin; `stream` knows the facts of the present run.  Anything that became worse fails the session."""

    def __init__(self, earlier: Side, stream: Stream) -> None:
        self.earlier, self.stream = earlier, stream
        self.records: dict[str, dict[str, Any]] = {}
        self.answer: list[Section] = []  # the first says whether it is safe

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if record := getattr(report, "conformance", None):
            self.records[record["id"]] = record

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if not self.records:
            return
        # A session of a part is compared with that part; what it did not run is no loss
        part = {id: record for id, record in self.earlier.records.items() if id in self.records}
        new = Side(str(self.stream.folder), self.stream.run, self.records, {})
        found = compare(replace(self.earlier, records=part), new)
        self.answer = [section for section in sections(found) if section.rows or section.tone != "plain"]
        told = [asdict(section) for section in self.answer]
        self.stream.run["changes"] = {"since": self.earlier.name, "regressed": found.regressed, "sections": told}
        if found.regressed and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(wrapper=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> Generator[None, None, None]:
        yield
        if self.answer:
            terminalreporter.write_sep("=", f"compared with {self.earlier.name}", bold=True)
        for line in text.lines(self.answer):
            terminalreporter.write_line(line)
