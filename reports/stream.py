"""Write a session's records to a run on disk as they arrive.

Only one process writes: the controller of pytest-xdist, or the only process.  Each record is on disk before the next is
processed, so a session that is killed leaves all records so far, and a `run.json` marked as not complete.
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

from specs.verdict.record import SCHEMA_VERSION, VERDICTS, to_plain

RECORDS, CASES, RUN = "records.jsonl", "cases.jsonl", "run.json"
VIEWS = ("index.html", "summary.md", "badge.json")  # written by `reports.views` from the files above
PROJECT = "einsum-attention-conformance"
PACKAGES = ("numpy", "torch", "jax", "jaxlib", "tensorflow", "keras", "ml_dtypes", "pytest", "pytest-xdist")


def installed_version(package: str) -> str | None:
    """A package's version, read without importing it; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def describe_environment() -> dict[str, Any]:
    """What a result can depend on other than the backends; nothing that identifies the machine or its user."""
    return {
        "project": installed_version(PROJECT),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "packages": {package: version for package in PACKAGES if (version := installed_version(package))},
    }


def utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


class Stream:
    """pytest plugin that writes the run; the folder is not touched before the first result arrives.

    Next to the records, `cases.jsonl` has a line with the statement of each case (`specs.verdict.statement`), so that a
    run can be viewed without the case files.  `facts` describes the session: its backends, the selection.
    """

    def __init__(self, folder: Path, arguments: list[str], facts: dict[str, Any]) -> None:
        self.folder = folder
        self.run: dict[str, Any] = {
            "schema": SCHEMA_VERSION,
            "complete": False,
            "exit_status": None,
            "started": utc_now(),
            "finished": None,
            "command": shlex.join(["pytest", *arguments]),
            **describe_environment(),
            **facts,
            "broken_case_files": {},
        }
        self.verdicts = Counter(dict.fromkeys(VERDICTS, 0))
        self.reported_ids: set[str] = set()
        self.written_cases: set[str] = set()  # ids
        self.files: tuple[IO[str], IO[str]] | None = None  # records and cases

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.reported_ids.add(report.nodeid)
        if problems := getattr(report, "case_file_problems", None):
            self._open()
            self.run["broken_case_files"][report.nodeid.partition("::")[0]] = problems
        if record := getattr(report, "conformance", None):
            records, cases = self._open()
            statement = getattr(report, "conformance_case", None)  # sent once by each worker
            if statement and statement["case"] not in self.written_cases:
                self.written_cases.add(statement["case"])
                cases.write(to_json_line(statement))
            records.write(to_json_line(record))
            self.verdicts[record["verdict"]] += 1

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.files is None:
            return
        for file in self.files:
            file.close()
        ended = session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        # A session that ran out of workers ends like any other: only the number of results shows it
        self.run["complete"] = ended and len(self.reported_ids) >= session.testscollected
        self.run |= {"exit_status": int(session.exitstatus), "finished": utc_now()}
        self._describe()

    def _open(self) -> tuple[IO[str], IO[str]]:
        if self.files is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            for name in (RUN, *VIEWS):  # never leave them next to the records of another run
                (self.folder / name).unlink(missing_ok=True)
            records, cases = (
                (self.folder / name).open("w", encoding="utf-8", buffering=1) for name in (RECORDS, CASES)
            )
            self.files = records, cases
            self._describe()
        return self.files

    def _describe(self) -> None:
        self.run["verdicts"] = dict(self.verdicts)
        replace_text(self.folder / RUN, json.dumps(to_plain(self.run), ensure_ascii=False, indent=1) + "\n")


def replace_text(file: Path, text: str) -> None:
    """Write a file in one step: a reader gets what was there before, or all of the new text."""
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(file)


def to_json_line(data: Mapping[str, Any]) -> str:
    """One line of a JSON Lines file."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False) + "\n"
