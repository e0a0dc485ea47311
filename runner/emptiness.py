"""A session in which nothing was computed fails, and says why: it must not look like one in which nothing was wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import pytest

from backends.base import Backend
from runner.options import NARROWING


class Emptiness:
    """pytest plugin, in the process that receives all results.

    ready    the classes of the backends that were found and requested
    options  the values of each option that narrows a session
    """

    def __init__(self, ready: Sequence[type[Backend]], options: dict[str, list[str]]) -> None:
        self.ready, self.options = ready, options
        self.unsupported: Counter[str] = Counter()  # by reason
        self.heard: set[str] = set()  # backends of which there is any record
        self.computed = False
        self.message = ""

    def pytest_runtest_logreport(self, report: Any) -> None:
        record = getattr(report, "conformance", None)
        self.heard.update([record["backend"]] if record else [])
        if record and record["verdict"] == "unsupported":
            self.unsupported[record["reason"]] += 1
        elif record or report.failed or getattr(report, "fuzz", None) or getattr(report, "case_file_problems", None):
            self.computed = True

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        ended = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
        option = session.config.option
        if self.computed or session.exitstatus not in ended or option.collectonly:
            return
        if option.shard:  # a share of few checks may well be empty: whether all are is seen when they are joined
            session.exitstatus = pytest.ExitCode.OK
            return
        self.message = "; ".join(self._reasons(session.config))
        if session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(wrapper=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> Generator[None, None, None]:
        yield
        if self.message:
            terminalreporter.write_line(f"FAILED: nothing was computed: {self.message}", red=True, bold=True)
            return
        option = terminalreporter.config.option
        if option.shard or option.keyword or option.collectonly or not self.heard:
            return
        for backend in self.ready:
            if backend.name in option.backend and backend.name not in self.heard:
                reason = "; ".join(self._missing(backend)) or "it states that it has no check of these cases"
                terminalreporter.write_line(f"nothing was computed on {backend.name}: {reason}", yellow=True)

    def _reasons(self, config: pytest.Config) -> Iterator[str]:
        if self.unsupported:
            reason, count = self.unsupported.most_common(1)[0]
            others = f" ({len(self.unsupported) - 1} other reasons)" if len(self.unsupported) > 1 else ""
            yield f"all {self.unsupported.total()} checks are unsupported; of {count}, {reason}{others}"
            return
        if not self.ready:
            yield "no backend that was requested can run here"
        for backend in self.ready:
            yield from self._missing(backend)
        chosen = [f"--{name} {value}" for name in NARROWING for value in self.options[name]]
        chosen += [f"-k {config.option.keyword!r}"] if config.option.keyword else []
        chosen += [f"-m {config.option.markexpr!r}"] if config.option.markexpr else []
        yield f"no case has a check for {' '.join(chosen)}" if chosen else "no case has a check that was selected"

    def _missing(self, backend: type[Backend]) -> Iterator[str]:
        """What was requested of a backend that it does not declare."""
        offered = {
            "mode": backend.modes,
            "direction": backend.directions,
            "implementation": [name for of_kind in backend.implementations.values() for name in of_kind],
        }
        for option, names in offered.items():
            requested = self.options[option]
            if requested and not set(requested) & set(names):
                known = ", ".join(dict.fromkeys(names))
                yield f"{backend.name} has no {option} {' or '.join(requested)} (it has {known})"
