"""pytest plugin for measured sessions: each process leaves a note of its collection, memory and first result.

`BENCHMARK_NOTES` is the folder of the notes; with `BENCHMARK_STOP` the session ends at its first result.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

EVERY = 20  # checks between two samples of memory


def resident() -> int | None:
    """Bytes of memory that this process has now; None where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def peak() -> int:
    """The most bytes of memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class Memory:
    """Samples of the memory of this process, by the number of checks that it has run."""

    def __init__(self) -> None:
        self.checks, self.samples = 0, []

    def count(self) -> None:
        """One more check."""
        self.checks += 1
        if self.checks % EVERY == 1 and (size := resident()) is not None:
            self.samples.append((self.checks, size))


class Probe:
    """Of one process: the controller of pytest-xdist, a worker, or the only process there is."""

    def __init__(self, config: pytest.Config, folder: Path, stop: bool) -> None:
        self.name = getattr(config, "workerinput", {}).get("workerid", "main")
        self.folder, self.stop, self.memory = folder, stop, Memory()
        self.note: dict[str, Any] = {"items": 0}

    @pytest.hookimpl(wrapper=True)
    def pytest_collection(self) -> Generator[None, Any, Any]:
        wall, cpu = time.perf_counter(), time.process_time()
        result = yield
        self.note["collection"] = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        return result

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.note["items"] = len(session.items)
        if self.name in ("main", "gw0"):  # workers all collect the same
            self.note["ids"] = [item.nodeid for item in session.items]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call":
            return
        self.memory.count()
        if "first_result" not in self.note:
            self.note["first_result"] = time.time()
            if self.stop and self.name == "main":
                pytest.exit("the first result is all that is measured", returncode=0)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        self.write()  # later a worker may be ended at any moment

    def pytest_unconfigure(self) -> None:
        self.write()  # the reports are made by now

    def write(self) -> None:
        self.note |= {"samples": self.memory.samples, "peak": peak()}
        (self.folder / f"{self.name}.json").write_text(json.dumps(self.note))


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Probe(config, Path(os.environ["BENCHMARK_NOTES"]), "BENCHMARK_STOP" in os.environ))
