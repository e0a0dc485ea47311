"""The views of a run: files made of its records, written beside them when a session ends, or again later.

A view that cannot be made is said loudly, and touches nothing else: the records are on disk, and no verdict changes.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import pytest

from reports.annotations import workflow_commands
from reports.badge import badge
from reports.markdown import LARGEST, summary
from reports.page import page
from reports.read import Run, read
from reports.stream import VIEWS, Stream

View = Callable[[Run, Sequence[dict[str, Any]]], str]
MAKERS: dict[str, View] = dict(zip(VIEWS, (page, summary, badge), strict=True))


def add(commands: Any) -> None:
    """The subcommand `page` of `python -m reports`."""
    about = "write index.html, summary.md and badge.json of a run again"
    parser = commands.add_parser("page", help=about, description=about)
    parser.add_argument("folder", type=Path, metavar="DIR", help="the run's folder, e.g. .conformance")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Exit code 0 if every view is written."""
    failed = write(options.folder)
    for name in MAKERS:
        told = failed.get(name)
        print(f"{options.folder / name}: {told or 'written'}", file=sys.stderr if told else sys.stdout)
    return 1 if failed else 0


def write(folder: Path) -> dict[str, Exception]:
    """Write every view of the run in a folder; those that could not be made, with the reason.

    Raises RunError where there is no run that can be read.
    """
    found = read(folder)
    records = list(found.records())
    failed: dict[str, Exception] = {}
    for name, make in MAKERS.items():
        try:
            (folder / name).write_text(make(found, records), encoding="utf-8")
        except Exception as error:  # whatever it is: the other views are still wanted
            (folder / name).unlink(missing_ok=True)
            failed[name] = error
    return failed


class Views:
    """pytest plugin: writes the views once the run is final, and names the page in the session's last line.

    Under GitHub Actions it also appends the summary to that of the step, and annotates the lines of failing cases.
    """

    def __init__(self, stream: Stream, root: Path) -> None:
        self.stream, self.root = stream, root
        self.failed: dict[str, Exception] = {}
        self.annotations: list[str] = []

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        if self.stream.files is None:
            return
        try:
            self.failed = write(self.stream.folder)
            append_to_step(self.stream.folder)
            if os.environ.get("GITHUB_ACTIONS") == "true":
                self.annotations = workflow_commands(read(self.stream.folder), self.root)
        except Exception as error:  # a report must not take the session down
            self.failed["what is made of the run"] = error

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> Generator[None, None, None]:
        yield
        if self.stream.files is None:
            return
        folder = self.stream.folder
        for line in self.annotations:
            terminalreporter.write_line(line)
        for name, error in self.failed.items():
            reason = f"FAILED to write {name}: {type(error).__name__}: {error}"
            again = f"the records are whole; try again with: python -m reports page {folder}"
            terminalreporter.write_line(f"{reason}\n  {again}", red=True, bold=True)
        if (folder / "index.html").exists() and terminalreporter.config.get_verbosity() >= -1:
            terminalreporter.write_line(f"page: {folder / 'index.html'}")


def append_to_step(folder: Path) -> None:
    """Add a run's summary to that of the step of GitHub Actions, if there is one and the summary fits."""
    named = os.environ.get("GITHUB_STEP_SUMMARY")
    if not named:
        return
    step, found = Path(named), read(folder)
    room = LARGEST - (step.stat().st_size if step.exists() else 0)
    with step.open("a", encoding="utf-8") as file:
        file.write(summary(found, list(found.records()), room))
