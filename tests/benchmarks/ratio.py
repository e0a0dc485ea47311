"""What a session costs over the framework calls that it makes."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from tests.benchmarks.bare import Loop, checks_of, run_bare
from tests.benchmarks.session import Session, Settings, run_selection
from tests.benchmarks.table import print_table

COLUMNS = (
    "backend",
    "checks",
    "wall s",
    "bare wall s",
    "ratio",
    "CPU s",
    "bare CPU s",
    "ratio of CPU",
    "of bare: inputs s",
)


def print_ratios(settings: Settings) -> None:
    """A row for a session of each backend, and one for a session of all of them."""
    groups = [(name,) for name in settings.backends]
    rows = [_row(settings, group) for group in [*groups, *([settings.backends] if len(groups) > 1 else [])]]
    caches = "warm" if settings.warm else "empty"
    title = f"A session over its bare loop: {settings.tier} tier, {settings.processes} processes, {caches} caches"
    print_table(title, COLUMNS, rows)


def _row(settings: Settings, backends: tuple[str, ...]) -> Sequence[object]:
    sessions, loops = [], []
    for round in range(settings.rounds):
        session = run_selection(settings, backends, settings.processes, round)
        sessions.append(session)
        loops.append(run_loop(settings, session, settings.processes))
    wall, cpu = (median(getattr(session.cost, name) for session in sessions) for name in ("wall", "cpu"))
    bare_wall, bare_cpu = (median(getattr(loop.cost, name) for loop in loops) for name in ("wall", "cpu"))
    name = backends[0] if len(backends) == 1 else "all together"
    made = median(loop.inputs for loop in loops)
    checks = len(sessions[0].executed)
    return name, checks, wall, bare_wall, wall / bare_wall, cpu, bare_cpu, cpu / bare_cpu, made


def run_loop(settings: Settings, session: Session, processes: int) -> Loop:
    """The bare loop of a session; where caches are warm it has the programs that the session compiled."""
    empty = Path(tempfile.mkdtemp(dir=settings.work))
    compiled = session.caches / "conformance-compiled" if settings.warm else empty
    return run_bare(checks_of(session.executed), processes, compiled)
