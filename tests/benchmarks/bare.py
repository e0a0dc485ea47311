"""The bare loop: the framework calls of a session and nothing else.

It makes the same calls as `specs.verdict.trial`, on the same inputs, designed ones included, in the same order, on as
many processes, which share JAX's compiled programs as workers do.  There is no pytest, reference, bound, comparison or
record.  Cases are loaded before the clock starts; making inputs counts, and is stated separately.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from backends.base import Backend
from backends.discovery import registry
from specs.case.loading import load
from specs.verdict.check import Check
from specs.verdict.trial import Returned, Trial
from tests.benchmarks.probe import Memory
from tests.benchmarks.session import Cost
from tests.support import ROOT

# Cases are inherited, not sent; nothing that is imported before has threads
CONTEXT = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Loop:
    """What a bare loop costs.

    inputs   CPU seconds of `cost` in which inputs were made
    samples  (checks, bytes of memory) of its first process
    """

    cost: Cost
    inputs: float
    samples: list[tuple[int, int]]


def checks_of(records: Iterable[Mapping[str, Any]]) -> list[Check]:
    """The checks of records, which are made from the case files again."""

    @cache
    def cases(file: str) -> dict[str, Any]:
        return {case.id: case for case in load(ROOT / file, ROOT)}

    names = ("backend", "device", "implementation", "mode", "dtype", "direction")
    return [Check(cases(record["file"])[record["case"]], *(record[name] for name in names)) for record in records]


def run_bare(checks: list[Check], processes: int, compiled: Path) -> Loop:
    """Run the loop; `compiled` is the folder of compiled programs.  Raises RuntimeError if a process dies."""
    shares, results = Shares(len(checks), processes), CONTEXT.SimpleQueue()
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    workers = [
        CONTEXT.Process(target=_work, args=(checks, shares, index, compiled, results)) for index in range(processes)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if died := [str(worker.exitcode) for worker in workers if worker.exitcode]:
        raise RuntimeError(f"processes of the bare loop ended with {', '.join(died)}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    by_index = {index: (seconds, samples) for index, seconds, samples in (results.get() for _ in workers)}
    return Loop(Cost(wall, cpu), sum(seconds for seconds, _ in by_index.values()), by_index[0][1])


class Shares:
    """Which process runs which check: first a contiguous share for each, like `--dist worksteal` of pytest-xdist.

    A process that has none left takes the second half of what another one still has.
    """

    def __init__(self, count: int, processes: int) -> None:
        bounds = [count * index // processes for index in range(processes + 1)]
        self.starts = CONTEXT.Array("l", bounds[:-1])  # its lock guards both
        self.ends = CONTEXT.Array("l", bounds[1:], lock=False)

    def take(self, index: int) -> int | None:
        """The number of the next check of a process; None where none is left."""
        with self.starts.get_lock():
            starts, ends = self.starts.get_obj(), self.ends
            if starts[index] == ends[index]:
                rest = [end - start for start, end in zip(starts, ends, strict=True)]
                richest = rest.index(max(rest))
                starts[index], ends[index] = ends[richest] - (rest[richest] + 1) // 2, ends[richest]
                ends[richest] = starts[index] if richest != index else ends[index]
            if starts[index] == ends[index]:
                return None
            starts[index] += 1
            return starts[index] - 1


def _work(checks: list[Check], shares: Shares, index: int, compiled: Path, results: Any) -> None:
    """One process of the loop."""
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    memory, seconds = Memory(), 0.0

    @cache
    def backend(name: str) -> Backend:
        instance = registry.get(name)
        instance.keep_compiled(compiled / name)
        return instance

    while (number := shares.take(index)) is not None:
        check = checks[number]
        trial = Trial(check, backend(check.backend), None)
        started = time.process_time()
        trial.make_inputs()
        seconds += time.process_time() - started
        outcome, _ = trial.run()
        if check.case.config.probe == "repeatable" and isinstance(outcome, Returned):
            list(trial.rerun())
        memory.count()
    results.put((index, seconds, memory.samples))
