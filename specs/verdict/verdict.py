"""From a check to its record: inputs, reference, one run of the backend, comparison, recorded deviations.

An exception of a framework is a regular outcome: it is compared with what the case expects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from specs.arithmetic.formats import Array
from specs.reference.reference import Reference
from specs.verdict import effective, readout
from specs.verdict.check import Check
from specs.verdict.deviation import DeviationEntry, Observation, find_named_entries, find_possible_entries
from specs.verdict.direction import BackendProtocol, Output, is_out_of_memory, summarize_exception
from specs.verdict.execution import SideEffectError
from specs.verdict.memory import describe_excess
from specs.verdict.observation import is_observed
from specs.verdict.record import ACCEPTED, RAISED, REFUSED, STALE, Measurement, Record, Verdict
from specs.verdict.trial import Outcome, Raised, Returned, Trial, TrialComparison


def judge(
    check: Check,
    backend: BackendProtocol,
    id: str,
    file: str,
    deviations: Sequence[DeviationEntry] = (),
    work: Path | None = None,
    max_memory: float | None = None,
) -> Record:
    """Run one check to its verdict.

    `id` is pytest's node id and `file` the case file, as they are written in the record; `deviations` are all that are
    recorded for the backend; `work` is the folder in which expensive references are cached; a check that needs more
    than `max_memory` GiB is unsupported.  Raises CaseError for a case that contradicts itself, and otherwise only for
    faults of the suite.
    """
    if unsupported := backend.unsupported(check) or describe_excess(check, max_memory):
        return _record(check, id, file, "unsupported", unsupported)
    trial = Trial(check, backend, work)
    outcome, seconds = trial.run()
    if isinstance(outcome, Raised) and is_out_of_memory(outcome.error):
        return make_error_record(check, id, file, f"out of memory: {summarize_exception(outcome.error)}", seconds)
    finding = _finding(trial, outcome)
    record = _record(
        check,
        id,
        file,
        finding.verdict,
        finding.reason,
        seconds=seconds,
        measurement=finding.measurement,
        weak=trial.find_weakness(),
        repeatable=outcome.repeatable if isinstance(outcome, Returned) else None,
    )
    if check.case.config.probe and isinstance(outcome, Returned):
        record = _with_readout(record, trial, outcome.results[trial.outputs[0]])
    return _with_side_effects(_with_deviations(record, finding, deviations), outcome)


def make_error_record(check: Check, id: str, file: str, reason: str, seconds: float = 0.0) -> Record:
    """The record of a check that ended without a result."""
    return _record(check, id, file, "error", reason, seconds=seconds)


def _record(check: Check, id: str, file: str, verdict: Verdict, reason: str, **evidence: Any) -> Record:
    """A record with the identity of the check; `evidence` holds further fields by name."""
    case = check.case
    return Record(
        id=id, file=file, line=case.line, case=case.id, kind=case.kind, backend=check.backend, device=check.device,
        implementation=check.implementation, mode=check.mode, dtype=check.dtype, direction=check.direction,
        verdict=verdict, reason=reason, **evidence,
    )  # fmt: skip


@dataclass(frozen=True)
class _Finding:
    """The verdict on an outcome before deviations are applied.

    `reason` is that of an outcome that was not compared.  The reason of a `comparison` holds a likely cause, and costs
    more to find than the verdict, so it is asked for only where no recorded deviation gives the reason.
    """

    trial: Trial
    outcome: Outcome
    verdict: Verdict
    reason: str = ""
    comparison: TrialComparison | None = None

    @property
    def measurement(self) -> Measurement:
        return self.comparison.measurement if self.comparison else Measurement()

    def is_observed(self, observed: Observation) -> bool:
        """Whether the outcome is as `observed` describes it; with several outputs, every wrong one must be."""
        first = self.trial.outputs[0]
        if isinstance(self.outcome, Raised):
            if isinstance(self.outcome.error, SideEffectError):
                return False
            return self._is_observed_in(observed, first, self.outcome.error)
        results = self.outcome.results
        if self.comparison is None:
            return self._is_observed_in(observed, first, results[first])
        wrong = self.comparison.wrong
        if observed.disconnected:
            return all(output not in results for output in wrong)
        return all(output in results and self._is_observed_in(observed, output, results[output]) for output in wrong)

    def _is_observed_in(self, observed: Observation, output: Output, result: Array | Exception) -> bool:
        check, reevaluate = replace(self.trial.check, case=output.case), partial(self.trial.reference, output)
        expected = _expected(self.trial, output)
        if not is_observed(observed, check, result, expected, reevaluate):
            return False
        if not output.case.config.probe_design or isinstance(result, Exception) or expected is None:
            return True
        # The bound of a probe is wide because magnitudes cancel, so its readout is compared with the recorded precision
        assert expected.precision is not None
        recorded_precision = expected.precision.replace(**observed.precision or {})
        return not effective.describe_coarser(readout.read(self.trial.check.case, result, expected), recorded_precision)


def _finding(trial: Trial, outcome: Outcome) -> _Finding:
    expected_error = trial.check.case.config.expected_error
    if isinstance(outcome, Raised) and isinstance(outcome.error, SideEffectError):
        return _Finding(trial, outcome, "fail", str(outcome.error))
    if expected_error:
        if isinstance(outcome, Raised):
            return _Finding(trial, outcome, "pass", f"{REFUSED}{summarize_exception(outcome.error)}")
        shape = outcome.results[trial.outputs[0]].shape
        return _Finding(trial, outcome, "fail", f"{ACCEPTED}({expected_error}): result has shape {shape}")
    if isinstance(outcome, Raised):
        trial.reference(trial.outputs[0])  # raises for a case that contradicts itself
        return _Finding(trial, outcome, "fail", f"{RAISED}{summarize_exception(outcome.error)}")
    comparison = trial.compare_outputs(outcome)
    return _Finding(trial, outcome, "fail" if comparison.wrong else "pass", comparison=comparison)


def _expected(trial: Trial, output: Output) -> Reference | None:
    """The reference of an output; None for a case that every backend must refuse."""
    return None if trial.check.case.config.expected_error else trial.reference(output)


def _with_readout(record: Record, trial: Trial, result: Array) -> Record:
    """The record with the readout of a probe; the check fails where that is coarser than declared."""
    expected = trial.reference(trial.outputs[0])
    assert expected.precision is not None
    if trial.check.case.config.probe == "repeatable":
        observed = readout.compare_runs(result, trial.rerun())
        record = replace(record, repeatable=observed["repeatable"] != effective.UNREPEATABLE)
    else:
        observed = readout.read(trial.check.case, result, expected)
    record = replace(record, observed=observed)
    worse = effective.describe_coarser(observed, expected.precision)
    if not worse:
        return record
    return replace(record, verdict="fail", reason="; ".join(filter(None, [record.reason, worse])))


def _with_side_effects(record: Record, outcome: Outcome) -> Record:
    """The record with what the calls did besides: that fails whatever they returned, a recorded difference too."""
    effects = outcome.side_effects if isinstance(outcome, Returned) else ()
    if not effects:
        return record
    wrong = [record.reason] if record.verdict == "fail" else []
    return replace(record, verdict="fail", deviation=None, reason="; ".join([*wrong, *effects]))


def _with_deviations(record: Record, finding: _Finding, entries: Sequence[DeviationEntry]) -> Record:
    """The record with deviations applied: an observed entry makes it a deviation, an entry that is gone is stale.

    What other cases may show is only looked at where the check is wrong, and does not become stale.
    """
    named = find_named_entries(entries, finding.trial.check)
    if record.verdict == "pass":
        stale = next((entry for entry in named if entry.must_show), None)
        if stale is None:
            return record
        reason = f"{STALE}{stale.place} records `{stale.deviation.observed}`, but the result is right; remove the entry"
        return replace(record, verdict="fail", reason=reason)
    possible = find_possible_entries(entries, finding.trial.check)
    for entry in [*named, *possible]:
        if finding.is_observed(entry.deviation.observed):
            fields: dict[str, Any] = entry.deviation.model_dump(exclude_unset=True) | {"place": entry.place}
            return replace(record, verdict="deviation", reason=entry.deviation.reason, deviation=fields)
    observations = " or ".join(f"`{entry.deviation.observed}` ({entry.place})" for entry in named)
    recorded = f"recorded is {observations}" if named else ""
    wrong = finding.comparison.reason if finding.comparison else ""
    return replace(record, reason="; ".join(filter(None, [wrong, record.reason, recorded])))
