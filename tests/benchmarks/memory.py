"""Memory of one process that runs all checks of a backend."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import linear_regression

from tests.benchmarks.ratio import run_loop
from tests.benchmarks.session import Settings, run_selection
from tests.benchmarks.table import print_table

MIB, KIB = 2**20, 2**10
COLUMNS = ("backend", "checks", "at first check MiB", "peak MiB", "growth KiB/check", "bare loop KiB/check")


def print_memory(settings: Settings) -> None:
    """A row for each backend; what the bare loop grows by is kept by the framework, such as its compiled programs."""
    rows = []
    for name in settings.backends:
        session = run_selection(settings, (name,), 0)
        loop, note = run_loop(settings, session, 1), session.notes["main"]
        samples = note["samples"]
        first = samples[0][1] / MIB if samples else None
        rows.append((name, note["items"], first, note["peak"] / MIB, growth(samples), growth(loop.samples)))
    print_table(f"Memory of one process: {settings.tier} tier", COLUMNS, rows)


def growth(samples: Sequence[Sequence[int]]) -> float | None:
    """KiB for each check, the slope over the second half of the samples; None if there are too few."""
    half = samples[len(samples) // 2 :]
    if len(half) < 3:
        return None
    checks, sizes = zip(*half, strict=True)
    return linear_regression(checks, sizes).slope / KIB
