"""A session's records become a run on disk, as they arrive.

Only one process writes: the controller of pytest-xdist, or the only one there is.  A record is on disk before the
next one is looked at, so a session that is killed leaves everything it found, and a `run.json` that says it is not
complete.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
from collections import Counter
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

import pytest

from specs.record import SCHEMA_VERSION, VERDICTS

RECORDS, RUN = "records.jsonl", "run.json"
PROJECT = "einsum-attention-conformance"
PACKAGES = ("numpy", "torch", "jax", "jaxlib", "tensorflow", "keras", "ml_dtypes", "pytest", "pytest-xdist")


def installed(package: str) -> str | None:
    """A package's version, read without importing it; None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def surroundings() -> dict[str, Any]:
    """What a result can depend on besides the backends; nothing that names the machine or its user."""
    return {
        "project": installed(PROJECT),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "packages": {package: found for package in PACKAGES if (found := installed(package))},
    }


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


class Stream:
    """pytest plugin that writes the run; the folder is touched when the first result arrives, not before.

    `facts` is what the session knows of itself: its backends, the selection.
    """

    def __init__(self, folder: Path, arguments: list[str], facts: dict[str, Any]) -> None:
        self.folder = folder
        self.run: dict[str, Any] = {
            "schema": SCHEMA_VERSION,
            "complete": False,
            "exit_status": None,
            "started": now(),
            "finished": None,
            "command": shlex.join(["pytest", *arguments]),
            **surroundings(),
            **facts,
            "broken_case_files": {},
        }
        self.verdicts = Counter(dict.fromkeys(VERDICTS, 0))
        self.seen: set[str] = set()
        self.records: IO[str] | None = None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seen.add(report.nodeid)
        if problems := getattr(report, "case_file_problems", None):
            self._open()
            self.run["broken_case_files"][report.nodeid.partition("::")[0]] = problems
        if record := getattr(report, "conformance", None):
            self._open().write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
            self.verdicts[record["verdict"]] += 1

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.records is None:
            return
        self.records.close()
        ended = session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        # A session that ran out of workers ends like any other one: only the number of results tells
        self.run["complete"] = ended and len(self.seen) >= session.testscollected
        self.run |= {"exit_status": int(session.exitstatus), "finished": now()}
        self._describe()

    def _open(self) -> IO[str]:
        if self.records is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / RUN).unlink(missing_ok=True)  # never beside the records of another run
            self.records = (self.folder / RECORDS).open("w", encoding="utf-8", buffering=1)
            self._describe()
        return self.records

    def _describe(self) -> None:
        """Replace `run.json` in one step: whoever reads it meanwhile gets the old one or the new one."""
        self.run["verdicts"] = dict(self.verdicts)
        unfinished = self.folder / f".{RUN}.{os.getpid()}"
        unfinished.write_text(json.dumps(self.run, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        unfinished.replace(self.folder / RUN)
