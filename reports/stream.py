"""Write a session's records to a run on disk as they arrive.

Only one process writes: the controller of pytest-xdist, or the only process.  Each record is on disk before the next is
processed, so a session that is killed leaves all records so far, and a `run.json` marked as not complete.
"""

from __future__ import annotations

import json
import os
import shlex
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import IO, Any

import pytest

from reports.environment import describe_environment
from reports.folders import CASES, RECORDS, RUN, RUNNING, FolderError, RunFolder, checksums, describe, replace_text
from specs.verdict.record import SCHEMA_VERSION, VERDICTS, make_encodable, to_plain


def utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


class Stream:
    """pytest plugin that writes the run, from `begin` on, as one that is not complete until the session has ended.

    Next to the records, `cases.jsonl` has a line with the statement of each case (`specs.verdict.statement`), so that a
    run can be viewed without the case files.  A folder that cannot be written any more stops the session: what it holds
    stays readable.

    facts     describe the session: its backends, the selection
    is_whole  whether everything was requested, so that `latest` may point to the run
    alone     whether no other process can tell which check ended this one; the run then says which check is running
    stop      ends the session for a reason
    host_of   the host on which a report was made, where workers run on several
    """

    def __init__(
        self,
        place: RunFolder,
        arguments: list[str],
        facts: dict[str, Any],
        is_whole: bool = False,
        alone: bool = False,
        stop: Callable[[str], None] = lambda reason: None,
        host_of: Callable[[Any], str] | None = None,
    ) -> None:
        self.place, self.folder = place, place.path
        self.is_whole, self.alone, self.stop, self.host_of = is_whole, alone, stop, host_of
        self.mark: int | None = None
        self.failure = ""  # why no more can be written
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

    def begin(self) -> None:
        """Replace what is in the folder by a run without results."""
        try:
            self._open()
        except OSError as error:
            self._fail(error)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        if self.alone and ".yaml::" in nodeid and not self.failure:
            try:
                self._open()
                self._mark(nodeid)
            except OSError as error:
                self._fail(error)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.reported_ids.add(report.nodeid)
        if not self.failure:
            try:
                self._write(report)
            except OSError as error:
                self._fail(error)

    def _mark(self, nodeid: str) -> None:
        """Let the first line of a file say what runs; a system call for each check, and no more."""
        if self.mark is None:
            self.mark = os.open(self.folder / RUNNING, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.pwrite(self.mark, f"{make_encodable(nodeid)}\n".encode(), 0)

    def _write(self, report: pytest.TestReport) -> None:
        if problems := getattr(report, "case_file_problems", None):
            self._open()
            self.run["broken_case_files"][report.nodeid.partition("::")[0]] = problems
        if record := getattr(report, "conformance", None):
            records, cases = self._open()
            statement = getattr(report, "conformance_case", None)  # sent once by each worker
            if statement and statement["case"] not in self.written_cases:
                self.written_cases.add(statement["case"])
                cases.write(to_json_line(statement))
            host = {"host": self.host_of(report)} if self.host_of else {}
            records.write(to_json_line(record | host))
            self.verdicts[record["verdict"]] += 1

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        for file in self.files or ():
            with suppress(OSError):
                file.close()
        if self.mark is not None:
            os.close(self.mark)
        with suppress(OSError):
            (self.folder / RUNNING).unlink(missing_ok=True)
        if self.failure:
            return
        if not self._is_kept(session):
            self.files = None
            self.place.clear()
            self.place.give_back()
            return
        ended = session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        # A session that ran out of workers ends like any other: only the number of results shows it
        self.run["complete"] = ended and len(self.reported_ids) >= session.testscollected
        self.run |= {"exit_status": int(session.exitstatus), "finished": utc_now()}
        try:
            if self.run["complete"]:
                self.run["checksums"] = checksums(self.folder)
            self._describe()
            has_results = any(self.verdicts[verdict] for verdict in ("pass", "deviation", "fail"))
            is_whole = self.is_whole and not self.run.get("selection", {}).get("left_out")
            self.place.publish(is_whole and self.run["complete"] and has_results)
        except (OSError, FolderError) as error:
            self.failure = f"the run in {self.folder} is not finished: {describe(error)}"

    def _is_kept(self, session: pytest.Session) -> bool:
        """Of a session that recorded nothing: an empty shard, which would be missing where shards are joined, and what
        stands where the user looks for the result of a session that failed.
        """
        if self.verdicts.total() or self.run["broken_case_files"]:
            return True
        is_shard = bool(self.run.get("selection", {}).get("shard"))
        return is_shard if session.exitstatus == pytest.ExitCode.OK else self.place.home is None

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> Generator[None, None, None]:
        yield
        if self.failure:
            terminalreporter.write_line(f"FAILED: {self.failure}", red=True, bold=True)

    def _fail(self, error: OSError) -> None:
        self.failure = f"{self.folder} cannot be written: {describe(error)}; what was recorded before is readable"
        self.stop(self.failure)

    def _open(self) -> tuple[IO[str], IO[str]]:
        if self.files is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.place.clear()
            records, cases = (
                (self.folder / name).open("w", encoding="utf-8", buffering=1) for name in (RECORDS, CASES)
            )
            self.files = records, cases
            self._describe()
        return self.files

    def _describe(self) -> None:
        self.run["verdicts"] = dict(self.verdicts)
        replace_text(self.folder / RUN, json.dumps(to_plain(self.run), ensure_ascii=False, indent=1) + "\n")


def to_json_line(data: Mapping[str, Any]) -> str:
    """One line of a JSON Lines file."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False) + "\n"
