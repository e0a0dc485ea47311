"""Read a run from disk: its facts, its records and the statements of its cases."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reports.folders import CASES, RECORDS, RUN
from specs.verdict.record import SCHEMA_VERSION


class RunError(Exception):
    """A folder does not contain a readable run; the message says why and what to do."""


@dataclass(frozen=True)
class Run:
    """One invocation of the suite.

    facts      the contents of `run.json`
    truncated  whether the writer was stopped in the middle of the last line, which is then left out
    """

    folder: Path
    facts: dict[str, Any]
    truncated: bool

    def records(self) -> Iterator[dict[str, Any]]:
        """The records in the order in which they arrived."""
        return _lines(self.folder / RECORDS)

    def cases(self) -> Iterator[dict[str, Any]]:
        """The statement of each case (`specs.verdict.statement`), in the order in which the cases first ran."""
        return _lines(self.folder / CASES)


def read(folder: Path) -> Run:
    """The run in a folder; raises RunError if there is none or a newer version of the suite wrote it."""
    try:
        facts = json.loads((folder / RUN).read_text(encoding="utf-8"))
        with (folder / RECORDS).open("rb") as file:
            file.seek(-min(1, file.seek(0, os.SEEK_END)), os.SEEK_END)
            truncated = file.read() not in (b"", b"\n")
    except FileNotFoundError as error:
        raise RunError(f"{folder} holds no run: there is no {Path(error.filename).name} in it") from error
    except ValueError as error:
        raise RunError(f"{folder / RUN} is not JSON: {error}") from error
    return Run(folder, _readable(facts, folder / RUN), truncated)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(lines, 1):
                if not line.endswith("\n"):
                    return  # the writer was stopped in the middle of it
                try:
                    data = json.loads(line)
                except ValueError as error:
                    raise RunError(f"{path}:{number}: not a record: {error}") from error
                yield _readable(data, path)
    except FileNotFoundError as error:
        raise RunError(f"{path.parent} holds no whole run: there is no {path.name} in it") from error


def _readable(data: Any, path: Path) -> dict[str, Any]:
    schema = data.get("schema") if isinstance(data, dict) else None
    if not isinstance(schema, int):
        raise RunError(f"{path}: no schema version, so this was not written by the suite")
    if schema > SCHEMA_VERSION:
        raise RunError(
            f"{path}: written with schema version {schema}, and this suite reads up to {SCHEMA_VERSION}: "
            "read it with the version of the suite that wrote it, or a newer one"
        )
    return data
