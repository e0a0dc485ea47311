"""Shards of one run become that run: `python -m reports merge OUT IN...`."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from reports.read import Run, RunError, read
from reports.stream import CASES, RECORDS, RUN, line
from reports.views import write
from specs.verdict.record import VERDICTS

# What must be the same for records to belong together; where they were made may differ, and is told by each shard
ALIKE = ("schema", "project", "python", "packages", "suite", "backends", "unmet", "selection")
OF_EACH = ("command", "started", "finished", "platform", "machine", "cpus", "complete", "exit_status")
VARIES = ("seconds", "repeatable", "schema")  # between two results of one check that agree

DESCRIPTION = """\
Join shards of one run.  Refused for runs of different versions, settings or states of the suite.  Exit status: 0 if
the joined run is whole, 1 if a shard is missing or not complete, 2 where the runs cannot be joined."""


def add(commands: Any) -> None:
    parser = commands.add_parser("merge", help="join shards of one run", description=DESCRIPTION)
    parser.add_argument("out", type=Path, help="folder of the joined run")
    parser.add_argument("runs", type=Path, nargs="+", metavar="in", help="folder of a shard")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    if options.out.resolve() in [folder.resolve() for folder in options.runs]:
        raise RunError(f"{options.out} is one of the runs to be joined: give another folder for the result")
    runs = [read(folder) for folder in options.runs]
    missing = merge(options.out, runs)
    failed = write(options.out) if (options.out / CASES).exists() else {}  # without it no view can say what was run
    counts = json.loads((options.out / RUN).read_text(encoding="utf-8"))["verdicts"]
    print(f"{options.out}: " + ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS))
    for said in missing:
        print(f"not whole: {said}")
    for name, error in failed.items():
        print(f"{name} could not be written: {type(error).__name__}: {error}")
    return 1 if missing or failed else 0


def merge(out: Path, runs: Sequence[Run]) -> list[str]:
    """Write the joined run, and say what keeps it from being whole; raises RunError where the runs do not belong."""
    for other in runs[1:]:
        for difference in _differences(_alike(runs[0].facts), _alike(other.facts)):
            raise RunError(f"{runs[0].folder} and {other.folder} cannot be joined: {difference}")
    records = _records(runs)
    statements = _statements(runs)
    missing = [*_missing_shards(runs), *_incomplete(runs)]
    out.mkdir(parents=True, exist_ok=True)
    (out / RUN).unlink(missing_ok=True)  # never beside the records of another run
    (out / RECORDS).write_text("".join(line(record) for record in records.values()), encoding="utf-8")
    if statements:
        (out / CASES).write_text("".join(line(said) for said in statements.values()), encoding="utf-8")
    facts = _facts(runs, records.values(), whole=not missing)
    (out / RUN).write_text(json.dumps(facts, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return missing


def _alike(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What must be the same, the shard itself left out."""
    said = {name: facts.get(name) for name in ALIKE}
    return said | {"selection": {k: v for k, v in (facts.get("selection") or {}).items() if k != "shard"}}


def _differences(one: Any, other: Any, name: str = "") -> Iterator[str]:
    """Each leaf of two JSON values that differs, by its path."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in dict.fromkeys([*one, *other]):
            yield from _differences(one.get(key), other.get(key), f"{name}.{key}" if name else key)
    elif one != other:
        yield f"{name} is {one!r} in one and {other!r} in the other"


def _records(runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """All records by id; a check that several runs have must have ended alike."""
    found: dict[str, dict[str, Any]] = {}
    where: dict[str, Path] = {}
    for each in runs:
        for record in each.records():
            id = record["id"]
            for difference in _differences(_kept(found[id]), _kept(record)) if id in found else ():
                raise RunError(f"{where[id]} and {each.folder} disagree on {id}: {difference}")
            found.setdefault(id, record)
            where.setdefault(id, each.folder)
    return found


def _kept(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in VARIES}


def _statements(runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """What each case says; empty where the runs do not tell."""
    telling = (each for each in runs if (each.folder / CASES).exists())
    return {said["case"]: said for each in telling for said in each.cases()}


def _missing_shards(runs: Sequence[Run]) -> Iterator[str]:
    shards = [shard for each in runs if (shard := (each.facts.get("selection") or {}).get("shard"))]
    if not shards:
        return
    if len(shards) < len(runs):
        yield "one of the runs is a shard and another is none"
    counts = {shard.partition("/")[2] for shard in shards}
    if len(counts) > 1:
        raise RunError(f"the runs are shards of different divisions: {', '.join(sorted(shards))}")
    (count,) = counts
    for index in range(1, int(count) + 1):
        if f"{index}/{count}" not in shards:
            yield f"shard {index}/{count} is missing"


def _incomplete(runs: Sequence[Run]) -> Iterator[str]:
    for each in runs:
        if not each.facts.get("complete") or each.truncated:
            yield f"{each.folder} is not complete"


def _facts(runs: Sequence[Run], records: Any, whole: bool) -> dict[str, Any]:
    first = runs[0].facts
    counts = Counter(record["verdict"] for record in records)
    broken: dict[str, Any] = {}
    for each in runs:
        broken |= each.facts.get("broken_case_files", {})
    selection = dict(first.get("selection") or {})
    selection.pop("shard", None)
    return {
        **first,
        "complete": whole,
        "exit_status": max((each.facts.get("exit_status") or 0 for each in runs), default=0),
        "started": min(each.facts["started"] for each in runs),
        "finished": max((each.facts["finished"] or "" for each in runs), default="") or None,
        "selection": selection,
        "broken_case_files": broken,
        "verdicts": {verdict: counts[verdict] for verdict in VERDICTS},
        "shards": [_of_each(each.facts) for each in runs],
    }


def _of_each(facts: Mapping[str, Any]) -> dict[str, Any]:
    shard = (facts.get("selection") or {}).get("shard")
    return {"shard": shard} | {name: facts.get(name) for name in OF_EACH}
