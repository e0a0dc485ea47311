"""Compare policies by how many wrong results they refuse, and how many right ones.

A trial is one check on one backend.  A fault is tried where it changes the result's bits and NumPy itself passes; a
correct backend is tried on inputs that no shipped check has, generated from an id of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from multiprocessing import get_context
from typing import Any

import numpy as np

from backends.discovery import registry
from backends.numpy import Numpy
from specs.arithmetic.double_double import to_float64
from specs.arithmetic.formats import DTYPES, Array, cast
from specs.case.case import Case
from specs.case.einsum import EinsumConfig
from specs.case.loading import discover
from specs.inputs import inputs
from specs.verdict.check import Check
from specs.verdict.direction import DIRECTIONS, Output
from specs.verdict.execution import execute
from specs.verdict.place import iter_checks
from tests.faulty.backward import Backward
from tests.faulty.correct import CORRECT
from tests.faulty.fault import ROOT, cases_of, find_check, judge_backend
from tests.faulty.faults import FAULTS
from tests.faulty.policies import POLICIES, Evidence, accepts

OURS = "this suite"


@dataclass(frozen=True)
class Count:
    """For one backend: the number of trials, and of the results that each policy refused."""

    name: str
    trials: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: Count) -> Count:
        return Count(self.name, self.trials + other.trials, self.refused + other.refused)


def count_refusals_of_faults(names: Iterable[str], everywhere: bool, jobs: int) -> Iterator[Count]:
    """Count refusals of each fault, over the checks that it names, or over every check that NumPy has."""
    yield from _in_processes(_count_fault, [(name, everywhere) for name in names], jobs)


def count_refusals_of_correct_backends(repetitions: int, jobs: int) -> list[Count]:
    """Count refusals of each correct backend, over every check of random data, `repetitions` sets of inputs each."""
    shares = [(repetition, part, jobs) for repetition in range(repetitions) for part in range(jobs)]
    totals = [Count(" ".join((backend.__doc__ or "").split())) for backend in CORRECT]
    for counts in _in_processes(_count_correct, shares, jobs):
        totals = [total + count for total, count in zip(totals, counts, strict=True)]
    return totals


def _in_processes(count: Callable[[Any], Any], shares: list[Any], jobs: int) -> Iterator[Any]:
    """Map over processes, which are spawned and not forked because torch and NumPy have threads."""
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(count, shares)


def _count_fault(share: tuple[str, bool]) -> Count:
    name, everywhere = share
    fault = next(fault for fault in FAULTS if fault.name == name)
    selection = _all_checks() if everywhere else [find_check(check_name) for check_name in fault.caught_by]
    backend, refused, trials = fault.backend(), Counter[str](), 0
    for check in selection:
        if check.case.config.expected_error:  # there is no right result for other policies to compare with
            continue
        correct, results = _correct_backend(check), _results(check, backend)
        if not results or _same_bits(results, _results(check, correct)):
            continue
        evidence = _evidence(results, _references(check))
        if evidence and judge_backend(correct, check).verdict == "pass":
            trials += 1
            refused.update(_refusing_policies(check, backend, evidence))
    return Count(name, trials, refused)


def _correct_backend(check: Check) -> Numpy:
    """NumPy, or for gradients NumPy with a backward pass written by hand."""
    return Backward() if check.direction == "grad" else Numpy()


def _count_correct(share: tuple[int, int, int]) -> list[Count]:
    """Count refusals per correct backend; all run each check in turn, so that its reference is computed once."""
    repetition, part, parts = share
    backends = [backend() for backend in CORRECT]
    trials, refused = Counter[int](), [Counter[str]() for _ in CORRECT]
    deviations = registry.deviations("numpy")
    for check in _all_checks()[part::parts]:
        case = check.case
        if not DTYPES[check.dtype].inexact or not inputs.has_random_terms(case) or _has_own_dtypes(case):
            continue
        if any(entry.deviation.applies(check) for entry in deviations):  # NumPy itself is wrong there
            continue
        fresh = replace(check, case=replace(case, id=f"{case.id}#{repetition}"))
        references = _references(fresh)
        for index, backend in enumerate(backends):
            if evidence := _evidence(_results(fresh, backend), references):
                trials[index] += 1
                refused[index].update(_refusing_policies(fresh, backend, evidence))
    return [Count("", trials[index], refused[index]) for index in range(len(CORRECT))]


def _has_own_dtypes(case: Case) -> bool:
    """Whether operands have different dtypes: the correct backends widen and return the dtype of the first."""
    return isinstance(case.config, EinsumConfig) and case.config.operand_dtypes is not None


def _refusing_policies(check: Check, backend: Numpy, evidence: Sequence[Evidence]) -> Iterator[str]:
    if judge_backend(backend, check).verdict != "pass":
        yield OURS
    yield from (name for name, policy in POLICIES.items() if not all(accepts(policy, item) for item in evidence))


@cache
def _all_checks() -> list[Check]:
    """Every check of a valid case that NumPy supports."""
    cases = (case for file in discover([], ROOT) for case in cases_of(file).values())
    place = Numpy.place("cpu")
    candidates = (check for case in cases if not case.config.expected_error for check in iter_checks(case, [place]))
    return [check for check in candidates if not Numpy().unsupported(check)]


def _references(check: Check) -> dict[Output, tuple[Array, Array]]:
    """For each output the right value, and the result of NumPy's plain loops; empty where those raise."""
    naive = _results(replace(check, implementation="einsum"), _correct_backend(check))
    return {output: (_expected(check, output), result) for output, result in naive.items()}


def _evidence(results: Mapping[Output, Array], references: Mapping[Output, tuple[Array, Array]]) -> list[Evidence]:
    """The evidence for the other policies, for each output; empty where the backend raises."""
    missing = np.empty(0)
    if not results:
        return []
    return [Evidence(results.get(output, missing), *pair) for output, pair in references.items()]


def _expected(check: Check, output: Output) -> Array:
    """The reference of an output, rounded once to the dtype."""
    case, dtype = output.case, DTYPES[check.dtype]
    declared = Numpy().precision(check) if dtype.inexact else None
    operands = inputs.operands(case, check.dtype)
    exact = DIRECTIONS[check.direction].reference(case, check.dtype, operands, declared, label=output.label)
    value = to_float64(exact.value) if dtype.inexact else np.asarray(exact.value)
    return cast(value[..., 0] + 1j * value[..., 1] if dtype.kind == "complex" else value, dtype)


def _results(check: Check, backend: Numpy) -> Mapping[Output, Array]:
    """The outputs on the case's own inputs; empty if the backend raises anything."""
    outputs = [output for output in DIRECTIONS[check.direction].outputs(check) if output.recipe is None]
    try:
        return execute(backend, check, outputs, again=False).results
    except Exception:
        return {}


def _same_bits(results: Mapping[Output, Array], others: Mapping[Output, Array]) -> bool:
    def bits(x: Array) -> tuple[object, ...]:
        return x.shape, x.dtype, x.tobytes()

    return {output: bits(x) for output, x in results.items()} == {output: bits(x) for output, x in others.items()}
