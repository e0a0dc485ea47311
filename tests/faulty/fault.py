"""Faults: backends with one mistake each, and the checks that must find that mistake.

A fault is NumPy's backend with a single step replaced, so the mistake is the only thing that a check can find.  The
class computes something wrongly, and its docstring says what, and who makes this mistake; the decorator `fault` names
the checks, written as `attention/causal::square[einsum-float32]`: case, implementation, dtype; those of gradients end
in `-grad`.
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
from tests.faulty.wrong import make_backend
from tests.support import ROOT

CHECK = re.compile(
    r"(?P<case>(?P<file>[^:]+)::[^\[]+)\[(?P<implementation>.+)-(?P<dtype>(?!grad\b)\w+)(?P<grad>-grad)?\]"
)


class Finding(StrEnum):
    """The kind of difference that a verdict found, as the part of its reason that names it."""

    VALUES = "are outside the error bound"
    TOGETHER = "values are each within the bound, but together"
    NAN = "are NaN on one side only"
    EXACT = "exact values differ"
    SHAPE = "shape is"
    DTYPE = "dtype is"
    ACCEPTED = "accepted what must be refused"
    RAISED = "raised ValueError"
    MISSING = "missing: the framework sees no connection"
    CHANGED = "was changed in place"
    BUFFER = "returns its result in the memory of an earlier one"
    BITS = "not the same bits twice"
    KEPT = "a call on other operands returns the result of the first"
    IN_FLOAT32 = "consistent with arithmetic in float32"
    IN_TF32 = "consistent with operands rounded to TF32"
    IN_BFLOAT16 = "consistent with operands rounded to bfloat16"


@dataclass(frozen=True)
class Fault:
    """One mistake, the backend that makes it, and the checks that must find it, each with the finding it must make.

    step  the steps of attention that are wrong, where the fault consists of these
    """

    name: str
    mistake: str
    backend: type[Numpy]
    caught_by: Mapping[str, Finding]
    step: type[ByHand] | None = None


FAULTS: list[Fault] = []
FaultyClass = TypeVar("Wrong", bound=type[Numpy] | type[ByHand])


def fault(name: str, **checks_by_finding: Sequence[str]) -> Callable[[FaultyClass], FaultyClass]:
    """Register the decorated class as a fault; `values=[...]` are the checks that find `Finding.VALUES`, and so on.

    A class that overrides steps of attention becomes a backend whose two formulations both use these steps.
    """

    def record(cls: FaultyClass) -> FaultyClass:
        backend = cls if issubclass(cls, Numpy) else make_backend(cls)
        caught_by = {
            check: Finding[finding.upper()] for finding, checks in checks_by_finding.items() for check in checks
        }
        step = None if issubclass(cls, Numpy) else cls
        FAULTS.append(Fault(name, " ".join((cls.__doc__ or "").split()), backend, caught_by, step))
        return cls

    return record


# Checks by name -------------------------------------------------------------------------------------------------------


@cache
def cases_of(file: Path) -> dict[str, Case]:
    """The cases of a file by id."""
    return {case.id: case for case in load(file, ROOT)}


def find_check(name: str) -> Check:
    """The check that a fault names; LookupError if no case file has it."""
    parts = CHECK.fullmatch(name)
    if parts is None:
        raise LookupError(f"{name!r} is not of the form file::case[implementation-dtype], with -grad or without")
    file, implementation, dtype = ROOT / "cases" / f"{parts['file']}.yaml", parts["implementation"], parts["dtype"]
    case = cases_of(file).get(parts["case"]) if file.exists() else None
    if case is None or dtype not in case.config.dtypes:
        raise LookupError(f"no case has the check {name}")
    offered = implementation in Numpy.implementations[case.kind]
    if not offered or not Numpy.is_distinct(case.config, implementation, "cpu"):
        raise LookupError(f"NumPy has no implementation {implementation!r} of {name}")
    return Check(case, "numpy", "cpu", implementation, "eager", dtype, "grad" if parts["grad"] else "forward")


def judge_backend(backend: Numpy, check: Check) -> Record:
    """Judge a backend as a run of pytest would."""
    return judge(check, backend, f"{check.case.file}::{check.name}", str(check.case.file))


def run_named_checks(fault: Fault) -> Iterator[tuple[str, Finding, Record]]:
    """Run the named checks of a fault: for each its name, the finding it must make, and its record."""
    backend = fault.backend()
    for name, finding in fault.caught_by.items():
        yield name, finding, judge_backend(backend, find_check(name))
