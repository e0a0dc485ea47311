"""Read a run from disk: its facts, its records and the statements of its cases.

Whatever is in the files, a reader gets what the format promises, or a RunError that says in one sentence what is wrong,
with the file and the line.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reports.fields import CASE, FACTS, RECORD, Types, completed, flaw, parse
from reports.folders import CASES, RECORDS, RUN, describe, ended_in, resolve
from specs.verdict.record import SCHEMA_VERSION


class RunError(Exception):
    """A folder does not contain a readable run; the message says why and what to do."""


@dataclass(frozen=True)
class Run:
    """One invocation of the suite.

    facts      the contents of `run.json`
    truncated  whether the writer was stopped in the middle of the last line of a file, which is then left out
    """

    folder: Path
    facts: dict[str, Any]
    truncated: bool

    def gaps(self) -> Iterator[str]:
        """Why it has not all results that it should have."""
        if not self.facts["complete"]:
            id = self.facts.get("ended_in")
            reason = f"its process died while it ran {id}" if id else "some of its checks have no result"
            yield f"it is not complete: {reason}"
        if self.truncated:
            yield "the last line of a file was cut off and has been left out"

    def records(self) -> Iterator[dict[str, Any]]:
        """The records in the order in which they arrived; RunError if they are not those that `run.json` counts."""
        counts: Counter[str] = Counter()
        digest = hashlib.sha256()
        for record in _lines(self.folder / RECORDS, RECORD, digest):
            counts[record["verdict"]] += 1
            yield record
        stated = self.facts.get("verdicts")
        if stated is None or not self.facts["finished"]:
            return
        for verdict in {**stated, **counts}:
            if counts[verdict] != stated.get(verdict, 0):
                raise RunError(
                    f"{self.folder / RECORDS}: there are {counts[verdict]:,} records of the verdict {verdict}, where "
                    f"{RUN} counts {stated.get(verdict, 0):,}: the file is damaged or of another run"
                )
        self._compare(RECORDS, digest)

    def cases(self) -> Iterator[dict[str, Any]]:
        """The statement of each case (`specs.verdict.statement`), in the order in which the cases first ran."""
        digest = hashlib.sha256()
        yield from _lines(self.folder / CASES, CASE, digest)
        self._compare(CASES, digest)

    def _compare(self, name: str, digest: Any) -> None:
        """Raise RunError if a file, all of which was read, is not as the run wrote it."""
        stated = self.facts["checksums"].get(name)
        if stated and stated != digest.hexdigest():
            raise RunError(f"{self.folder / name} was changed after the run wrote it: {RUN} states another checksum")


def read(folder: Path) -> Run:
    """The run in a folder; raises RunError if there is none, it was cut, or a newer version of the suite wrote it."""
    folder = resolve(folder)
    path = folder / RUN
    try:
        facts = parse(path.read_text(encoding="utf-8"))
        cut = [folder / name for name in (RECORDS, CASES) if _is_cut(folder / name)]
    except FileNotFoundError as error:
        raise RunError(f"{folder} holds no run: there is no {Path(error.filename).name} in it") from error
    except OSError as error:
        raise RunError(f"{error.filename} cannot be read: {describe(error)}") from error
    except ValueError as error:
        raise RunError(f"{path} is not JSON: {error}") from error
    facts = completed(_checked(facts, str(path), FACTS))
    if not facts["finished"] and (id := ended_in(folder)):
        facts["ended_in"] = id
    if cut and facts["finished"]:
        raise RunError(f"{cut[0]} was cut off after the run had ended: its last line has no end")
    return Run(folder, facts, bool(cut))


def _is_cut(path: Path) -> bool:
    """Whether the last line has no end."""
    with path.open("rb") as file:
        file.seek(-min(1, file.seek(0, os.SEEK_END)), os.SEEK_END)
        return file.read() not in (b"", b"\n")


def _lines(path: Path, required: Mapping[str, Types], digest: Any) -> Iterator[dict[str, Any]]:
    """The objects of a file's lines; their bytes are added to the digest."""
    try:
        # Of bytes no other character ends a line: texts may hold those that Unicode calls separators
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.endswith(b"\n"):
                    return  # the writer was stopped in the middle of it
                digest.update(line)
                try:
                    data = parse(line.decode("utf-8", errors="replace"))
                except ValueError as error:
                    raise RunError(f"{path}:{number}: not a record: {error}") from error
                yield _checked(data, f"{path}:{number}", required)
    except FileNotFoundError as error:
        raise RunError(f"{path.parent} holds no whole run: there is no {path.name} in it") from error
    except OSError as error:
        raise RunError(f"{path} cannot be read: {describe(error)}") from error


def _checked(data: Any, place: str, required: Mapping[str, Types]) -> dict[str, Any]:
    schema = data.get("schema") if isinstance(data, dict) else None
    if type(schema) is not int:
        raise RunError(f"{place}: no schema version, so this was not written by the suite")
    if schema > SCHEMA_VERSION:
        raise RunError(
            f"{place}: written with schema version {schema}, and this suite reads up to {SCHEMA_VERSION}: "
            "read it with the version of the suite that wrote it, or a newer one"
        )
    if wrong := flaw(data, required):
        raise RunError(f"{place}: {wrong}")
    return data
