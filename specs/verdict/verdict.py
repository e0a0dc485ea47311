"""From a check to its record: inputs, reference, one run of the backend, comparison, recorded deviations.

Whatever a framework raises is evidence, not an accident: it is compared with what the case expects.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from specs.arithmetic.formats import DTYPES, Array
from specs.arithmetic.precision import Precision, declared
from specs.bound.bound import reference
from specs.case.case import Case, Config
from specs.inputs import designed, inputs, memory
from specs.reference.reference import Reference
from specs.verdict import effective, readout
from specs.verdict.check import Check
from specs.verdict.comparison import Comparison, compare
from specs.verdict.deviation import Observed, Recorded
from specs.verdict.diagnosis import consistent_with
from specs.verdict.observation import shows
from specs.verdict.record import ACCEPTED, RAISED, REFUSED, STALE, Measurement, Record, Verdict, Weakness
from specs.verdict.weakness import weakness

OUT_OF_MEMORY = ("out of memory", "resource_exhausted", "resource exhausted")
LONGEST_MESSAGE = 500


class Computes(Protocol):
    """What a verdict needs of a backend."""

    def unsupported(self, check: Check) -> str | None: ...
    def precision(self, check: Check) -> Precision: ...
    def run(self, check: Check, operands: Mapping[str, Array]) -> Array: ...
    def gradient(self, check: Check, operands: Mapping[str, Array], cotangent: Array) -> Mapping[str, Array]: ...


# By the operand whose gradient it is, or by the designed recipe of its inputs; None: the case's own result
Results = Mapping[str | None, Array]


class DesignedError(Exception):
    """What a backend raised on designed inputs, after it had computed the case's own."""


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
    lacking = backend.unsupported(check)
    record = _record(check, id, file, "unsupported", lacking or "")
    if lacking:
        return record
    trial = _Trial(check, backend, work)
    outcome, seconds = trial.run()
    record = replace(record, seconds=seconds)
    if isinstance(outcome, Exception) and _out_of_memory(outcome):
        return replace(record, verdict="error", reason=f"out of memory: {_told(outcome)}")
    verdict, reason, measurement = trial.compare(outcome)
    record = replace(record, verdict=verdict, reason=reason, measurement=measurement, weak=trial.weakness())
    if case.config.probe and not isinstance(outcome, Exception):
        record = trial.probed(record, outcome[None])
    return _with_deviations(record, trial, outcome, [entry for entry in deviations if entry.deviation.applies(check)])


def not_judged(check: Check, id: str, file: str, reason: str, seconds: float = 0.0) -> Record:
    """The record of a check that ended without a result."""
    return replace(_record(check, id, file, "error", reason), seconds=seconds)


def _record(check: Check, id: str, file: str, verdict: Verdict, reason: str) -> Record:
    case = check.case
    return Record(
        id=id, file=file, line=case.line, case=case.id, kind=case.kind, backend=check.backend, device=check.device,
        implementation=check.implementation, mode=check.mode, dtype=check.dtype, direction=check.direction,
        verdict=verdict, reason=reason,
    )  # fmt: skip


@dataclass(frozen=True)
class _Trial:
    """One check, its operands and what is right for it."""

    check: Check
    backend: Computes
    work: Path | None

    def run(self) -> tuple[Results | Exception, float]:
        """What the backend returned or raised, and the seconds that it took."""
        c = self.check
        operands = {name: inputs.operands(self.case(name), c.dtype) for name in self.names}
        cotangent = inputs.cotangent(c.case, c.dtype) if c.direction == "grad" else None
        outcome: Results | Exception
        started = time.perf_counter()
        try:
            if cotangent is None:
                outcome = {name: self.result(name, given) for name, given in operands.items()}
            else:
                given = inputs.operands(c.case, c.dtype)
                found = self.backend.gradient(c, given, cotangent)
                outcome = dict(found.items())
        except Exception as error:
            outcome = error
        return outcome, time.perf_counter() - started

    def result(self, recipe: str | None, operands: Mapping[str, Array]) -> Array:
        try:
            return self.backend.run(self.check, operands)
        except Exception as error:
            if recipe is None or _out_of_memory(error):
                raise
            raise DesignedError(f"on {recipe} inputs {_told(error)}") from error

    @property
    def names(self) -> list[str | None]:
        """Of what must be returned: the result, which has no name, and those of designed inputs; or the gradients."""
        if self.check.direction == "forward":
            return [None, *designed.recipes(self.check.case, self.check.dtype)]
        return [*inputs.differentiable(inputs.operands(self.check.case, self.check.dtype))]

    def case(self, name: str | None) -> Case:
        """The case that a result is of: the check's own, or the same under a designed recipe."""
        case = self.check.case
        return case if name is None or self.check.direction == "grad" else designed.under(case, name)

    def expected(self, name: str | None) -> Reference | None:
        """None for a case that every backend must refuse."""
        return None if self.check.case.config.expected_error else self.reference(name)

    def reference(
        self,
        name: str | None,
        precision: Precision | None = None,
        config: Config | None = None,
        dtype: str | None = None,
    ) -> Reference:
        """Under the declared precision, the case's own statement and the check's dtype, unless others are given."""
        c, case = self.check, self.case(name)
        operands = inputs.operands(case, c.dtype)
        if config is not None:
            case = replace(case, config=config)
        if precision is None and DTYPES[c.dtype].inexact:
            precision = self.backend.precision(c)
        gradient_of = name if c.direction == "grad" else None
        found = reference(case, dtype or c.dtype, operands, precision, self.work, gradient_of)
        recipe = {} if name == gradient_of else {"data": name}
        return replace(found, facts=found.facts | recipe) if recipe else found

    def weakness(self) -> Weakness | None:
        """Why the check proves little, and what its case says to that, or that it is due to the backend's precision."""
        config, dtype = self.check.case.config, DTYPES[self.check.dtype]
        told = None if config.expected_error or config.probe else weakness(map(self.reference, self.names))
        if told is None:
            return None
        if config.weak is None and dtype.inexact:
            usual = declared(dtype)
            if weakness(self.reference(name, usual) for name in self.names) is None:
                return Weakness(told, "only in the precision that the backend declares")
        return Weakness(told, config.weak)

    def compare(self, outcome: Results | Exception) -> tuple[Verdict, str, Measurement]:
        expected_error = self.check.case.config.expected_error
        if expected_error:
            if isinstance(outcome, Exception):
                return "pass", f"{REFUSED}{_told(outcome)}", Measurement()
            reason = f"{ACCEPTED}({expected_error}): result has shape {outcome[None].shape}"
            return "fail", reason, Measurement()
        if isinstance(outcome, Exception):
            self.reference(self.names[0])  # a case that contradicts itself is told as such
            return "fail", f"{RAISED}{_told(outcome)}", Measurement()
        found = self.comparisons(outcome)
        problems = [self.told(name, outcome, comparison) for name, comparison in found.items() if comparison.problem]
        return ("fail" if problems else "pass"), "; ".join(problems), _worst(list(found.values()))

    def comparisons(self, results: Results) -> dict[str | None, Comparison]:
        """Every result with its reference."""
        found = {}
        for name in self.names:
            if name in results:
                found[name] = compare(results[name], self.reference(name))
            else:
                found[name] = Comparison("missing: the framework sees no connection to the result", Measurement())
        return found

    def told(self, name: str | None, results: Results, comparison: Comparison) -> str:
        """What is wrong with one of the results."""
        of = "gradient of {}" if self.check.direction == "grad" else "on {} inputs"
        told = comparison.problem if name is None else f"{of.format(name)}: {comparison.problem}"
        if name not in results:
            return told
        return told + consistent_with(results[name], self.reference(name), partial(self.reference, name))

    def probed(self, record: Record, result: Array) -> Record:
        """The record with what a probe observes; it fails where that is worse than what is declared."""
        expected = self.reference(None)
        assert expected.precision is not None
        if self.check.case.config.probe == "repeatable":
            observed = readout.again(result, self.again())
            record = replace(record, repeatable=observed["repeatable"] != effective.UNREPEATABLE)
        else:
            observed = readout.read(self.check.case, result, expected)
        record = replace(record, observed=observed)
        worse = effective.coarser(observed, expected.precision)
        if not worse:
            return record
        return replace(record, verdict="fail", reason="; ".join(filter(None, [record.reason, worse])))

    def again(self) -> Iterator[Array]:
        """The result once more, from new copies of the operands; and from copies that are aligned otherwise."""
        c = self.check
        operands = inputs.operands(c.case, c.dtype)
        for each in (operands, {name: memory.unaligned(array) for name, array in operands.items()}):
            yield self.backend.run(c, each)

    def shows(self, observed: Observed, outcome: Results | Exception) -> bool:
        """Whether the outcome is as `observed` says; of several results, each that is not right."""
        if isinstance(outcome, Exception):
            return self._shows(observed, outcome, self.names[0])
        if self.check.case.config.expected_error:
            return self._shows(observed, outcome[None], None)
        wrong = [name for name, comparison in self.comparisons(outcome).items() if comparison.problem]
        if observed.disconnected:
            return all(name not in outcome for name in wrong)
        return all(name in outcome and self._shows(observed, outcome[name], name) for name in wrong)

    def _shows(self, observed: Observed, outcome: Array | Exception, name: str | None) -> bool:
        check = replace(self.check, case=self.case(name))
        if not shows(observed, check, outcome, self.expected(name), partial(self.reference, name)):
            return False
        expected = self.expected(name)
        if not self.check.case.config.probe_design or isinstance(outcome, Exception) or expected is None:
            return True
        # The bound of a probe is wide, for magnitudes cancel; what it observes is held against what is recorded
        assert expected.precision is not None
        recorded = expected.precision.but(**observed.precision or {})
        return not effective.coarser(readout.read(self.check.case, outcome, expected), recorded)


def _worst(found: list[Comparison]) -> Measurement:
    """The measurement of the worst result, with a digest of all."""
    worst = max(found, key=_badness).measurement
    if len(found) == 1:
        return worst
    digests = "".join(str(comparison.measurement.digest) for comparison in found)
    return replace(worst, digest=hashlib.sha256(digests.encode()).hexdigest()[:16])


def _badness(comparison: Comparison) -> tuple[bool, float]:
    """Wrong before right, then by the error ratio; what could not even be compared is worst."""
    ratio = comparison.measurement.error_ratio
    return bool(comparison.problem), math.inf if ratio is None else ratio


def _with_deviations(
    record: Record, trial: _Trial, outcome: Results | Exception, entries: Sequence[Recorded]
) -> Record:
    """A difference that is recorded, and still as recorded, is a deviation; a recorded one that is gone is stale."""
    if record.verdict == "pass":
        gone = next((entry for entry in entries if entry.must_show), None)
        if gone is None:
            return record
        reason = f"{STALE}{gone.place} records `{gone.deviation.observed}`, but the result is right; remove the entry"
        return replace(record, verdict="fail", reason=reason)
    for entry in entries:
        if trial.shows(entry.deviation.observed, outcome):
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
