"""Ends a process in which a test goes on in spite of pytest-timeout: it never returns to Python, or ignores the signal.

The timer of `faulthandler` needs nothing of Python.  pytest's own `faulthandler_timeout` starts and ends a thread of it
for each test, which takes a quarter of a millisecond.  Here it is set now and then, by one thread that looks how long
the present test has run; so a hang is ended up to `BEAT` earlier than the limit.
"""

from __future__ import annotations

import faulthandler
import os
import time
from collections.abc import Generator
from contextlib import suppress
from threading import Event, Lock, Thread

import pytest

BEAT = 0.1  # of the limit, between two looks
LONGEST = 1e7  # seconds, about four months: timers of the system end at some hundreds of years


class Watchdog:
    """pytest plugin.  `limit` is in seconds, and `file` a descriptor to which the traceback of a hang is written."""

    def __init__(self, limit: float, file: int) -> None:
        self.limit, self.file = limit, file
        self.started: float | None = None  # of the present test; None between two, where a worker may wait for long
        self.ends = 0.0  # when the timer ends the process; 0 where it is not set
        self.stopped, self.lock = Event(), Lock()
        self.thread = Thread(target=self._watch, name="watchdog", daemon=True)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self) -> Generator[None, object, object]:
        if self.thread.ident is None:
            self.thread.start()
        with self.lock:
            self.started = time.monotonic()
            is_early = self.ends < self.started + (1 - 2 * BEAT) * self.limit  # it was set for a test that ran for long
        if is_early:
            self._set()
        try:
            return (yield)
        finally:
            self.started = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_enter_pdb(self) -> None:
        self._stop()

    def pytest_unconfigure(self) -> None:
        self._stop()
        with suppress(OSError):
            os.close(self.file)

    def _watch(self) -> None:
        while not self.stopped.wait(BEAT * self.limit):
            self._set()

    def _set(self) -> None:
        """Set the timer to the end of the present test, if there is one."""
        with self.lock:
            if self.started is None or self.stopped.is_set():
                self.ends = 0.0
                faulthandler.cancel_dump_traceback_later()
                return
            now = time.monotonic()
            self.ends = max(self.started + self.limit, now + 0.001)
            faulthandler.dump_traceback_later(self.ends - now, file=self.file, exit=True)

    def _stop(self) -> None:
        self.stopped.set()
        self._set()


def pytest_addoption(parser: pytest.Parser) -> None:
    about = "multiple of the timeout after which a test that goes on in spite of it ends its process"
    parser.addini("hang_factor", about, default="")


def pytest_configure(config: pytest.Config) -> None:
    timeout = _timeout(config)
    if not 0 <= timeout <= LONGEST:  # neither is NaN
        raise pytest.UsageError(
            f"--timeout {timeout:g}: this is not a number of seconds from 0 (no limit) to {LONGEST:g}"
        )
    if limit := float(config.getini("hang_factor") or 0) * timeout:
        config.pluginmanager.register(Watchdog(limit, os.dup(2)), "watchdog")


def _timeout(config: pytest.Config) -> float:
    """Seconds that a test may take: by the command line, the environment or the settings; 0 for any."""
    if not config.pluginmanager.has_plugin("timeout"):
        return 0.0
    from pytest_timeout import get_env_settings

    return float(get_env_settings(config).timeout or 0)
