"""How the cost of a session grows with the number of its checks: generated cases on NumPy, in files of equal size."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.session import RUNNER, Cost, Session, Settings, run_session
from tests.benchmarks.start import collection
from tests.benchmarks.table import print_table

CASES_PER_FILE, DTYPES = 250, ("float64", "float32")
ENTRIES = {
    "einsum": (
        'equation: "ij,jk->ik", shapes: [[5, 7], [7, 3]]',
        'equation: "bij,bkj->bik", shapes: [[2, 5, 7], [2, 3, 7]]',
        'equation: "ii->", shapes: [[6, 6]]',
        'equation: "i,j->ij", shapes: [[9], [4]]',
    ),
    "attention": (
        "batch: 2, q_len: 5, kv_len: 7, num_heads: 4, num_kv_heads: 2, head_dim: 8",
        "batch: 1, q_len: 6, kv_len: 6, num_heads: 2, head_dim: 8, causal: top_left",
    ),
}
COLUMNS = (
    "checks",
    "wall s",
    "CPU s",
    "CPU ms/check",
    "CPU ms/added check",
    "collection CPU s per 10,000 checks and worker",
    "controller MiB",
    "worker MiB",
    "records MiB",
    "page MiB",
)
MIB = 2**20


def print_growth(settings: Settings) -> None:
    """A row for each number of checks."""
    rows: list[Sequence[object]] = []
    previous = Cost(0.0, 0.0), 0
    for count in settings.sizes:
        session = _run(count, settings)
        rows.append(_row(session, *previous))
        previous = session.cost, session.worker["items"]
    print_table(f"Growth: cases on NumPy, {settings.processes} processes, empty caches", COLUMNS, rows)


def write_cases(folder: Path, checks: int) -> None:
    """Case files with this many checks on NumPy, half of einsum and half of attention; each case has other inputs."""
    count = checks // len(DTYPES)
    for number, start in enumerate(range(0, count, CASES_PER_FILE)):
        kind = list(ENTRIES)[number % len(ENTRIES)]
        entries = itertools.islice(itertools.cycle(ENTRIES[kind]), min(CASES_PER_FILE, count - start))
        lines = [f"kind: {kind}", f"defaults: {{dtypes: [{', '.join(DTYPES)}], implementations: [einsum]}}", "cases:"]
        lines += [f"  case_{index:03}: {{{entry}}}" for index, entry in enumerate(entries)]
        (folder / f"{kind}_{number:04}.yaml").write_text("\n".join(lines) + "\n")


def _run(checks: int, settings: Settings) -> Session:
    folder = Path(tempfile.mkdtemp(dir=settings.work))
    cases = folder / "cases"
    cases.mkdir()
    write_cases(cases, checks)
    command = [*RUNNER, str(cases), "--backend", "numpy", "-n", str(settings.processes)]
    return run_session(command, folder, cwd=cases)


def _row(session: Session, previous: Cost, fewer: int) -> Sequence[object]:
    """Of a session, whose added checks are those over a session with `fewer` checks and the cost `previous`."""
    items, _, collected = collection(session)
    added = 1000 * (session.cost.cpu - previous.cpu) / (items - fewer) if fewer else None
    peaks = (session.notes["main"]["peak"] / MIB, session.worker["peak"] / MIB)
    sizes = ((session.folder / "run" / name).stat().st_size / MIB for name in ("records.jsonl", "index.html"))
    wall, cpu = session.cost.wall, session.cost.cpu
    return items, wall, cpu, 1000 * cpu / items, added, collected, *peaks, *sizes
