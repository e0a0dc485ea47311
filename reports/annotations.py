"""Annotations of GitHub Actions: each failing case at its line of YAML (workflow command `::error`)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from reports.read import Run

MOST = 10  # GitHub shows that many errors of a step
PROBLEM = re.compile(r"(?P<file>.+?):(?P<line>\d+):(?P<column>\d+): (?P<text>.*)", re.DOTALL)


def workflow_commands(run: Run, root: Path) -> list[str]:
    """Lines to print: broken case files, then cases, each once; beyond `MOST` the last one counts the others.

    `root` is the folder that the paths of records start from; GitHub's start from the repository.
    """
    workspace = os.environ.get("GITHUB_WORKSPACE")
    prefix = os.path.relpath(root, workspace) if workspace else "."
    found = [*_broken_files(run, prefix), *_cases(run, prefix)]
    if len(found) <= MOST:
        return found
    rest = len(found) - (MOST - 1)
    return [*found[: MOST - 1], error(f"{rest} more cases or files fail; the summary has them", title="and more")]


def error(message: str, **properties: object) -> str:
    """One workflow command; what has a meaning in it is escaped as GitHub's own toolkit does."""
    escaped = {name: _escape(str(value), "%\r\n:,") for name, value in properties.items()}
    return f"::error {','.join(f'{name}={value}' for name, value in escaped.items())}::" + _escape(message, "%\r\n")


def _escape(text: str, special: str) -> str:
    return "".join(f"%{ord(character):02X}" if character in special else character for character in text)


def _broken_files(run: Run, prefix: str) -> Iterator[str]:
    for file, problems in run.facts["broken_case_files"].items():
        for problem in problems[:1]:  # the file is one line of what is shown; its own report has the others
            place = PROBLEM.fullmatch(problem)
            assert place, f"a problem that names no place: {problem}"
            more = f" (and {len(problems) - 1} more problems)" if len(problems) > 1 else ""
            where = {"line": place["line"], "col": place["column"]}
            yield error(place["text"] + more, file=_path(prefix, file), **where, title="broken case file")


def _cases(run: Run, prefix: str) -> Iterator[str]:
    """One for each case that fails anywhere: its first failure, and how many others there are."""
    failing: dict[str, list[dict[str, object]]] = {}
    for record in run.records():
        if record["verdict"] in ("fail", "error"):
            failing.setdefault(record["case"], []).append(record)
    for case, records in failing.items():
        first = records[0]
        on = f"{first['backend']} {first['device']} {first['implementation']} {first['mode']} {first['dtype']}"
        more = f"\n{len(records)} checks of this case fail" if len(records) > 1 else ""
        message = f"{on}: {first['verdict']}: {first['reason']}{more}\n{first['again']}"
        yield error(message, file=_path(prefix, str(first["file"])), line=first["line"], title=case)


def _path(prefix: str, file: str) -> str:
    return os.path.normpath(os.path.join(prefix, file)).replace(os.sep, "/")
