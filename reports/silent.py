"""Recorded deviations that nothing shows any more, where a single check cannot tell.

A check whose result is right although a lower precision is recorded for it may be right by luck, so it passes.  A whole
run without one check that shows the difference is no luck: the entry is stale, and the session fails.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence

import pytest

from specs.deviation import Recorded


class Silent:
    """pytest plugin; `deviations` are all that are recorded, by backend.  Only a whole run is judged."""

    def __init__(self, deviations: Mapping[str, Sequence[Recorded]]) -> None:
        self.unseen = {
            (backend, entry.place): entry
            for backend, entries in deviations.items()
            for entry in entries
            if entry.deviation.observed.may_be_silent and entry.deviation.installed
        }
        self.matched: set[tuple[str, str]] = set()
        self.errors = False
        self.stale: list[Recorded] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not (record := getattr(report, "conformance", None)):
            return
        self.errors |= record["verdict"] == "error"
        if record["deviation"]:
            self.unseen.pop((record["backend"], record["deviation"]["place"]), None)
        for key, entry in self.unseen.items():
            if key[0] == record["backend"] and entry.deviation.match.applies(record):
                self.matched.add(key)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        ended = session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        if ended and not self.errors and not session.shouldfail and _is_whole(session.config):
            self.stale = [entry for key, entry in self.unseen.items() if key in self.matched]
        if self.stale:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(wrapper=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> Generator[None, None, None]:
        yield
        for entry in self.stale:
            said = f"{entry.file}:{entry.line} records `{entry.deviation.observed}`, which no check of this run showed"
            terminalreporter.write_line(f"FAILED: stale deviation: {said}; remove it", red=True, bold=True)


def _is_whole(config: pytest.Config) -> bool:
    """Whether every case ran on the backends that were asked for, whichever those are."""
    option = config.option
    narrowing = (option.device, option.dtype, option.mode, option.implementation, option.direction)
    deselecting = (option.keyword, option.markexpr, option.deselect, getattr(option, "lf", False))
    paths = [config.invocation_params.dir / path for path in config.args]
    return not any((*narrowing, *deselecting)) and paths == [config.rootpath / "cases"]
