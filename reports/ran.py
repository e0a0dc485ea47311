"""Whether the suite itself worked in a run, whatever its frameworks did: `python -m reports ran DIR`.

On versions other than today's a check may fail and be right to: recorded are the deviations of today's.  What holds on
every supported version is that the run is whole, that each backend took part, that nothing is an `error`, and that no
adapter asked its framework for what it does not have.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from reports.compare.outcome import Record, outcome
from reports.read import Run, read

DESCRIPTION = """\
Say whether the suite worked in a run, and list what its frameworks failed.  Exit status: 0 if the run is whole, every
backend in it took part, nothing is an error and no adapter asked for what its framework lacks, else 1; 2 for a wrong
command line.  Failed checks do not count."""

# How Python, Keras and JAX say that a name or an argument is unknown: an adapter has to know before it asks
ABSENT = ("AttributeError", "ImportError", "ModuleNotFoundError", "NameError")
UNKNOWN_ARGUMENT = re.compile(r"(unexpected|unrecognized|invalid) keyword argument", re.IGNORECASE)
LISTED = 5  # of a kind


def add(commands: Any) -> None:
    parser = commands.add_parser("ran", help="whether the suite worked in a run", description=DESCRIPTION)
    parser.add_argument("folder", type=Path, help="of the run")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    found = read(options.folder)
    records = list(found.records())
    print(*failing(records), sep="\n")
    told = list(faults(found, records))
    print(*(told or [f"the suite worked in all {len(records):,} checks"]), sep="\n")
    return 1 if told else 0


def faults(found: Run, records: list[Record]) -> Iterator[str]:
    """What the suite got wrong, in words; nothing if it worked."""
    if found.truncated or not found.facts["complete"]:
        yield "the run is not whole"
    yield from (f"{file} is broken: {problems}" for file, problems in found.facts["broken_case_files"].items())
    yield from (f"{backend} did not run: {reason}" for backend, reason in found.facts["unmet"].items())
    right = {each["backend"] for each in records if each["verdict"] in ("pass", "deviation")}
    asked = found.facts["selection"]["backend"]
    ready = {name for name, facts in found.facts["backends"].items() if facts["status"] == "ready"}
    taking_part = ready.intersection(asked or ready)
    yield from (f"{backend} was right in no check" for backend in sorted(taking_part - right))
    yield from _listed(each for each in records if each["verdict"] == "error")
    yield from _listed(filter(asks_for_what_is_absent, records))


def asks_for_what_is_absent(record: Record) -> bool:
    """Whether a check failed because the framework has no such name or argument."""
    if record["verdict"] != "fail":
        return False
    return outcome(record).exception in ABSENT or bool(UNKNOWN_ARGUMENT.search(record["reason"]))


def failing(records: Iterable[Record]) -> Iterator[str]:
    """For each implementation how many of its checks failed, and where."""
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for each in records:
        if each["verdict"] == "fail":
            counts[each["backend"], each["implementation"]][each["case"].partition("::")[0]] += 1
    for (backend, implementation), families in counts.items():
        where = ", ".join(f"{family} {count}" for family, count in families.most_common())
        yield f"{families.total()} fail on {backend} {implementation}: {where}"


def _listed(records: Iterable[Record]) -> Iterator[str]:
    """Some of them."""
    found = list(records)
    yield from (f"{each['verdict']}: {each['id']}: {each['reason']}" for each in found[:LISTED])
    if len(found) > LISTED:
        yield f"… and {len(found) - LISTED:,} more like these"
