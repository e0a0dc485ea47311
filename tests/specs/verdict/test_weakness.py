"""A check that almost any result would pass is marked as weak, and a weak case of the suite says why it exists."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specs.arithmetic.formats import DTYPES
from specs.arithmetic.precision import declared_precision
from specs.case.attention import AttentionConfig
from specs.case.case import Case
from specs.case.einsum import EinsumConfig
from specs.case.loading import discover, load
from specs.inputs import designed, inputs
from specs.reference.reference import Reference
from specs.verdict.direction import DIRECTIONS
from specs.verdict.place import Place, iter_checks
from specs.verdict.weakness import find_result_weakness, find_weakness
from tests.support import ROOT


def make_reference(value: Any, error: Any = 0.0, **fields: Any) -> Reference:
    value = np.asarray(value, np.float64)
    return Reference(
        DTYPES["float32"], value, np.broadcast_to(error, value.shape), declared_precision(DTYPES["float32"]), **fields
    )


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        (make_reference([0, 0, 0, 0, 1]), "80% of the right values are 0"),
        (make_reference([0, 0, 0, 1]), None),
        (make_reference([0, 0], signed=True), None),
        (make_reference([0, 0], facts={"terms": 0}), None),
        (make_reference([1, 2, 3], [1, 2, 1]), "the bound of 67% of the values is as wide as the value"),
        (make_reference([1, 2, 3], np.inf), "the bound of 100% of the values is as wide as the value"),
        (make_reference([np.inf, np.nan, 1], np.inf), None),
        (
            make_reference([1], facts={"saturated": 0.6}),
            "60% of the queries give all their weight to one of several keys",
        ),
        (make_reference([1], facts={"saturated": 0.5}), None),
        (make_reference(np.zeros((0, 3))), None),
        (make_reference([[1, 0, 0], [0, 2, 0], [0, 0, 3]], facts={"on_diagonal": 3 / 9}), None),
        (make_reference(np.zeros((3, 3)), facts={"on_diagonal": 3 / 9}), "100% of the right values are 0"),
        (Reference(DTYPES["int32"], np.zeros(9, np.int32)), "100% of the right values are 0"),
    ],
)
def test_the_weakness_of_one_result(reference: Reference, reason: str | None) -> None:
    assert find_result_weakness(reference) == reason


def test_a_check_is_weak_where_all_its_results_are() -> None:
    nothing, something = make_reference([0.0]), make_reference([1.0])
    assert find_weakness([nothing, nothing]) == "100% of the right values are 0"
    assert find_weakness([nothing, something]) is None
    assert find_weakness([]) is None


def test_attention_records_the_fraction_of_saturated_queries() -> None:
    defaults = {"q_len": 4, "kv_len": 8, "head_dim": 4}

    def saturated(**fields: Any) -> float:
        config = AttentionConfig.model_validate(defaults | fields)
        return float(forward(Case("t::c", "c", Path("t.yaml"), 1, config), "float32").facts["saturated"])

    assert saturated() == 0
    assert saturated(scale=1000.0) == 1
    assert saturated(kv_len=1) == 0  # there is nothing to choose from
    assert saturated(q_len=0) == 0


def forward(case: Case, dtype: str) -> Reference:
    known = DTYPES[dtype]
    precision = declared_precision(known) if known.inexact else None
    return DIRECTIONS["forward"].reference(case, dtype, inputs.operands(case, dtype), precision)


def gradients(case: Case, dtype: str) -> Iterator[Reference]:
    operands = inputs.operands(case, dtype)
    for name in inputs.differentiable(operands):
        yield DIRECTIONS["grad"].reference(case, dtype, operands, declared_precision(DTYPES[dtype]), label=name)


def weak_checks(case: Case) -> Iterator[str]:
    """The weak checks of a case, in the default precision of each dtype."""
    place = Place("any", "cpu", {"einsum": ("einsum",), "attention": ("einsum",)}, ("eager",), tuple(DIRECTIONS))
    for check in iter_checks(case, [place]):
        dtype = check.dtype
        recipes = (designed.with_recipe(case, name) for name in designed.applicable_recipes(case, dtype))
        forwards = (forward(variant, dtype) for variant in (case, *recipes))
        if reason := find_weakness(forwards if check.direction == "forward" else gradients(case, dtype)):
            yield f"{case.id} {dtype} {check.direction}: {reason}"


@pytest.mark.parametrize("file", discover([], ROOT), ids=lambda file: str(file.relative_to(ROOT)))
def test_every_weak_case_of_the_suite_says_why_it_is_worth_having(file: Path) -> None:
    cases = (case for case in load(file, ROOT) if not case.config.expected_error and not case.config.probe)
    reasons = {case: list(weak_checks(case)) for case in cases}
    assert not [reason for case, case_reasons in reasons.items() if not case.config.weak for reason in case_reasons]
    marked = [case for case in reasons if case.config.weak]
    assert not marked or any(reasons[case] for case in marked), "a mark that no case of the file needs"


def test_a_mark_changes_no_input_and_no_reference() -> None:
    fields: dict[str, Any] = {"equation": "i,i->", "shapes": [[3], [3]]}
    plain, marked = (
        Case("t::c", "c", Path("t.yaml"), 1, EinsumConfig.model_validate(fields | mark))
        for mark in ({}, {"weak": "it is short"})
    )
    assert forward(plain, "float32") is forward(marked, "float32")
