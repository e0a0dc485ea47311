"""A check that would pass whatever is computed says so, and the shipped cases contain none that does not say why."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specs.arithmetic.formats import DTYPES
from specs.arithmetic.precision import declared_precision
from specs.bound.bound import reference
from specs.case.attention import AttentionConfig
from specs.case.case import Case
from specs.case.einsum import EinsumConfig
from specs.case.loading import discover, load
from specs.inputs import designed, inputs
from specs.reference.reference import Reference
from specs.verdict.direction import DIRECTIONS
from specs.verdict.place import Place, checks
from specs.verdict.weakness import weak, weakness
from tests.support import ROOT


def expected(value: Any, error: Any = 0.0, **fields: Any) -> Reference:
    value = np.asarray(value, np.float64)
    return Reference(
        DTYPES["float32"], value, np.broadcast_to(error, value.shape), declared_precision(DTYPES["float32"]), **fields
    )


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (expected([0, 0, 0, 0, 1]), "80% of the right values are 0"),
        (expected([0, 0, 0, 1]), None),
        (expected([0, 0], signed=True), None),
        (expected([0, 0], facts={"terms": 0}), None),
        (expected([1, 2, 3], [1, 2, 1]), "the bound of 67% of the values is as wide as the value"),
        (expected([1, 2, 3], np.inf), "the bound of 100% of the values is as wide as the value"),
        (expected([np.inf, np.nan, 1], np.inf), None),
        (expected([1], facts={"saturated": 0.6}), "60% of the queries give all their weight to one of several keys"),
        (expected([1], facts={"saturated": 0.5}), None),
        (expected(np.zeros((0, 3))), None),
        (expected([[1, 0, 0], [0, 2, 0], [0, 0, 3]], facts={"on_diagonal": 3 / 9}), None),
        (expected(np.zeros((3, 3)), facts={"on_diagonal": 3 / 9}), "100% of the right values are 0"),
        (Reference(DTYPES["int32"], np.zeros(9, np.int32)), "100% of the right values are 0"),
    ],
)
def test_one_result(found: Reference, told: str | None) -> None:
    assert weak(found) == told


def test_a_check_is_weak_where_all_its_results_are() -> None:
    nothing, something = expected([0.0]), expected([1.0])
    assert weakness([nothing, nothing]) == "100% of the right values are 0"
    assert weakness([nothing, something]) is None
    assert weakness([]) is None


def test_attention_tells_how_many_queries_have_one_key() -> None:
    usual = {"q_len": 4, "kv_len": 8, "head_dim": 4}

    def saturated(**fields: Any) -> float:
        config = AttentionConfig.model_validate(usual | fields)
        return float(forward(Case("t::c", "c", Path("t.yaml"), 1, config), "float32").facts["saturated"])

    assert saturated() == 0
    assert saturated(scale=1000.0) == 1
    assert saturated(kv_len=1) == 0  # there is nothing to choose from
    assert saturated(q_len=0) == 0


def forward(case: Case, dtype: str) -> Reference:
    known = DTYPES[dtype]
    return reference(case, dtype, inputs.operands(case, dtype), declared_precision(known) if known.inexact else None)


def gradients(case: Case, dtype: str) -> Iterator[Reference]:
    operands = inputs.operands(case, dtype)
    for name in inputs.differentiable(operands):
        yield reference(case, dtype, operands, declared_precision(DTYPES[dtype]), None, name)


def weak_checks(case: Case) -> Iterator[str]:
    """Of a case's checks in the precision that each dtype promises."""
    place = Place("any", "cpu", {"einsum": ("einsum",), "attention": ("einsum",)}, ("eager",), tuple(DIRECTIONS))
    for check in checks(case, [place]):
        dtype = check.dtype
        recipes = (designed.with_recipe(case, name) for name in designed.applicable_recipes(case, dtype))
        forwards = (forward(each, dtype) for each in (case, *recipes))
        if told := weakness(forwards if check.direction == "forward" else gradients(case, dtype)):
            yield f"{case.id} {dtype} {check.direction}: {told}"


@pytest.mark.parametrize("file", discover([], ROOT), ids=lambda file: str(file.relative_to(ROOT)))
def test_no_shipped_case_is_weak_and_does_not_say_why(file: Path) -> None:
    cases = (case for case in load(file, ROOT) if not case.config.expected_error and not case.config.probe)
    found = {case: list(weak_checks(case)) for case in cases}
    assert not [told for case, each in found.items() if not case.config.weak for told in each]
    marked = [case for case in found if case.config.weak]
    assert not marked or any(found[case] for case in marked), "a mark that no case of the file needs"


def test_a_mark_changes_no_input_and_no_reference() -> None:
    said: dict[str, Any] = {"equation": "i,i->", "shapes": [[3], [3]]}
    plain, marked = (
        Case("t::c", "c", Path("t.yaml"), 1, EinsumConfig.model_validate(said | mark))
        for mark in ({}, {"weak": "it is short"})
    )
    assert forward(plain, "float32") is forward(marked, "float32")
