"""Observations of einsum that a deviation can record are checked."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from specs.arithmetic.formats import Array
from specs.case.case import Case
from specs.case.einsum import EinsumConfig
from specs.verdict import execution
from specs.verdict.check import Check
from specs.verdict.record import Record
from specs.verdict.verdict import judge
from tests.support.fake_backend import Fake, make_entry


def judge_einsum(result: Array, observed: dict[str, Any], dtype: str, **fields: Any) -> Record:
    config = EinsumConfig.model_validate({"dtypes": [dtype]} | fields)
    check = Check(Case("einsum/t::c", "c", Path("t.yaml"), 3, config), "fake", "cpu", "einsum", "eager", dtype)
    return judge(check, Fake(lambda *operands: result.copy()), "t.yaml::c[x]", "t.yaml", [make_entry(observed)])


def judge_integers(numbers: list[int], observed: dict[str, Any]) -> str:
    fields = {"equation": "i,i->i", "operands": [[16777217, 2147483647, 3], [1, 2, 5]]}
    return judge_einsum(np.array(numbers, np.int32), observed, "int32", **fields).verdict


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([16777216, -2147483648, 15], "deviation"),  # rounded to 24 bits; beyond the range anything
        ([16777218, 7, 15], "deviation"),
        ([16777216, 0, 16], "fail"),
        ([16777300, 0, 15], "fail"),
        ([16777217, -2, 15], "pass"),  # right, which does not contradict rounding
    ],
)
def test_integers_computed_in_float32(numbers: list[int], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "CHEAP_SECONDS", 0.0)  # what is returned is the same for all operands
    assert judge_integers(numbers, {"computed_in": "float32"}) == expected


def test_a_result_that_is_exactly_as_recorded() -> None:
    assert judge_integers([16777217, -2, 14], {"result": [16777217, -2, 14]}) == "deviation"
    assert judge_integers([16777217, -2, 13], {"result": [16777217, -2, 14]}) == "fail"
    assert judge_integers([16777217, -2, 15], {"result": [16777217, -2, 14]}) == "fail"  # right, so the entry is stale


@pytest.mark.parametrize(
    ("equation", "shapes", "moved"),
    [("ba", [[2, 3]], (0, 1)), ("...ba", [[4, 2, 3]], (0, 1, 2)), ("cB,Ba", [[2, 1], [1, 3]], None)],
)
def test_an_implicit_output_by_appearance(equation: str, shapes: list[Any], moved: tuple[int, ...] | None) -> None:
    operands = [np.arange(1.0, 1 + np.prod(shape)).reshape(shape) for shape in shapes]
    in_order_of_appearance = operands[0].transpose(moved) if moved else operands[0] @ operands[1]
    fields = {"equation": equation, "operands": [x.tolist() for x in operands]}
    observed = {"implicit_output": "by_appearance"}
    assert judge_einsum(in_order_of_appearance, observed, "float64", **fields).verdict == "deviation"
    assert judge_einsum(in_order_of_appearance * 2, observed, "float64", **fields).verdict == "fail"
    assert judge_einsum(np.einsum(equation, *operands), observed, "float64", **fields).verdict == "fail"


def test_another_shape() -> None:
    fields = {"equation": "ij->ji", "operands": [[[1, 2, 3]]]}
    assert judge_einsum(np.ones((1, 3)), {"shape": "other"}, "float64", **fields).verdict == "deviation"
    assert judge_einsum(np.ones((3, 1)), {"shape": "other"}, "float64", **fields).verdict == "fail"


@pytest.mark.parametrize("other", [{"error": True}, {"precision": {"multiply": "tf32"}}])
def test_these_observations_exclude_others(other: dict[str, Any]) -> None:
    for observed in ({"result": 3}, {"computed_in": "float32"}, {"shape": "other"}):
        with pytest.raises(ValidationError, match="say one of"):
            make_entry(observed | other)
