"""Where the time of a run goes, as its records say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from reports.read import read
from tests.benchmarks.table import print_table

FIELDS = ("backend", "kind", "mode", "direction")
COLUMNS = (" × ".join(FIELDS), "checks", "seconds", "%", "ms/check", "longest s")


def print_seconds(folder: Path) -> None:
    """A row for each backend × kind × mode × direction, the longest first, with the seconds in framework calls."""
    groups: defaultdict[Sequence[str], list[float]] = defaultdict(list)
    run = read(folder)
    for record in run.records():
        if record["verdict"] != "unsupported":
            groups[tuple(record[name] for name in FIELDS)].append(record["seconds"])
    total = sum(map(sum, groups.values()))
    ordered = sorted(groups.items(), key=lambda group: -sum(group[1]))
    rows = [
        (" ".join(key), len(seconds), sum(seconds), 100 * sum(seconds) / total, _mean(seconds), max(seconds))
        for key, seconds in ordered
    ]
    title = f"Seconds in framework calls, all processes together: {run.facts.get('tier', 'full')} tier"
    print_table(title, COLUMNS, [*rows, ("all", sum(map(len, groups.values())), total, 100.0, None, None)])


def _mean(seconds: Sequence[float]) -> float:
    """In milliseconds."""
    return 1000 * sum(seconds) / len(seconds)
