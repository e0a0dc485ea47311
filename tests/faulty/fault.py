"""What a fault is: a backend with one mistake in it, and the checks that must find that mistake.

A fault is NumPy's backend with a single step replaced, so everything else in its results is right, and whatever a
check finds is the mistake.  The class says what is computed wrongly, and its docstring who does so; the decorator
`fault` names the checks, spelled `attention/causal::square[einsum-float32]`: case, implementation, dtype; those of
gradients end in `-grad`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TypeVar

from backends.attention.by_hand import ByHand
from backends.numpy import Numpy
from specs.case.case import Case
from specs.case.loading import load
from specs.verdict.check import Check
from specs.verdict.record import Record
from specs.verdict.verdict import judge
from tests.faulty.wrong import formulated
from tests.support import ROOT

CHECK = re.compile(
    r"(?P<case>(?P<file>[^:]+)::[^\[]+)\[(?P<implementation>.+)-(?P<dtype>(?!grad\b)\w+)(?P<grad>-grad)?\]"
)


class Finding(StrEnum):
    """The kind of difference that a verdict found, in the words of its reason."""

    VALUES = "are outside the error bound"
    TOGETHER = "values are each within the bound, but together"
    NAN = "are NaN on one side only"
    EXACT = "exact values differ"
    SHAPE = "shape is"
    DTYPE = "dtype is"
    ACCEPTED = "accepted what must be refused"
    RAISED = "raised ValueError"
    MISSING = "missing: the framework sees no connection"
    IN_FLOAT32 = "consistent with arithmetic in float32"
    IN_TF32 = "consistent with operands rounded to TF32"
    IN_BFLOAT16 = "consistent with operands rounded to bfloat16"


@dataclass(frozen=True)
class Fault:
    """One mistake, the backend that makes it, and each check that must find it with what it must find."""

    name: str
    mistake: str
    backend: type[Numpy]
    caught_by: Mapping[str, Finding]


FAULTS: list[Fault] = []
Wrong = TypeVar("Wrong", bound=type[Numpy] | type[ByHand])


def fault(name: str, **caught: Sequence[str]) -> Callable[[Wrong], Wrong]:
    """Record the decorated class as a fault; `values=[...]` are the checks that find `Finding.VALUES`, and so on.

    Of a step of attention the backend has both formulations with that step.
    """

    def record(wrong: Wrong) -> Wrong:
        backend = wrong if issubclass(wrong, Numpy) else formulated(wrong)
        caught_by = {check: Finding[finding.upper()] for finding, checks in caught.items() for check in checks}
        FAULTS.append(Fault(name, " ".join((wrong.__doc__ or "").split()), backend, caught_by))
        return wrong

    return record


# Checks by name -------------------------------------------------------------------------------------------------------


@cache
def cases_of(file: Path) -> dict[str, Case]:
    return {case.id: case for case in load(file, ROOT)}


def check_named(name: str) -> Check:
    """The check that a fault names; LookupError if no case file has it."""
    parts = CHECK.fullmatch(name)
    if parts is None:
        raise LookupError(f"{name!r} is not spelled file::case[implementation-dtype], with -grad or without")
    file, implementation, dtype = ROOT / "cases" / f"{parts['file']}.yaml", parts["implementation"], parts["dtype"]
    case = cases_of(file).get(parts["case"]) if file.exists() else None
    if case is None or dtype not in case.config.dtypes:
        raise LookupError(f"no case has the check {name}")
    offered = implementation in Numpy.implementations[case.kind]
    if not offered or not Numpy.distinct(case.config, implementation, "cpu"):
        raise LookupError(f"NumPy has no implementation {implementation!r} of {name}")
    return Check(case, "numpy", "cpu", implementation, "eager", dtype, "grad" if parts["grad"] else "forward")


def verdict_on(backend: Numpy, check: Check) -> Record:
    """The verdict that a run of pytest would give this backend."""
    return judge(check, backend, f"{check.case.file}::{check.name}", str(check.case.file))


def caught(fault: Fault) -> Iterator[tuple[str, Finding, Record]]:
    """Each named check of a fault, what it must find, and the record of what it did find."""
    backend = fault.backend()
    for name, finding in fault.caught_by.items():
        yield name, finding, verdict_on(backend, check_named(name))
