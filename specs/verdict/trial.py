"""Run one check on a backend: what it returned or raised, the references, and how the two compare."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

from specs.arithmetic.double_double import to_float64
from specs.arithmetic.formats import DTYPES, Array, Float64, dtype_name
from specs.arithmetic.precision import Precision, declared_precision
from specs.case.case import Config
from specs.inputs import inputs, memory
from specs.reference.reference import Reference
from specs.verdict.check import Check
from specs.verdict.comparison import Comparison, compare
from specs.verdict.diagnosis import diagnose
from specs.verdict.direction import DIRECTIONS, BackendProtocol, Direction, Output
from specs.verdict.execution import Execution, execute
from specs.verdict.record import Measurement, Weakness
from specs.verdict.weakness import find_weakness

MISSING = Comparison("missing: the framework sees no connection to the result", Measurement())


@dataclass(frozen=True)
class Returned:
    """The outputs that a backend returned; one that is required may be missing.

    side_effects  what its calls did besides, or what their results depend on (`specs.verdict.execution`)
    repeatable    whether further calls gave the same bits; None: there were none
    """

    results: Mapping[Output, Array]
    side_effects: tuple[str, ...] = ()
    repeatable: bool | None = None


@dataclass(frozen=True)
class Raised:
    """The exception that a backend raised instead."""

    error: Exception


Outcome = Returned | Raised


@dataclass(frozen=True)
class Trial:
    """One check on one backend; `work` is the folder in which expensive references are cached."""

    check: Check
    backend: BackendProtocol
    work: Path | None

    @cached_property
    def direction(self) -> Direction:
        return DIRECTIONS[self.check.direction]

    @cached_property
    def outputs(self) -> list[Output]:
        return self.direction.outputs(self.check)

    @cached_property
    def _references(self) -> dict[Output, Reference]:
        """The references that were asked for so far, in the declared precision."""
        return {}

    @cached_property
    def precision(self) -> Precision | None:
        """The declared precision; None for exact dtypes."""
        return self.backend.precision(self.check) if DTYPES[self.check.dtype].inexact else None

    def make_inputs(self) -> None:
        """Generate the operands of every output, so that running the check finds them."""
        for output in self.outputs:
            inputs.operands(output.case, self.check.dtype)

    def run(self) -> tuple[Outcome, float]:
        """Run the check: the outcome, and the seconds that the first calls took; inputs are generated before."""
        self.make_inputs()
        config = self.check.case.config
        again = config.expected_error is None and config.probe != "repeatable"  # which is run again in any case
        started = time.perf_counter()
        try:
            done = execute(self.backend, self.check, self.outputs, again)
        except Exception as error:
            return Raised(error), time.perf_counter() - started
        return Returned(done.results, (*done.side_effects, *self._kept(done)), done.repeatable), done.seconds

    def _kept(self, done: Execution) -> Iterator[str]:
        """The right results of a first call that another returned, wrongly, for other operands; each as a reason."""
        if not done.unmoved or done.others is None:
            return
        config = self.check.case.config
        case = replace(self.check.case, config=config.model_copy(update={"expect": None}))  # of its own operands
        references = self.direction.references(case, self.check.dtype, *done.others, self.precision)
        for output in done.unmoved:
            first, now = (
                compare(done.results[output], of) for of in (self.reference(output), references[output.label])
            )
            if now.problem and not first.problem:
                prefix = f"{output.description}: " if output.description else ""
                yield f"{prefix}a call on other operands returns the result of the first"

    def rerun(self) -> Iterator[Array]:
        """The result of two more runs: on new copies of the operands, and on copies with another alignment."""
        operands = inputs.operands(self.check.case, self.check.dtype)
        yield self.backend.run(self.check, memory.copy_all(operands))
        yield self.backend.run(self.check, {name: memory.unaligned(array) for name, array in operands.items()})

    def reference(
        self,
        output: Output,
        precision: Precision | None = None,
        config: Config | None = None,
        dtype: str | None = None,
    ) -> Reference:
        """The reference of an output; by default for the declared precision, the case's config, the check's dtype."""
        is_default = precision is None and config is None and dtype is None
        if is_default and output in self._references:
            return self._references[output]
        case, dtype = output.case, dtype or self.check.dtype
        operands = inputs.operands(case, self.check.dtype)
        if config is not None:
            case = replace(case, config=config)
        precision = precision or self.precision
        expected = self.direction.reference(case, dtype, operands, precision, self.work, output.label)
        if output.recipe:
            expected = replace(expected, facts=expected.facts | {"data": output.recipe})
        if is_default:
            self._references[output] = expected
        return expected

    def reference_value(self, output: Output, convert: Callable[[Array], Array]) -> Float64:
        """The reference's value, as components, of an output where all floating inputs are converted before."""
        case, dtype = output.case, self.check.dtype

        def converted(arrays: Mapping[str, Array]) -> dict[str, Array]:
            return {name: convert(x) if DTYPES[dtype_name(x.dtype)].inexact else x for name, x in arrays.items()}

        operands = converted(inputs.operands(case, dtype))
        extra = converted(self.direction.extra_inputs(case, dtype))
        return to_float64(self.direction.references(case, dtype, operands, extra, self.precision)[output.label].value)

    def compare_outputs(self, returned: Returned) -> TrialComparison:
        """Compare every output with its reference."""
        comparisons = {
            output: compare(returned.results[output], self.reference(output)) if output in returned.results else MISSING
            for output in self.outputs
        }
        return TrialComparison(self, returned, comparisons)

    def find_weakness(self) -> Weakness | None:
        """Why the check proves little; the mark is the case's own, or names the backend's precision as the cause."""
        config, dtype = self.check.case.config, DTYPES[self.check.dtype]
        reason = None if config.expected_error or config.probe else find_weakness(map(self.reference, self.outputs))
        if reason is None:
            return None
        if config.weak is None and dtype.inexact:
            default = declared_precision(dtype)
            if find_weakness(self.reference(output, default) for output in self.outputs) is None:
                return Weakness(reason, "only in the precision that the backend declares")
        return Weakness(reason, config.weak)


@dataclass(frozen=True)
class TrialComparison:
    """The outputs that were returned, each compared with its reference."""

    trial: Trial
    returned: Returned
    comparisons: Mapping[Output, Comparison]

    @property
    def wrong(self) -> list[Output]:
        return [output for output, comparison in self.comparisons.items() if comparison.problem]

    @property
    def reason(self) -> str:
        """The problems of all outputs, each with a likely cause; "" where all are right."""
        return "; ".join(map(self._reason, self.wrong))

    @property
    def measurement(self) -> Measurement:
        """The measurement of the worst output, with a digest of all outputs.

        A wrong output on the case's own inputs is worse than any on designed inputs: there a bound is often 0, and the
        ratio says nothing but that a bit is wrong.
        """
        worst = max(self.comparisons.items(), key=lambda item: _severity(*item))[1].measurement
        if len(self.comparisons) == 1:
            return worst
        digests = "".join(str(comparison.measurement.digest) for comparison in self.comparisons.values())
        return replace(worst, digest=hashlib.sha256(digests.encode()).hexdigest()[:16])

    def _reason(self, output: Output) -> str:
        problem = self.comparisons[output].problem
        reason = f"{output.description}: {problem}" if output.description else problem
        if output not in self.returned.results:
            return reason
        reevaluate, convert = partial(self.trial.reference, output), partial(self.trial.reference_value, output)
        return reason + diagnose(self.returned.results[output], reevaluate(), reevaluate, convert)


def _severity(output: Output, comparison: Comparison) -> tuple[bool, bool, float]:
    """Wrong is worse than right, then by the error ratio; values that could not be compared are worst."""
    ratio, is_wrong = comparison.measurement.error_ratio, bool(comparison.problem)
    return is_wrong, is_wrong and output.recipe is None, math.inf if ratio is None else ratio
