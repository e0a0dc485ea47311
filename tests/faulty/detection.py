"""Both sides of a policy: how many wrong results it refuses, and how many right ones.

A trial is one check on one backend.  A fault is tried where it changes the result's bits and NumPy itself passes; a
correct backend is tried on inputs that no shipped check has, made from an id of their own.
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
from specs.bound.bound import reference
from specs.case.case import Case
from specs.case.einsum import EinsumConfig
from specs.case.loading import discover
from specs.inputs import inputs
from specs.verdict.check import Check
from specs.verdict.place import checks
from tests.faulty.backward import Backward
from tests.faulty.correct import CORRECT
from tests.faulty.fault import ROOT, cases_of, check_named, verdict_on
from tests.faulty.faults import FAULTS
from tests.faulty.policies import POLICIES, Evidence, accepts

OURS = "this suite"


@dataclass(frozen=True)
class Count:
    """Of one backend: how many trials there were, and how many results each policy refused."""

    name: str
    trials: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: Count) -> Count:
        return Count(self.name, self.trials + other.trials, self.refused + other.refused)


def of_faults(names: Iterable[str], everywhere: bool, jobs: int) -> Iterator[Count]:
    """For each fault its count, over the checks that it names, or over every check that NumPy has."""
    yield from _in_processes(_of_fault, [(name, everywhere) for name in names], jobs)


def of_correct_backends(repetitions: int, jobs: int) -> list[Count]:
    """For each correct backend its count, over every check of random numbers, each with this many sets of inputs."""
    shares = [(repetition, part, jobs) for repetition in range(repetitions) for part in range(jobs)]
    totals = [Count(" ".join((right.__doc__ or "").split())) for right in CORRECT]
    for counts in _in_processes(_of_correct, shares, jobs):
        totals = [total + count for total, count in zip(totals, counts, strict=True)]
    return totals


def _in_processes(count: Callable[[Any], Any], shares: list[Any], jobs: int) -> Iterator[Any]:
    """Spawned, not forked: torch and NumPy have threads of their own."""
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(count, shares)


def _of_fault(share: tuple[str, bool]) -> Count:
    name, everywhere = share
    fault = next(fault for fault in FAULTS if fault.name == name)
    chosen = _every_check() if everywhere else [check_named(named) for named in fault.caught_by]
    wrong, refused, trials = fault.backend(), Counter[str](), 0
    for check in chosen:
        if check.case.config.expected_error:  # nothing is right that another policy could compare with
            continue
        right, got = _right(check), _results(check, wrong)
        if not got or _same_bits(got, _results(check, right)):
            continue
        evidence = _evidence(got, _standards(check))
        if evidence and verdict_on(right, check).verdict == "pass":
            trials += 1
            refused.update(_refusing(check, wrong, evidence))
    return Count(name, trials, refused)


def _right(check: Check) -> Numpy:
    """NumPy, with gradients of attention by hand where they are checked."""
    return Backward() if check.direction == "grad" else Numpy()


def _of_correct(share: tuple[int, int, int]) -> list[Count]:
    """All correct backends in turn on each check, so that its reference is computed once."""
    repetition, part, parts = share
    backends = [right() for right in CORRECT]
    trials, refused = Counter[int](), [Counter[str]() for _ in CORRECT]
    known = registry.deviations("numpy")
    for check in _every_check()[part::parts]:
        case = check.case
        if not DTYPES[check.dtype].inexact or not inputs.has_random_terms(case) or _has_own_dtypes(case):
            continue
        if any(entry.deviation.applies(check) for entry in known):  # NumPy itself is not right there
            continue
        fresh = replace(check, case=replace(case, id=f"{case.id}#{repetition}"))
        standards = _standards(fresh)
        for index, right in enumerate(backends):
            if evidence := _evidence(_results(fresh, right), standards):
                trials[index] += 1
                refused[index].update(_refusing(fresh, right, evidence))
    return [Count("", trials[index], refused[index]) for index in range(len(CORRECT))]


def _has_own_dtypes(case: Case) -> bool:
    """Whether operands have dtypes of their own: the correct backends widen by one, and return it."""
    return isinstance(case.config, EinsumConfig) and case.config.operand_dtypes is not None


def _refusing(check: Check, backend: Numpy, evidence: Sequence[Evidence]) -> Iterator[str]:
    if verdict_on(backend, check).verdict != "pass":
        yield OURS
    yield from (name for name, policy in POLICIES.items() if not all(accepts(policy, each) for each in evidence))


@cache
def _every_check() -> list[Check]:
    """Every check of NumPy that computes something."""
    cases = (case for file in discover([], ROOT) for case in cases_of(file).values())
    found = (check for case in cases if not case.config.expected_error for check in checks(case, [Numpy.place("cpu")]))
    return [check for check in found if not Numpy().unsupported(check)]


def _standards(check: Check) -> dict[str | None, tuple[Array, Array]]:
    """Of the result or each gradient what is right, and what plain loops give; nothing where those refuse."""
    naive = _results(replace(check, implementation="einsum"), _right(check))
    return {name: (_expected(check, name), plain) for name, plain in naive.items()}


def _evidence(got: Mapping[str | None, Array], standards: Mapping[str | None, tuple[Array, Array]]) -> list[Evidence]:
    """What the other policies judge by, the result or each gradient; nothing where the backend refuses."""
    nothing = np.empty(0)
    return [Evidence(got.get(name, nothing), *standard) for name, standard in standards.items()] if got else []


def _expected(check: Check, name: str | None) -> Array:
    """The reference, rounded once to the dtype."""
    case, dtype = check.case, DTYPES[check.dtype]
    declared = Numpy().precision(check) if dtype.inexact else None
    exact = reference(case, check.dtype, inputs.operands(case, check.dtype), declared, None, name)
    value = to_float64(exact.value) if dtype.inexact else np.asarray(exact.value)
    return cast(value[..., 0] + 1j * value[..., 1] if dtype.kind == "complex" else value, dtype)


def _results(check: Check, backend: Numpy) -> Mapping[str | None, Array]:
    """The result, which has no name, or the gradients; none of a backend that raises whatever it may."""
    operands = inputs.operands(check.case, check.dtype)
    try:
        if check.direction == "forward":
            return {None: backend.run(check, operands)}
        return {**backend.gradient(check, operands, inputs.cotangent(check.case, check.dtype))}
    except Exception:
        return {}


def _same_bits(some: Mapping[str | None, Array], others: Mapping[str | None, Array]) -> bool:
    def bits(x: Array) -> tuple[object, ...]:
        return x.shape, x.dtype, x.tobytes()

    return {name: bits(x) for name, x in some.items()} == {name: bits(x) for name, x in others.items()}
