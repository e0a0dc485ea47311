"""The views of a run: files made from its records, written next to them when a session ends, or again later.

A view that cannot be written is reported prominently and fails the session; the records are on disk, and no verdict
changes.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from reports.annotations import annotate_failures
from reports.badge import render_badge
from reports.damage import find_damage
from reports.folders import LAST, VIEWS, describe, resolve
from reports.markdown import LARGEST, render_summary
from reports.page import render_page
from reports.read import Run, RunError, read
from reports.stream import Stream

View = Callable[[Run, Sequence[dict[str, Any]]], str]
MAKERS: dict[str, View] = dict(zip(VIEWS, (render_page, render_summary, render_badge), strict=True))


def add(commands: Any) -> None:
    """The subcommand `page` of `python -m reports`."""
    about = "write index.html, summary.md and badge.json of a run again"
    parser = commands.add_parser("page", help=about, description=about)
    parser.add_argument(
        "folder", type=Path, nargs="?", default=LAST, metavar="DIR", help=f"of the run (default {LAST})"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Exit code 0 if every view is written."""
    folder = resolve(options.folder)
    failed = write(folder)
    for name in MAKERS:
        error = failed.get(name)
        outcome = describe_failure(error) if error else "written"
        print(f"{folder / name}: {outcome}", file=sys.stderr if error else sys.stdout)
    return 1 if failed else 0


def write(folder: Path) -> dict[str, Exception]:
    """Write every view of the run in a folder, and return the errors of those that could not be written.

    Raises RunError if there is no readable run.
    """
    run = read(folder)
    records = list(run.records())
    failed: dict[str, Exception] = {}
    for name, make in MAKERS.items():
        try:
            (folder / name).write_text(make(run, records), encoding="utf-8")
        except Exception as error:  # whatever it is: still write the other views
            with suppress(OSError):
                (folder / name).unlink(missing_ok=True)
            failed[name] = error
    unexplained = [name for name, error in failed.items() if not isinstance(error, RunError)]
    if unexplained and (damage := find_damage(folder)):
        failed |= dict.fromkeys(unexplained, RunError(damage))
    return failed


def describe_failure(error: Exception) -> str:
    """Why a view could not be written."""
    if isinstance(error, RunError):
        return str(error)
    return describe(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"


class Views:
    """pytest plugin: writes the views once the run is final, and prints the page's path in the session's last line.

    Under GitHub Actions it also appends the summary to that of the step, and annotates the lines of failing cases.
    """

    def __init__(self, stream: Stream, root: Path) -> None:
        self.stream, self.root = stream, root
        self.failed: dict[str, Exception] = {}
        self.annotations: list[str] = []

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.stream.files is None:
            return
        try:
            self.failed = write(self.stream.folder)
            append_to_step(self.stream.folder)
            if os.environ.get("GITHUB_ACTIONS") == "true":
                self.annotations = annotate_failures(read(self.stream.folder), self.root)
        except Exception as error:  # a mistake in a report is not one of the session: it is said below
            self.failed["the views of the run"] = error
        if self.failed and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> Generator[None, None, None]:
        yield
        if self.stream.files is None:
            return
        folder = self.stream.folder
        for line in self.annotations:
            terminalreporter.write_line(line)
        records = "the records are complete" if self.stream.run["complete"] else "what was recorded before is readable"
        for name, error in self.failed.items():
            reason = f"FAILED to write {name}: {describe_failure(error)}"
            again = f"{records}; try again with: python -m reports page {folder}"
            terminalreporter.write_line(f"{reason}\n  {again}", red=True, bold=True)
        if (folder / "index.html").exists() and terminalreporter.config.get_verbosity() >= -1:
            terminalreporter.write_line(f"page: {folder / 'index.html'}")


def append_to_step(folder: Path) -> None:
    """Append a run's summary to that of the GitHub Actions step, if there is one and it has room."""
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if not path:
        return
    step, run = Path(path), read(folder)
    room = LARGEST - (step.stat().st_size if step.exists() else 0)
    with step.open("a", encoding="utf-8") as file:
        file.write(render_summary(run, list(run.records()), room))
