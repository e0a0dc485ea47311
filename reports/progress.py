"""How far a long session is, and how long it may still take.

The time that is left is estimated from what checks took in earlier sessions, where that is known, and from how fast
this session is; the longer a check took, the larger its part of the work.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from reports.folders import replace_text

INTERVAL = 60.0  # seconds between two lines
LONGEST = 100_000  # durations that are kept, the latest
LONGEST_CHECK = 1e6  # seconds: no check takes longer, so who wrote that wrote something else


class Progress:
    """pytest plugin of the process that hears all results.

    terminal  where it prints; None: nowhere
    file      keeps what checks took for later sessions; None: nothing is kept
    """

    def __init__(self, terminal: pytest.TerminalReporter | None, file: Path | None) -> None:
        self.terminal, self.file = terminal, file
        self.earlier = _read(file)
        self.durations: dict[str, float] = {}
        self.left: set[str] = set()
        self.total, self.usual = 0, 1.0
        self.work_done = self.work_left = 0.0
        self.started = self.last = time.monotonic()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._begin(item.nodeid for item in session.items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: list[str]) -> None:
        self._begin(ids)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.nodeid not in self.left or report.when != "call":
            return
        self.left.discard(report.nodeid)
        self.durations[report.nodeid] = round(report.duration, 4)
        work = self._work(report.nodeid)
        self.work_done, self.work_left = self.work_done + work, self.work_left - work

    def pytest_runtest_logfinish(self) -> None:
        now = time.monotonic()
        if now - self.last >= INTERVAL and self.left and self.terminal:
            self.last = now
            self.terminal.write(f"\n{self.line(now - self.started)}\n")  # in the middle of a line of dots

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        if self.file and self.durations:
            kept = dict(list({**self.earlier, **self.durations}.items())[-LONGEST:])
            with suppress(OSError):  # a full disk costs an estimate, not the run
                replace_text(self.file, json.dumps(kept))

    def line(self, elapsed: float) -> str:
        """`12345 of 29559 checks after 3 min 20 s, about 5 min left`."""
        done = self.total - len(self.left)
        seconds = elapsed * self.work_left / self.work_done if self.work_done else 0.0
        return f"{done} of {self.total} checks after {_minutes(elapsed)}, about {_minutes(seconds)} left"

    def _begin(self, ids: Iterable[str]) -> None:
        """Workers all collect the same."""
        if not self.total:
            self.left = set(ids)
            self.total = len(self.left)
            known = [seconds for id in self.left if (seconds := self.earlier.get(id)) is not None]
            self.usual = sum(known) / len(known) if known else 1.0
            self.work_left = sum(map(self._work, self.left))
            self.started = self.last = time.monotonic()

    def _work(self, id: str) -> float:
        return self.earlier.get(id, self.usual)


def _minutes(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _read(file: Path | None) -> dict[str, float]:
    """None where there is no such file, or it holds something else."""
    try:
        stated = json.loads(file.read_text(encoding="utf-8")) if file else {}
        seconds = {str(id): float(seconds) for id, seconds in stated.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}
    return seconds if all(0 <= duration < LONGEST_CHECK for duration in seconds.values()) else {}
