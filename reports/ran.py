"""Whether the suite itself worked in a run, regardless of how its frameworks did: `python -m reports ran DIR`.

On other versions of a framework a check may rightly fail, because only the deviations of current versions are recorded.
On every supported version, however, the run must be whole, each backend must take part, no check may be an `error`, and
no adapter may use a name or argument that its framework lacks.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from reports.compare.outcome import Record, read_outcome
from reports.folders import LAST
from reports.read import Run, read

DESCRIPTION = """\
Report whether the suite worked in a run, and list the checks that its frameworks failed.  Exit status: 0 if the run is
whole, every backend in it took part, no check is an error and no adapter used an API that its framework lacks, else 1;
2 for a wrong command line.  Failed checks do not count."""

# How Python, Keras and JAX report an unknown name or argument; an adapter must not use what its framework lacks
MISSING_NAME = ("AttributeError", "ImportError", "ModuleNotFoundError", "NameError")
UNKNOWN_ARGUMENT = re.compile(r"(unexpected|unrecognized|invalid) keyword argument", re.IGNORECASE)
MOST_LISTED = 5  # of each kind of fault


def add(commands: Any) -> None:
    parser = commands.add_parser("ran", help="whether the suite worked in a run", description=DESCRIPTION)
    parser.add_argument("folder", type=Path, nargs="?", default=LAST, help=f"of the run (default {LAST})")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    run = read(options.folder)
    records = list(run.records())
    print(*list_failures(records), sep="\n")
    faults = list(list_faults(run, records))
    print(*(faults or [f"the suite worked in all {len(records):,} checks"]), sep="\n")
    return 1 if faults else 0


def list_faults(run: Run, records: list[Record]) -> Iterator[str]:
    """Messages about what went wrong in the suite; empty if it worked."""
    yield from (f"the run is not whole: {gap}" for gap in run.gaps())
    yield from (
        f"{file} is broken: {'; '.join(map(str, problems))}"
        for file, problems in run.facts["broken_case_files"].items()
    )
    yield from (f"{backend} did not run: {reason}" for backend, reason in run.facts["unmet"].items())
    with_right_result = {record["backend"] for record in records if record["verdict"] in ("pass", "deviation")}
    requested = run.facts["selection"]["backend"]
    ready = {name for name, facts in run.facts["backends"].items() if facts["status"] == "ready"}
    participants = ready.intersection(requested or ready)
    yield from (f"{backend} has no right result" for backend in sorted(participants - with_right_result))
    yield from _list_some(record for record in records if record["verdict"] == "error")
    yield from _list_some(filter(asks_for_missing_api, records))


def asks_for_missing_api(record: Record) -> bool:
    """Whether a check failed because the framework lacks a name or argument."""
    if record["verdict"] != "fail":
        return False
    return read_outcome(record).exception in MISSING_NAME or bool(UNKNOWN_ARGUMENT.search(record["reason"]))


def list_failures(records: Iterable[Record]) -> Iterator[str]:
    """For each implementation, how many of its checks failed, by family of cases."""
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for record in records:
        if record["verdict"] == "fail":
            counts[record["backend"], record["implementation"]][record["case"].partition("::")[0]] += 1
    for (backend, implementation), families in counts.items():
        where = ", ".join(f"{family} {count}" for family, count in families.most_common())
        yield f"{families.total()} fail on {backend} {implementation}: {where}"


def _list_some(records: Iterable[Record]) -> Iterator[str]:
    """The first `MOST_LISTED` of them, and how many more there are."""
    rows = list(records)
    yield from (f"{record['verdict']}: {record['id']}: {record['reason']}" for record in rows[:MOST_LISTED])
    if len(rows) > MOST_LISTED:
        yield f"… and {len(rows) - MOST_LISTED:,} more like these"
