"""Sessions of the suite as processes of their own, with what they cost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from reports.read import Run, read
from tests.support import ROOT

PYTEST = (sys.executable, "-m", "pytest")
RUNNER = (sys.executable, "-m", "runner")


@dataclass(frozen=True)
class Cost:
    """Seconds of a command: `wall`, and `cpu` of its process and all that it started and waited for."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Session:
    """One session of the suite.

    started  time at which its process was started, in seconds since the epoch
    notes    what `tests.benchmarks.probe` noted, by process: `main`, and the workers `gw0`, `gw1`
    """

    folder: Path
    cost: Cost
    started: float
    notes: Mapping[str, dict[str, Any]]

    @property
    def caches(self) -> Path:
        """Its folder of caches, which are named `conformance-references`, `conformance-compiled` and so on."""
        return self.folder / "cache" / "d"

    @property
    def run(self) -> Run:
        return read(self.folder / "run")

    @property
    def worker(self) -> dict[str, Any]:
        """The note of the first process that ran checks."""
        return self.notes.get("gw0", self.notes["main"])

    @property
    def executed(self) -> list[dict[str, Any]]:
        """The records of checks in which a framework was called, in the order of collection."""
        order = {id: index for index, id in enumerate(self.worker["ids"])}
        records = (record for record in self.run.records() if record["verdict"] not in ("unsupported", "error"))
        return sorted(records, key=lambda record: order[record["id"]])


@dataclass(frozen=True)
class Settings:
    """What is measured, and how.

    paths, tier, shard  the selection of a session, as options of pytest; () and None select everything
    backends            names of backends
    processes           workers of pytest-xdist
    warm                whether caches are those of an earlier session: inventory, references, JAX's programs
    rounds              sessions of which the median is printed
    sizes               numbers of checks for which growth is measured
    work                the folder for everything that is written
    """

    paths: tuple[str, ...]
    tier: str
    shard: str | None
    backends: tuple[str, ...]
    processes: int
    warm: bool
    rounds: int
    sizes: tuple[int, ...]
    work: Path

    def selection(self, backends: Sequence[str]) -> list[str]:
        options = ["--tier", self.tier, *(["--shard", self.shard] if self.shard else [])]
        return [*self.paths, *options, *(word for name in backends for word in ("--backend", name))]


@cache
def run_selection(settings: Settings, backends: tuple[str, ...], processes: int, round: int = 0) -> Session:
    """The session of a selection, with its caches empty or, if the settings say so, warm; run once."""
    folder = Path(tempfile.mkdtemp(dir=settings.work))
    command = [*PYTEST, *settings.selection(backends), "-n", str(processes)]
    if settings.warm:
        run_session(command, folder)
    return run_session(command, folder)


def run_session(command: Sequence[str], folder: Path, cwd: Path = ROOT, stop: bool = False) -> Session:
    """A session whose run, caches and notes are in `folder`; with `stop` it ends at its first result."""
    notes = folder / "notes"
    shutil.rmtree(notes, ignore_errors=True)
    notes.mkdir(parents=True)
    report, caches = f"--report={folder / 'run'}", f"cache_dir={folder / 'cache'}"
    variables = {"BENCHMARK_NOTES": str(notes), "PYTHONPATH": os.pathsep.join([str(ROOT), *_search_path()])}
    variables |= {"BENCHMARK_STOP": "1"} if stop else {}
    started = time.time()
    cost = measure([*command, "-q", "-p", "tests.benchmarks.probe", report, "-o", caches], cwd, variables)
    return Session(folder, cost, started, {file.stem: json.loads(file.read_text()) for file in notes.glob("*.json")})


def measure(command: Sequence[str], cwd: Path, variables: Mapping[str, str] | None = None) -> Cost:
    """Run a command of pytest; raises RuntimeError with the end of its output if it could not run its tests."""
    with tempfile.TemporaryFile() as output:
        started = time.perf_counter()
        environment = {**os.environ, **(variables or {})}
        process = subprocess.Popen(
            command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in (0, 1):  # 1: some tests fail
            output.seek(0)
            end = output.read()[-4000:].decode(errors="replace")
            raise RuntimeError(f"{' '.join(command)}\nended with status {process.returncode}:\n{end}")
    return Cost(wall, usage.ru_utime + usage.ru_stime)


def _search_path() -> list[str]:
    return [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
