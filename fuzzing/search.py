"""An example's checks, what they found, and what of it is new.

An example has one dtype and runs on every backend and implementation that the session's options leave.  What costs a
compilation is done for a share of the examples, chosen by the example's name, unless the options ask for it.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import pytest

from fuzzing import examples, writing
from specs.arithmetic.formats import DTYPES
from specs.case.case import Case, Config
from specs.verdict.check import Check
from specs.verdict.deviation import Recorded, beyond_cases
from specs.verdict.direction import Computes
from specs.verdict.explain import explain
from specs.verdict.place import Place, checks
from specs.verdict.record import Record
from specs.verdict.verdict import judge, not_judged

FAILED = ("fail", "error")
HUNG = "no result after"
LONGEST = 60.0  # seconds in which an example shrinks what it found; pytest-timeout ends it at twice that

# Of the examples that can have it, how many are checked so; any other mode is COMPILED
SHARES = {"eager": 1.0, "forward": 1.0, "grad": 0.25}
COMPILED = 0.125

# How often an einsum example has a dtype; attention has those of the floating ones
DTYPE_SHARES = {
    "float32": 8, "float64": 5, "bfloat16": 4, "float16": 4, "complex64": 2, "complex128": 1, "int32": 2, "int64": 1,
    "int8": 1, "uint8": 1, "bool": 1, "int16": 1, "uint16": 1, "uint32": 1, "uint64": 1,
}  # fmt: skip


def dtypes(asked: Sequence[str]) -> tuple[str, ...]:
    """What examples draw their dtype from: each is there as often as its share."""
    shares = {name: share for name, share in DTYPE_SHARES.items() if not asked or name in asked}
    return tuple(name for name, share in shares.items() for _ in range(share))


@dataclass(frozen=True)
class Finding:
    """A failure that was not found before: the smallest case that shows it, and all there is to say of it."""

    signature: str
    file: str
    text: str


@dataclass(frozen=True)
class Outcome:
    """What came of one example; `repeats` are failures that were found before."""

    name: str
    checks: list[tuple[str, str, str, float]]  # backend, device, verdict, seconds
    findings: list[Finding]
    repeats: int


class Plan(Protocol):
    """What a search needs to know of its session."""

    @property
    def places(self) -> list[Place]: ...
    @property
    def cache(self) -> Path | None: ...
    def deviations(self, backend: str) -> Sequence[Recorded]: ...
    def version(self, backend: str) -> str | None: ...
    def backend(self, name: str, /) -> Computes: ...
    def command(self, check: Check, nodeid: str) -> str: ...


@dataclass(frozen=True)
class Search:
    """What a session fuzzes.

    dtypes   what examples draw theirs from
    asked    modes and directions that the command line names: they are done for every example
    folder   where findings go, a file for each: what has one is not reported again, by no worker
    root     of the project
    worker   names the file that says what is running, for a process that dies cannot
    """

    seed: int
    dtypes: tuple[str, ...]
    asked: frozenset[str]
    folder: Path
    root: Path
    plan: Plan
    worker: str

    def run(self, index: int) -> Outcome:
        """Make an example, check it everywhere, and shrink what fails and is new."""
        ends = time.monotonic() + LONGEST
        case = writing.case(examples.example(self.seed, index, self.dtypes), self.running)
        done: list[tuple[str, str, str, float]] = []
        failures: dict[str, tuple[Check, Record]] = {}
        for check in self.checks(case):
            self.announce(check)
            started = time.perf_counter()
            record = self.judged(check)
            done.append((check.backend, check.device, record.verdict, time.perf_counter() - started))
            if record.verdict in FAILED:
                failures.setdefault(signature(check, record.reason), (check, record))
            if record.reason.startswith(HUNG):
                break  # the time that the example has is spent
        new = {said: failure for said, failure in failures.items() if not self.file(said).exists()}
        findings = [self.finding(index, said, *failure, ends) for said, failure in new.items()]
        self.running.unlink(missing_ok=True)
        return Outcome(case.name, done, findings, len(failures) - len(new))

    # What is checked --------------------------------------------------------------------------------------------------

    def checks(self, case: Case) -> Iterator[Check]:
        luck = int(case.name[-8:], 16) / 2**32  # the name ends in a hash
        for check in checks(case, self.plan.places):
            if luck < self.share(check.mode) * self.share(check.direction):
                yield check

    def share(self, name: str) -> float:
        return 1.0 if name in self.asked else SHARES.get(name, COMPILED)

    def judged(self, check: Check) -> Record:
        """The verdict, with what is recorded of such computations applied; never raises for what goes wrong."""
        plan, file = self.plan, self.relative(check.case.file)
        id = f"{file}::{check.name}"
        started = time.perf_counter()
        try:
            known = beyond_cases(plan.deviations(check.backend), check)
            return judge(check, plan.backend(check.backend), id, file, known, plan.cache)
        except pytest.fail.Exception:  # how pytest-timeout ends it
            seconds = time.perf_counter() - started
            return not_judged(check, id, file, f"{HUNG} {seconds:.0f} s", seconds)
        except Exception as mistake:  # judge answers for all that a framework does: this is the suite's own
            return not_judged(check, id, file, f"the suite itself failed: {type(mistake).__name__}: {mistake}")

    def announce(self, check: Check) -> None:
        """Say on disk what is about to run."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.running.write_text(writing.text(check.case.config, f"Was running: {_where(check)}."), encoding="utf-8")

    # What was found ---------------------------------------------------------------------------------------------------

    def finding(self, index: int, said: str, check: Check, record: Record, ends: float) -> Finding:
        """Shrink what failed, and write it down."""
        fails = partial(self.fails, check, said)
        hung = record.reason.startswith(HUNG)
        smaller = None if hung else examples.shrunk(self.seed, index, self.dtypes, fails, ends)
        case = writing.case(smaller or check.case.config, self.file(said))
        shown = self.like(check, case)
        if smaller is not None:
            record = self.judged(shown)
        record = replace(record, again=self.plan.command(shown, record.id))
        written = writing.text(case.config, f"{_where(shown)}: {record.reason}")
        case.file.write_text(written, encoding="utf-8")
        not_small = "" if smaller else "\n  (it did not fail again, or there was no time, so this is as it was found)"
        told = f"{explain(shown, record, self.plan.version(shown.backend))}{not_small}\n\n{written}"
        return Finding(said, self.relative(case.file), told)

    def fails(self, check: Check, said: str, config: Config) -> bool:
        """Whether another config fails at the place of this check, and in the same way."""
        like = self.like(check, writing.case(config, check.case.file))
        self.announce(like)
        record = self.judged(like)
        return record.verdict in FAILED and signature(like, record.reason) == said

    def like(self, check: Check, case: Case) -> Check:
        """The check of another case at the same place."""
        return replace(check, case=case, dtype=case.config.dtypes[0])

    # Files ------------------------------------------------------------------------------------------------------------

    @property
    def running(self) -> Path:
        return self.folder / f"running_{self.worker}.yaml"

    def file(self, said: str) -> Path:
        return self.folder / f"{said}.yaml"

    def relative(self, file: Path) -> str:
        return Path(os.path.relpath(file, self.root)).as_posix()


def signature(check: Check, reason: str) -> str:
    """What two failures share if they are one finding, the first of all that is wrong; a name for its file."""
    words = re.sub(r"[^a-zA-Z]+", " ", reason.partition("; ")[0]).split()
    where = (check.backend, check.case.kind, check.implementation, check.mode, check.direction)
    return "-".join([*dict.fromkeys(where), DTYPES[check.dtype].kind, "_".join(words[:8]).lower()])


def _where(check: Check) -> str:
    said = (check.backend, check.device, check.implementation, check.mode, check.dtype, check.direction)
    return " ".join(dict.fromkeys(said))
