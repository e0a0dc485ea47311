"""From a check to its record: inputs, reference, one run of the backend, comparison, recorded deviations.

Whatever a framework raises is evidence, not an accident: it is compared with what the case expects.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from specs import inputs
from specs.bound import Reference, rounded
from specs.case import Case, Config
from specs.check import Check
from specs.comparison import Comparison, compare
from specs.deviation import Recorded, shows
from specs.formats import DTYPES, FORMATS, Array
from specs.precision import Precision
from specs.record import Measurement, Record, Verdict
from specs.reference import reference

# What a framework may do to be fast, from mild to severe, as what it does to the declared precision
LOSSES = {
    "arithmetic in float32": {"multiply": "float32", "accumulate": "float32", "softmax": "float32"},
    "operands rounded to TF32": {"multiply": "tf32"},
    "operands rounded to bfloat16": {"multiply": "bfloat16"},
    "sums in float16": {"accumulate": "float16"},
    "sums in bfloat16": {"accumulate": "bfloat16"},
}
TELLING = 0.25  # a bound wider than this share of the largest value explains whatever was computed
OUT_OF_MEMORY = ("out of memory", "resource_exhausted", "resource exhausted")
LONGEST_MESSAGE = 500


class Computes(Protocol):
    """What a verdict needs of a backend."""

    def unsupported(self, config: Config, implementation: str, mode: str, dtype: str, device: str) -> str | None: ...
    def precision(self, kind: str, implementation: str, mode: str, dtype: str, device: str) -> Precision: ...
    def run(self, case: Case, implementation: str, mode: str, operands: Mapping[str, Array], device: str) -> Array: ...


def judge(
    check: Check,
    backend: Computes,
    id: str,
    file: str,
    deviations: Sequence[Recorded] = (),
    work: Path | None = None,
) -> Record:
    """Run one check to its verdict.

    `id` is pytest's node id and `file` the case file, as the record names them; `deviations` are all that are recorded
    for the backend; `work` keeps dear references between runs.  Raises only for the suite's own faults, and CaseError
    for a case that contradicts itself.
    """
    case = check.case
    record = Record(
        id=id, file=file, line=case.line, case=case.id, kind=case.kind, backend=check.backend, device=check.device,
        implementation=check.implementation, mode=check.mode, dtype=check.dtype, direction=check.direction,
        verdict="unsupported",
    )  # fmt: skip
    lacking = backend.unsupported(case.config, check.implementation, check.mode, check.dtype, check.device)
    if lacking:
        return replace(record, reason=lacking)
    trial = _Trial(check, backend, work)
    outcome, seconds = trial.run()
    record = replace(record, seconds=seconds)
    if isinstance(outcome, Exception) and _out_of_memory(outcome):
        return replace(record, verdict="error", reason=f"out of memory: {_told(outcome)}")
    verdict, reason, measurement = trial.compare(outcome)
    record = replace(record, verdict=verdict, reason=reason, measurement=measurement)
    return _with_deviations(record, trial, outcome, [entry for entry in deviations if entry.deviation.applies(check)])


@dataclass(frozen=True)
class _Trial:
    """One check, its operands and what is right for it."""

    check: Check
    backend: Computes
    work: Path | None

    def run(self) -> tuple[Array | Exception, float]:
        """What the backend returned or raised, and the seconds that it took."""
        c = self.check
        operands = inputs.operands(c.case, c.dtype)
        outcome: Array | Exception
        started = time.perf_counter()
        try:
            outcome = self.backend.run(c.case, c.implementation, c.mode, operands, c.device)
        except Exception as error:
            outcome = error
        return outcome, time.perf_counter() - started

    @property
    def expected(self) -> Reference | None:
        """None for a case that every backend must refuse."""
        return None if self.check.case.config.expected_error else self.reference()

    def reference(self, precision: Precision | None = None, config: Config | None = None) -> Reference:
        """Under the declared precision and the case's own statement, unless others are given."""
        c = self.check
        case = c.case if config is None else replace(c.case, config=config)
        if precision is None and DTYPES[c.dtype].inexact:
            precision = self.backend.precision(case.kind, c.implementation, c.mode, c.dtype, c.device)
        return reference(case, c.dtype, inputs.operands(c.case, c.dtype), precision, self.work)

    def compare(self, outcome: Array | Exception) -> tuple[Verdict, str, Measurement]:
        expected_error, expected = self.check.case.config.expected_error, self.expected
        if expected is None:
            if isinstance(outcome, Exception):
                return "pass", f"refused: {_told(outcome)}", Measurement()
            reason = f"accepted what must be refused ({expected_error}): result has shape {outcome.shape}"
            return "fail", reason, Measurement()
        if isinstance(outcome, Exception):
            return "fail", f"raised {_told(outcome)}", Measurement()
        found: Comparison = compare(outcome, expected)
        if not found.problem:
            return "pass", "", found.measurement
        return "fail", f"{found.problem}{self.consistent_with(outcome, expected)}", found.measurement

    def consistent_with(self, outcome: Array, expected: Reference) -> str:
        """The mildest loss of precision that would make the result right, as the end of a reason; "" for none."""
        declared = expected.precision
        if declared is None or outcome.shape != expected.shape or outcome.dtype != expected.dtype.numpy:
            return ""
        for loss, formats in LOSSES.items():
            if not all(FORMATS[f].precision < getattr(declared, step).precision for step, f in formats.items()):
                continue
            lossy = self.reference(precision=declared.but(**formats))
            if _telling(lossy) and not compare(outcome, lossy).problem:
                return f"; consistent with {loss}"
        return ""


def _telling(reference: Reference) -> bool:
    largest = np.max(np.abs(rounded(reference.value)), initial=0.0)
    return reference.error is not None and bool(np.median(reference.error) <= TELLING * largest)


def _with_deviations(record: Record, trial: _Trial, outcome: Array | Exception, entries: Sequence[Recorded]) -> Record:
    """A difference that is recorded, and still as recorded, is a deviation; a recorded one that is gone is stale."""
    if record.verdict == "pass":
        gone = next((entry for entry in entries if not entry.deviation.observed.may_be_silent), None)
        if gone is None:
            return record
        reason = f"stale: {gone.place} records `{gone.deviation.observed}`, but the result is right; remove the entry"
        return replace(record, verdict="fail", reason=reason)
    for entry in entries:
        if shows(entry.deviation.observed, trial.check, outcome, trial.expected, trial.reference):
            told: dict[str, Any] = entry.deviation.model_dump(exclude_unset=True) | {"place": entry.place}
            return replace(record, verdict="deviation", reason=entry.deviation.reason, deviation=told)
    recorded = " or ".join(f"`{entry.deviation.observed}` ({entry.place})" for entry in entries)
    return replace(record, reason=f"{record.reason}; recorded is {recorded}") if entries else record


def _told(error: Exception) -> str:
    """An exception in one line."""
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message[:LONGEST_MESSAGE]}".rstrip(": ")


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or any(words in str(error).lower() for words in OUT_OF_MEMORY)
