"""Recorded deviations that are out of date, as only a whole run can show.

A check may be right by luck although a lower precision is recorded for it, so it passes.  If no check of a whole run
shows that loss of precision, it is not luck, unless the backend declares that precision on this machine.  An entry that
names a case which no longer exists is useless too.  Both kinds of entry are stale and fail the session.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from specs.case.loading import discover, load_usable
from specs.verdict.deviation import DeviationEntry, Match, Observation, matches


class Stale:
    """pytest plugin; `deviations` are all recorded deviations, by backend.  Only a whole run is judged.

    selection  what narrows the session, as it is known when that ends
    """

    def __init__(self, deviations: Mapping[str, Sequence[DeviationEntry]], selection: Mapping[str, Any]) -> None:
        self.selection = selection
        self.entries = [
            (backend, entry)
            for backend, entries in deviations.items()
            for entry in entries
            if entry.deviation.is_known_here
        ]
        # By backend those that a right check does not make stale, as long as no check could have shown them
        self.silent: dict[str, list[DeviationEntry]] = {backend: [] for backend in deviations}
        for backend, entry in self.entries:
            if entry.deviation.observed.may_be_silent:
                self.silent[backend].append(entry)
        # Both hold the backend and the place of entries: those that a check could have shown, and those observed
        self.matched: set[tuple[str, str]] = set()
        self.observed: set[tuple[str, str]] = set()
        self.ran = self.errors = False
        self.found: list[str] = []
        self.shown: dict[str, bool] = {}  # of a shard: by message, whether one of its checks showed the deviation

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        record: dict[str, Any] | None = getattr(report, "conformance", None)
        if record is None:
            return
        self.errors |= record["verdict"] == "error"
        self.ran = True
        # A check of a case that no entry names does not show that the entry's own cases still do
        if (deviation := record["deviation"]) and Match.model_validate(deviation["match"]).applies(record):
            self.observed.add((record["backend"], record["deviation"]["place"]))
        silent = self.silent.get(record["backend"], [])
        for entry in list(silent):
            if entry.deviation.match.applies(record) and _could_show(entry.deviation.observed, record):
                self.matched.add((record["backend"], entry.place))
                silent.remove(entry)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        ended = session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        if ended and self.ran and not self.errors and not session.shouldfail and self._is_whole(session.config):
            shown = dict.fromkeys(self._without_cases(_case_ids(session.config.rootpath)), False) | self._silent()
            if session.config.option.shard:  # judged where the shards are joined: another one may show it
                self.shown |= shown
            else:
                self.found += [message for message, is_shown in shown.items() if not is_shown]
        if self.found:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _is_whole(self, config: pytest.Config) -> bool:
        """Whether every check that a deviation can match ran on the requested backends, in this shard or another."""
        option = config.option
        narrowing = (option.device, option.dtype, option.mode, option.implementation, option.direction)
        paths = [config.invocation_params.dir / path for path in config.args]
        is_selected = option.tier != "smoke" and not any(narrowing) and paths == [config.rootpath / "cases"]
        return is_selected and not self.selection.get("left_out")

    def _without_cases(self, cases: Collection[str]) -> Iterator[str]:
        for _, entry in self.entries:
            patterns = entry.deviation.match.case
            for pattern in [patterns] if isinstance(patterns, str) else patterns:
                if not any(matches(case, pattern) for case in cases):
                    yield f"{entry.file}:{entry.line} names the case `{pattern}`, which does not exist"

    def _silent(self) -> dict[str, bool]:
        """By message, whether a check showed each deviation that some check could have shown."""
        return {
            f"{entry.file}:{entry.line} records `{entry.deviation.observed}`, which no check of this run showed": (
                (backend, entry.place) in self.observed
            )
            for backend, entry in self.entries
            if (backend, entry.place) in self.matched
        }

    @pytest.hookimpl(wrapper=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> Generator[None, None, None]:
        yield
        for message in self.found:
            terminalreporter.write_line(f"FAILED: stale deviation: {message}; remove it", red=True, bold=True)


def _could_show(observed: Observation, record: Mapping[str, Any]) -> bool:
    """Whether the recorded precision differs from what the backend declares on this machine."""
    declared, lower = record["bound"].get("precision"), observed.precision
    if lower is None or not isinstance(declared, Mapping):  # for integers the precision is the string "exact"
        return True
    return any(declared[name] != format for name, format in lower.items())


def _case_ids(root: Path) -> set[str]:
    """Of all cases of the project, whether any of their checks ran or not."""
    files = discover([root / "cases"], root)
    return {case.id for _, cases in load_usable(files, root) for case in cases}
