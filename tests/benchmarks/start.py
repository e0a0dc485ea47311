"""What comes before the checks: the time to the first result, and collection."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from runner.tiers import TIERS
from tests.benchmarks.session import PYTEST, Session, Settings, run_session
from tests.benchmarks.table import print_table

FILE = "cases/einsum/products.yaml"


def print_start(settings: Settings) -> None:
    """Seconds until the first result, with empty caches and with those of the session before."""
    workers = ["-n", str(settings.processes)]
    selections = {
        f"the selection, {settings.processes} processes": [*settings.selection(settings.backends), *workers],
        "the selection, 1 process": [*settings.selection(settings.backends), "-n", "0"],
        f"{FILE}, {settings.backends[0]}, 1 process": [FILE, "--backend", settings.backends[0], "-n", "0"],
    }
    rows = []
    for name, arguments in selections.items():
        folder = Path(tempfile.mkdtemp(dir=settings.work))
        cold, warm = (run_session([*PYTEST, *arguments], folder, stop=True) for _ in range(2))
        rows.append((name, _first_result(cold), _first_result(warm)))
    columns = ("session", "cold s", "with a warm inventory s")
    print_table(f"Time to the first result: {settings.tier} tier", columns, rows)


def print_collection(settings: Settings) -> None:
    """What one process needs to collect a tier; each worker of a session does that."""
    folder = Path(tempfile.mkdtemp(dir=settings.work))
    rows = []
    for tier in TIERS[1:]:
        options = ["--tier", tier, *(word for name in settings.backends for word in ("--backend", name))]
        command = [*PYTEST, *settings.paths, *options, "--collect-only", "-q", "-n", "0"]
        rows.append((tier, *collection(run_session(command, folder))))
    print_table("Collection", ("tier", "checks", "CPU s", "CPU s per 10,000 checks and worker"), rows)


def collection(session: Session) -> Sequence[float]:
    """Checks, CPU seconds of their collection in one process, and the same for 10,000 checks."""
    items, seconds = session.worker["items"], session.worker["collection"]["cpu"]
    return items, seconds, 10_000 * seconds / items


def _first_result(session: Session) -> float:
    return session.notes["main"]["first_result"] - session.started
