"""Join the shards of one run: `python -m reports merge OUT IN...`."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from reports.folders import CASES, RECORDS, RUN, checksums, given
from reports.read import Run, RunError, read
from reports.stream import to_json_line
from reports.views import describe_failure, write
from specs.verdict.record import VERDICTS

# Facts that must be equal for runs to be joined
SHARED = ("schema", "project", "python", "packages", "suite", "backends", "unmet", "tier", "selection")
# Facts that may differ between shards; they are listed for each shard
MACHINE = ("platform", "machine", "processor", "cpus")
PER_SHARD = ("command", "started", "finished", *MACHINE, "complete", "exit_status")
OF_PROCESSOR = ("simd", "cpu_capability")  # settings of frameworks that say what the processor has
VOLATILE = ("seconds", "repeatable", "schema", "host")  # fields that may differ between two results of the same check

DESCRIPTION = """\
Join the shards of one run.  Runs of different versions, settings or states of the suite are refused; those of different
processors are joined, and each record then states its shard.  Exit status: 0 if all shards are there and the whole run
passed, 1 if one is missing or incomplete or the run failed, 2 if the runs cannot be joined."""


def add(commands: Any) -> None:
    parser = commands.add_parser("merge", help="join shards of one run", description=DESCRIPTION)
    parser.add_argument("out", type=Path, help="folder of the joined run")
    parser.add_argument("runs", type=Path, nargs="+", metavar="in", help="folder of a shard")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    if options.out.resolve() in [folder.resolve() for folder in options.runs]:
        raise RunError(f"{options.out} is one of the runs to be joined: give another folder for the result")
    runs = [read(folder) for folder in options.runs]
    joined = merge(options.out, runs)
    failed = write(options.out)
    print(f"{options.out}: " + ", ".join(f"{joined['verdicts'][verdict]} {verdict}" for verdict in VERDICTS))
    lines = [
        *(f"note: {text}" for text in _notes(runs)),
        *(f"not whole: {reason}" for reason in _missing(runs, sum(joined["verdicts"].values()))),
    ]
    lines += [f"FAILED: {reason}" for reason in _failures(runs, joined)]
    lines += [f"{name} could not be written: {describe_failure(error)}" for name, error in failed.items()]
    for line in lines:
        print(line)
    return 1 if joined["exit_status"] or not joined["complete"] or failed else 0


def merge(out: Path, runs: Sequence[Run]) -> dict[str, Any]:
    """Write the joined run and return its facts; raises RunError if the runs do not match."""
    for other in runs[1:]:
        for difference in _differences(_shared_facts(runs[0].facts), _shared_facts(other.facts)):
            advice = "a run has one environment and one selection: compare them instead (python -m reports compare)"
            raise RunError(f"{runs[0].folder} and {other.folder} cannot be joined: {difference}; {advice}")
    records = _records(runs)
    statements = _statements(runs)
    is_whole = not list(_missing(runs, len(records)))
    given(out).clear()
    (out / RECORDS).write_text("".join(to_json_line(record) for record in records.values()), encoding="utf-8")
    (out / CASES).write_text("".join(to_json_line(statement) for statement in statements.values()), encoding="utf-8")
    facts = _facts(runs, records.values(), is_whole)
    if facts["complete"]:
        facts["checksums"] = checksums(out)
    (out / RUN).write_text(json.dumps(facts, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return facts


# What is joined -------------------------------------------------------------------------------------------------------


def _shared_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts that must be equal: without the number of the shard, and what a framework says of the processor."""
    shared = {name: facts.get(name) for name in SHARED}
    backends = {
        name: finding | {"settings": _without(finding.get("settings") or {}, OF_PROCESSOR)}
        for name, finding in facts["backends"].items()
    }
    return shared | {"backends": backends, "selection": _without(facts["selection"], ("shard",))}


def _without(mapping: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if name not in names}


def _differences(one: Any, other: Any, name: str = "") -> Iterator[str]:
    """Each leaf of two JSON values that differs, by its path."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in dict.fromkeys([*one, *other]):
            yield from _differences(one.get(key), other.get(key), f"{name}.{key}" if name else key)
    elif isinstance(one, dict) != isinstance(other, dict) and None in (one, other):
        yield f"{name} is in one, and not in the other"
    elif one != other:
        yield f"{name} is {one!r} in one and {other!r} in the other"


def _records(runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """All records by id; raises RunError if a check that is in several runs has different results."""
    records: dict[str, dict[str, Any]] = {}
    folders: dict[str, Path] = {}
    hosts = _hosts(runs)
    for run in runs:
        host = {"host": _name(run)} if hosts and not run.facts["hosts"] else {}
        for record in run.records():
            id = record["id"]
            for difference in (
                _differences(_comparable_fields(records[id]), _comparable_fields(record)) if id in records else ()
            ):
                raise RunError(f"{folders[id]} and {run.folder} disagree on {id}: {difference}")
            records.setdefault(id, record | host)
            folders.setdefault(id, run.folder)
    return records


def _comparable_fields(record: Mapping[str, Any]) -> dict[str, Any]:
    return _without(record, VOLATILE)


def _statements(runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """The statement of each case, by id."""
    return {statement["case"]: statement for run in runs for statement in run.cases()}


def _name(run: Run) -> str:
    """A run as reports call it: by its shard, if it is one."""
    shard = run.facts["selection"].get("shard")
    return f"shard {shard}" if shard else run.folder.name


def _hosts(runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """The machines of the runs, if their processors differ or one of them states several; else none."""
    machines = {_name(run): {name: run.facts.get(name) for name in MACHINE} for run in runs}
    stated = {name: host for run in runs for name, host in run.facts["hosts"].items()}
    differ = len({(machine["machine"], machine["processor"]) for machine in machines.values()}) > 1
    return {**{name: host for name, host in machines.items() if differ or stated}, **stated}


# What is said about it ------------------------------------------------------------------------------------------------


def _notes(runs: Sequence[Run]) -> Iterator[str]:
    """What a reader of the joined run should know, although it is not wrong."""
    folders: dict[str, list[str]] = {}
    for run in runs:
        folders.setdefault(_name(run), []).append(str(run.folder))
    for name, given_twice in folders.items():
        if len(given_twice) > 1:
            yield f"{name} is there {len(given_twice)} times, with the same results: {', '.join(given_twice)}"
    if hosts := _hosts(runs):
        listed = ", ".join(f"{name} on {host.get('processor') or host.get('machine')}" for name, host in hosts.items())
        yield f"bits may differ between processors: {listed}"


def _failures(runs: Sequence[Run], joined: Mapping[str, Any]) -> Iterator[str]:
    """Why the joined run failed."""
    for run in runs:
        if status := run.facts["exit_status"]:
            yield f"{_name(run)} ended with exit status {status}"
    yield from (f"stale deviation: {message}; remove it" for message in joined["stale_deviations"])
    if joined["complete"] and not _is_computed(joined["verdicts"]):
        yield "nothing was computed in any of them"


def _is_computed(verdicts: Mapping[str, int]) -> bool:
    return any(verdicts[verdict] for verdict in ("pass", "deviation", "fail", "error"))


def _stale(runs: Sequence[Run], is_judged: bool) -> list[str]:
    """Recorded deviations that are out of date; those that no check showed are judged where all could have."""
    stale = [message for run in runs for message in run.facts["stale_deviations"]]
    if is_judged:
        shown = [run.facts.get("silent_deviations") or {} for run in runs]
        stale += [message for of_run in shown for message in of_run if not any(other.get(message) for other in shown)]
    return list(dict.fromkeys(stale))


def _missing(runs: Sequence[Run], count: int) -> Iterator[str]:
    """Why the joined run, of so many records, is not whole."""
    yield from _missing_shards(runs)
    for run in runs:
        yield from (f"{run.folder}: {gap}" for gap in run.gaps())
    selection = runs[0].facts["selection"]
    if count < (selected := (selection.get("checks") or 0) - (selection.get("left_out") or 0)):
        yield f"{selected - count:,} of {selected:,} checks are in none of them"


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


def _facts(runs: Sequence[Run], records: Any, is_whole: bool) -> dict[str, Any]:
    first = runs[0].facts
    counts = Counter(record["verdict"] for record in records)
    broken_files: dict[str, Any] = {}
    for run in runs:
        broken_files |= run.facts.get("broken_case_files", {})
    verdicts: dict[str, int] = {verdict: counts[verdict] for verdict in VERDICTS}
    stale = _stale(runs, is_whole and not verdicts["error"])
    failed = bool(stale) or (is_whole and not _is_computed(verdicts))
    hosts = _hosts(runs)
    return {
        **_without(first, ("checksums", "silent_deviations", "hosts")),
        **({"hosts": hosts} if hosts else {}),
        "complete": is_whole,
        "exit_status": max([int(failed), *(run.facts["exit_status"] or 0 for run in runs)]),
        "stale_deviations": stale,
        "started": min(run.facts["started"] for run in runs),
        "finished": max((run.facts["finished"] or "" for run in runs), default="") or None,
        "selection": _without(first["selection"], ("shard",)),
        "broken_case_files": broken_files,
        "verdicts": verdicts,
        "shards": [_shard_facts(run.facts) for run in runs],
    }


def _shard_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    shard = (facts.get("selection") or {}).get("shard")
    return {"shard": shard} | {name: facts.get(name) for name in PER_SHARD}
