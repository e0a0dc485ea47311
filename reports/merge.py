"""Join the shards of one run: `python -m reports merge OUT IN...`."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from reports.folders import CASES, RECORDS, RUN, given
from reports.read import Run, RunError, read
from reports.stream import to_json_line
from reports.views import write
from specs.verdict.record import VERDICTS

# Facts that must be equal for runs to be joined
SHARED = ("schema", "project", "python", "packages", "suite", "backends", "unmet", "tier", "selection")
# Facts that may differ between shards; they are listed for each shard
PER_SHARD = ("command", "started", "finished", "platform", "machine", "cpus", "complete", "exit_status")
VOLATILE = ("seconds", "repeatable", "schema")  # fields that may differ between two results of the same check

DESCRIPTION = """\
Join the shards of one run.  Runs of different versions, settings or states of the suite are refused.  Exit status: 0 if
the joined run is whole, 1 if a shard is missing or incomplete, 2 if the runs cannot be joined."""


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
    failed = write(options.out) if (options.out / CASES).exists() else {}  # the views need the statements of the cases
    counts = json.loads((options.out / RUN).read_text(encoding="utf-8"))["verdicts"]
    print(f"{options.out}: " + ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS))
    for reason in missing:
        print(f"not whole: {reason}")
    for name, error in failed.items():
        print(f"{name} could not be written: {type(error).__name__}: {error}")
    return 1 if missing or failed else 0


def merge(out: Path, runs: Sequence[Run]) -> list[str]:
    """Write the joined run and return the reasons why it is not whole; raises RunError if the runs do not match."""
    for other in runs[1:]:
        for difference in _differences(_shared_facts(runs[0].facts), _shared_facts(other.facts)):
            raise RunError(f"{runs[0].folder} and {other.folder} cannot be joined: {difference}")
    records = _records(runs)
    statements = _statements(runs)
    missing = [*_missing_shards(runs), *_incomplete(runs)]
    given(out).clear()
    (out / RECORDS).write_text("".join(to_json_line(record) for record in records.values()), encoding="utf-8")
    if statements:
        (out / CASES).write_text(
            "".join(to_json_line(statement) for statement in statements.values()), encoding="utf-8"
        )
    facts = _facts(runs, records.values(), is_whole=not missing)
    (out / RUN).write_text(json.dumps(facts, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return missing


def _shared_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts that must be equal, without the shard number."""
    shared = {name: facts.get(name) for name in SHARED}
    return shared | {"selection": {k: v for k, v in (facts.get("selection") or {}).items() if k != "shard"}}


def _differences(one: Any, other: Any, name: str = "") -> Iterator[str]:
    """Each leaf of two JSON values that differs, by its path."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in dict.fromkeys([*one, *other]):
            yield from _differences(one.get(key), other.get(key), f"{name}.{key}" if name else key)
    elif one != other:
        yield f"{name} is {one!r} in one and {other!r} in the other"


def _records(runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """All records by id; raises RunError if a check that is in several runs has different results."""
    records: dict[str, dict[str, Any]] = {}
    folders: dict[str, Path] = {}
    for run in runs:
        for record in run.records():
            id = record["id"]
            for difference in (
                _differences(_comparable_fields(records[id]), _comparable_fields(record)) if id in records else ()
            ):
                raise RunError(f"{folders[id]} and {run.folder} disagree on {id}: {difference}")
            records.setdefault(id, record)
            folders.setdefault(id, run.folder)
    return records


def _comparable_fields(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in VOLATILE}


def _statements(runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """The statement of each case, by id; empty if the runs have none."""
    with_cases = (run for run in runs if (run.folder / CASES).exists())
    return {statement["case"]: statement for run in with_cases for statement in run.cases()}


def _missing_shards(runs: Sequence[Run]) -> Iterator[str]:
    shards = [shard for run in runs if (shard := (run.facts.get("selection") or {}).get("shard"))]
    if not shards:
        return
    if len(shards) < len(runs):
        yield "one of the runs is a shard and another is not"
    counts = {shard.partition("/")[2] for shard in shards}
    if len(counts) > 1:
        raise RunError(f"the runs are shards of different divisions: {', '.join(sorted(shards))}")
    (count,) = counts
    for index in range(1, int(count) + 1):
        if f"{index}/{count}" not in shards:
            yield f"shard {index}/{count} is missing"


def _incomplete(runs: Sequence[Run]) -> Iterator[str]:
    for run in runs:
        if not run.facts.get("complete") or run.truncated:
            yield f"{run.folder} is not complete"


def _facts(runs: Sequence[Run], records: Any, is_whole: bool) -> dict[str, Any]:
    first = runs[0].facts
    counts = Counter(record["verdict"] for record in records)
    broken_files: dict[str, Any] = {}
    for run in runs:
        broken_files |= run.facts.get("broken_case_files", {})
    selection = dict(first.get("selection") or {})
    selection.pop("shard", None)
    return {
        **first,
        "complete": is_whole,
        "exit_status": max((run.facts.get("exit_status") or 0 for run in runs), default=0),
        "started": min(run.facts["started"] for run in runs),
        "finished": max((run.facts["finished"] or "" for run in runs), default="") or None,
        "selection": selection,
        "broken_case_files": broken_files,
        "verdicts": {verdict: counts[verdict] for verdict in VERDICTS},
        "shards": [_shard_facts(run.facts) for run in runs],
    }


def _shard_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    shard = (facts.get("selection") or {}).get("shard")
    return {"shard": shard} | {name: facts.get(name) for name in PER_SHARD}
