"""Annotations of GitHub Actions: each failing case at its line of YAML (workflow command `::error`)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from reports.read import Run

MOST = 10  # GitHub shows at most this many errors per step
PROBLEM = re.compile(r"(?P<file>.+?):(?P<line>\d+):(?P<column>\d+): (?P<text>.*)", re.DOTALL)


def annotate_failures(run: Run, root: Path) -> list[str]:
    """Lines to print: one per broken case file, then one per failing case; beyond `MOST` the last one counts the rest.

    Paths in records are relative to `root`; GitHub expects them relative to the repository.
    """
    workspace = os.environ.get("GITHUB_WORKSPACE")
    prefix = os.path.relpath(root, workspace) if workspace else "."
    commands = [*_broken_files(run, prefix), *_cases(run, prefix)]
    if len(commands) <= MOST:
        return commands
    rest = len(commands) - (MOST - 1)
    return [
        *commands[: MOST - 1],
        format_error(f"{rest} more cases or files fail; the summary has them", title="and more"),
    ]


def format_error(message: str, **properties: object) -> str:
    """One workflow command; special characters are escaped as GitHub's own toolkit does."""
    escaped = {name: _escape(str(value), "%\r\n:,") for name, value in properties.items()}
    return f"::error {','.join(f'{name}={value}' for name, value in escaped.items())}::" + _escape(message, "%\r\n")


def _escape(text: str, special: str) -> str:
    return "".join(f"%{ord(character):02X}" if character in special else character for character in text)


def _broken_files(run: Run, prefix: str) -> Iterator[str]:
    for file, problems in run.facts["broken_case_files"].items():
        for problem in problems[:1]:  # one annotation per file; the file's own report lists the rest
            position = PROBLEM.fullmatch(problem)
            assert position, f"a problem without a position: {problem}"
            others = f" (and {len(problems) - 1} more problems)" if len(problems) > 1 else ""
            location = {"line": position["line"], "col": position["column"]}
            yield format_error(
                position["text"] + others, file=_path(prefix, file), **location, title="broken case file"
            )


def _cases(run: Run, prefix: str) -> Iterator[str]:
    """One annotation per failing case: its first failure, and how many of its checks fail."""
    failing: dict[str, list[dict[str, object]]] = {}
    for record in run.records():
        if record["verdict"] in ("fail", "error"):
            failing.setdefault(record["case"], []).append(record)
    for case, records in failing.items():
        record = records[0]
        check = f"{record['backend']} {record['device']} {record['implementation']} {record['mode']} {record['dtype']}"
        others = f"\n{len(records)} checks of this case fail" if len(records) > 1 else ""
        message = f"{check}: {record['verdict']}: {record['reason']}{others}\n{record['again']}"
        yield format_error(message, file=_path(prefix, str(record["file"])), line=record["line"], title=case)


def _path(prefix: str, file: str) -> str:
    return os.path.normpath(os.path.join(prefix, file)).replace(os.sep, "/")
