"""Run the checks of an example, and shrink and report the failures that are new.

An example has one dtype and runs on every backend and implementation that the session's options select.  Compiled modes
and gradients run for only a fraction of the examples, chosen by the example's name, unless the options request them.
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
from specs.verdict.deviation import DeviationEntry
from specs.verdict.direction import BackendProtocol, MisbehaviourError
from specs.verdict.explain import explain
from specs.verdict.place import Place, iter_checks
from specs.verdict.record import Record
from specs.verdict.verdict import judge, make_error_record

FAILED = ("fail", "error")
HUNG = "no result after"
MAX_SECONDS = 60.0  # of an example with the shrinking of its failures; pytest-timeout ends it after twice that

# The fraction of examples that is checked in a mode or direction; every other mode has COMPILED
FRACTIONS = {"eager": 1.0, "forward": 1.0, "grad": 0.25}
COMPILED = 0.125

# Relative frequency of each dtype in einsum examples; attention uses those of the floating-point dtypes
DTYPE_WEIGHTS = {
    "float32": 8, "float64": 5, "bfloat16": 4, "float16": 4, "complex64": 2, "complex128": 1, "int32": 2, "int64": 1,
    "int8": 1, "uint8": 1, "bool": 1, "int16": 1, "uint16": 1, "uint32": 1, "uint64": 1,
}  # fmt: skip


def weighted_dtypes(requested: Sequence[str]) -> tuple[str, ...]:
    """The dtypes that examples draw from, each repeated by its weight; all of them if none is requested."""
    weights = {name: weight for name, weight in DTYPE_WEIGHTS.items() if not requested or name in requested}
    return tuple(name for name, weight in weights.items() for _ in range(weight))


@dataclass(frozen=True)
class Finding:
    """A new failure: the file with the smallest case that shows it, what it holds, and the text of its report."""

    signature: str
    file: str
    case: str
    text: str


@dataclass(frozen=True)
class Outcome:
    """The outcome of one example; `repeats` is the number of failures that were found before."""

    name: str
    checks: list[tuple[str, str, str, float]]  # backend, device, verdict, seconds
    findings: list[Finding]
    repeats: int


class Plan(Protocol):
    """The parts of a session's plan that a search needs."""

    @property
    def places(self) -> list[Place]: ...
    @property
    def cache(self) -> Path | None: ...
    @property
    def max_memory(self) -> float: ...
    def deviations(self, backend: str) -> Sequence[DeviationEntry]: ...
    def version(self, backend: str) -> str | None: ...
    def backend(self, name: str, /) -> BackendProtocol: ...
    def command(self, check: Check, nodeid: str) -> str: ...


@dataclass(frozen=True)
class Search:
    """The search of one process of a session.

    dtypes     the dtypes that examples draw from
    requested  modes and directions named on the command line: they run for every example
    folder     where findings are written, one file each; a finding that has a file is not reported again, by any worker
    root       of the project
    worker     part of the name of the file that says which check is running, in case the process dies
    """

    seed: int
    dtypes: tuple[str, ...]
    requested: frozenset[str]
    folder: Path
    root: Path
    plan: Plan
    worker: str

    def run(self, index: int) -> Outcome:
        """Generate an example, run its checks, and shrink the failures that are new."""
        deadline = time.monotonic() + MAX_SECONDS
        case = writing.make_case(examples.make_example(self.seed, index, self.dtypes), self.running_file)
        results: list[tuple[str, str, str, float]] = []
        failures: dict[str, tuple[Check, Record]] = {}
        for check in self.checks(case):
            self.announce(check)
            started = time.perf_counter()
            record = self.judge(check)
            results.append((check.backend, check.device, record.verdict, time.perf_counter() - started))
            if record.verdict in FAILED:
                failures.setdefault(make_signature(check, record.reason), (check, record))
            if record.reason.startswith(HUNG):
                break  # the example has used up its time
        new = {name: failure for name, failure in failures.items() if not self.finding_file(name).exists()}
        findings = [self.report(index, name, *failure, deadline) for name, failure in new.items()]
        self.running_file.unlink(missing_ok=True)
        return Outcome(case.name, results, findings, len(failures) - len(new))

    def example_text(self, index: int) -> str:
        """An example as a case file."""
        return writing.format_case(examples.make_example(self.seed, index, self.dtypes), "Was running, in some check.")

    # Checks -----------------------------------------------------------------------------------------------------------

    def checks(self, case: Case) -> Iterator[Check]:
        quantile = int(case.name[-8:], 16) / 2**32  # the name ends in a hash
        for check in iter_checks(case, self.plan.places):
            if quantile < self.fraction(check.mode) * self.fraction(check.direction):
                yield check

    def fraction(self, name: str) -> float:
        return 1.0 if name in self.requested else FRACTIONS.get(name, COMPILED)

    def judge(self, check: Check) -> Record:
        """The record of a check, with the deviations applied that may occur in it; never raises."""
        plan, file = self.plan, self.relative_path(check.case.file)
        id = f"{file}::{check.name}"
        started = time.perf_counter()
        try:
            backend, deviations = plan.backend(check.backend), plan.deviations(check.backend)
            return judge(check, backend, id, file, deviations, plan.cache, plan.max_memory)
        except pytest.fail.Exception:  # raised by pytest-timeout
            seconds = time.perf_counter() - started
            return make_error_record(check, id, file, f"{HUNG} {seconds:.0f} s", seconds)
        except MisbehaviourError as error:
            return make_error_record(check, id, file, str(error))
        except Exception as error:  # judge handles every exception of a framework, so this is a fault of the suite
            return make_error_record(check, id, file, f"the suite itself failed: {type(error).__name__}: {error}")

    def announce(self, check: Check) -> None:
        """Write to disk which check is about to run."""
        self.folder.mkdir(parents=True, exist_ok=True)
        text = writing.format_case(check.case.config, f"Was running: {_setting(check)}.")
        self.running_file.write_text(text, encoding="utf-8")

    # Findings ---------------------------------------------------------------------------------------------------------

    def report(self, index: int, name: str, check: Check, record: Record, deadline: float) -> Finding:
        """Shrink a failure, and write its case to a file; `name` is its signature."""
        fails = partial(self.fails, check, name)
        hung = record.reason.startswith(HUNG)
        smaller = None if hung else examples.shrink(self.seed, index, self.dtypes, fails, deadline)
        case = writing.make_case(smaller or check.case.config, self.finding_file(name))
        check = self.with_case(check, case)
        if smaller is not None:
            record = self.judge(check)
        record = replace(record, again=self.plan.command(check, record.id))
        case_text = writing.format_case(case.config, f"{_setting(check)}: {record.reason}")
        case.file.write_text(case_text, encoding="utf-8")
        note = "" if smaller else "\n  (not shrunk: it did not fail again, or there was no time)"
        text = f"{explain(check, record, self.plan.version(check.backend))}{note}\n\n{case_text}"
        return Finding(name, self.relative_path(case.file), case_text, text)

    def fails(self, check: Check, name: str, config: Config) -> bool:
        """Whether another config fails in the setting of this check, with the same signature."""
        other = self.with_case(check, writing.make_case(config, check.case.file))
        self.announce(other)
        record = self.judge(other)
        return record.verdict in FAILED and make_signature(other, record.reason) == name

    def with_case(self, check: Check, case: Case) -> Check:
        """The check of another case in the same setting."""
        return replace(check, case=case, dtype=case.config.dtypes[0])

    # Files ------------------------------------------------------------------------------------------------------------

    @property
    def running_file(self) -> Path:
        return self.folder / f"running_{self.worker}.yaml"

    def finding_file(self, name: str) -> Path:
        return self.folder / f"{name}.yaml"

    def relative_path(self, file: Path) -> str:
        return Path(os.path.relpath(file, self.root)).as_posix()


def make_signature(check: Check, reason: str) -> str:
    """A name for a failure, equal for failures that count as one finding: the setting and the first problem."""
    words = re.sub(r"[^a-zA-Z]+", " ", reason.partition("; ")[0]).split()
    setting = (check.backend, check.case.kind, check.implementation, check.mode, check.direction)
    return "-".join([*dict.fromkeys(setting), DTYPES[check.dtype].kind, "_".join(words[:8]).lower()])


def _setting(check: Check) -> str:
    parts = (check.backend, check.device, check.implementation, check.mode, check.dtype, check.direction)
    return " ".join(dict.fromkeys(parts))
