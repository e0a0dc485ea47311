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
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

import pytest

from specs.verdict.record import SCHEMA_VERSION, VERDICTS, plain

RECORDS, CASES, RUN = "records.jsonl", "cases.jsonl", "run.json"
VIEWS = ("index.html", "summary.md", "badge.json")  # what `reports.views` makes of these
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

    Beside the records, `cases.jsonl` has a line for each case: what it says (`specs.verdict.statement`), so that a run
    can be looked at where there are no case files.  `facts` is what the session knows of itself: its backends, the
    selection.
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
        self.stated: set[str] = set()  # cases whose statement is written
        self.files: tuple[IO[str], IO[str]] | None = None  # records and cases

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seen.add(report.nodeid)
        if problems := getattr(report, "case_file_problems", None):
            self._open()
            self.run["broken_case_files"][report.nodeid.partition("::")[0]] = problems
        if record := getattr(report, "conformance", None):
            records, cases = self._open()
            stated = getattr(report, "conformance_case", None)  # once from each worker
            if stated and stated["case"] not in self.stated:
                self.stated.add(stated["case"])
                cases.write(line(stated))
            records.write(line(record))
            self.verdicts[record["verdict"]] += 1

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.files is None:
            return
        for file in self.files:
            file.close()
        ended = session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        # A session that ran out of workers ends like any other one: only the number of results tells
        self.run["complete"] = ended and len(self.seen) >= session.testscollected
        self.run |= {"exit_status": int(session.exitstatus), "finished": now()}
        self._describe()

    def _open(self) -> tuple[IO[str], IO[str]]:
        if self.files is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            for name in (RUN, *VIEWS):  # never beside the records of another run
                (self.folder / name).unlink(missing_ok=True)
            records, cases = (
                (self.folder / name).open("w", encoding="utf-8", buffering=1) for name in (RECORDS, CASES)
            )
            self.files = records, cases
            self._describe()
        return self.files

    def _describe(self) -> None:
        """Replace `run.json` in one step: whoever reads it meanwhile gets the old one or the new one."""
        self.run["verdicts"] = dict(self.verdicts)
        unfinished = self.folder / f".{RUN}.{os.getpid()}"
        unfinished.write_text(json.dumps(plain(self.run), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        unfinished.replace(self.folder / RUN)


def line(data: Mapping[str, Any]) -> str:
    """As a file of JSON lines holds it."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False) + "\n"
