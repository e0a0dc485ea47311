"""What judging costs: the time of checks with everything the suite does, over that of the framework calls alone.

    python -m tests.benchmarks [--backend NAME ...] [--rounds N] [FILE or folder ...]

Both loops run the same checks, in the same order, in one process, in turns; a row is the median over the rounds.  The
first pass, with imports, references and first compilations, is not counted.  A ratio of 1 would be no overhead at all.
"""

from __future__ import annotations

import argparse
import statistics
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from backends.base import Backend
from backends.discovery import registry
from specs.case.loading import discover, load
from specs.inputs import inputs
from specs.verdict.check import Check
from specs.verdict.place import iter_checks
from specs.verdict.verdict import judge
from tests.support import ROOT

TYPICAL = ["cases/einsum/products.yaml", "cases/attention/lengths.yaml"]


def runnable(backend: Backend, files: list[Path]) -> list[Check]:
    """The checks of the backend's default modes that compute something, on its first device."""
    device = backend.devices()[0]
    place = replace(backend.place(device), directions=("forward",))
    found = [check for file in files for case in load(file, ROOT) for check in iter_checks(case, [place])]
    return [check for check in found if check.case.config.expected_error is None and not backend.unsupported(check)]


def bare(backend: Backend, chosen: list[Check]) -> float:
    """Seconds for the framework calls alone."""
    started = time.perf_counter()
    for check in chosen:
        operands = inputs.operands(check.case, check.dtype)
        with suppress(Exception):  # a refusal, such as a recorded deviation, takes its time too
            backend.run(check, operands)
    return time.perf_counter() - started


def judged(backend: Backend, chosen: list[Check]) -> float:
    """Seconds for whole verdicts."""
    deviations = registry.deviations(backend.name)
    started = time.perf_counter()
    for check in chosen:
        judge(check, backend, check.name, str(check.case.file), deviations)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="*", type=Path, help=f"case files (default: {' '.join(TYPICAL)})")
    parser.add_argument("--backend", action="append", choices=registry.names(), help="only this one; repeatable")
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds (default: 5)")
    options = parser.parse_args()
    files = discover(options.paths or [ROOT / path for path in TYPICAL], ROOT)
    print(f"{'backend':<12} {'checks':>6} {'bare ms':>8} {'judged ms':>9} {'ratio':>6}   (per check)")
    for name in options.backend or registry.names():
        backend = registry.get(name)
        chosen = runnable(backend, files)
        if not chosen:
            print(f"{name:<12} {'none':>6}")
            continue
        judged(backend, chosen)
        pairs = [(bare(backend, chosen), judged(backend, chosen)) for _ in range(options.rounds)]
        alone, whole = (statistics.median(times) for times in zip(*pairs, strict=True))
        each = 1000 / len(chosen)
        print(f"{name:<12} {len(chosen):>6} {alone * each:>8.2f} {whole * each:>9.2f} {whole / alone:>6.2f}")


if __name__ == "__main__":
    main()
