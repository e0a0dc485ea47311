"""Recorded deviations: which checks they apply to."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from specs.case.case import Case
from specs.case.einsum import EinsumConfig
from specs.verdict.check import Check
from specs.verdict.deviation import Deviation, DeviationEntry, Observation


def check(**fields: str) -> Check:
    config = EinsumConfig(equation="ij,jk->ik", shapes=[[4, 300], [300, 4]])
    case = Case(id="folder/file::name/1", name="name/1", file=Path("file.yaml"), line=1, config=config)
    defaults = {"backend": "b", "device": "cuda:0", "implementation": "einsum-optimized", "mode": "jit"}
    return Check(case, **(defaults | {"dtype": "float32"} | fields))  # type: ignore[arg-type]


def deviation(match: dict[str, Any], **fields: Any) -> Deviation:
    defaults = {"observed": {"error": True}, "grade": "bug", "reason": "A reason that is long enough."}
    return Deviation.model_validate({"match": match} | defaults | fields)


@pytest.mark.parametrize(
    "match",
    [
        {"case": "folder/file::name/1"},
        {"case": "folder/file::*"},
        {"case": "*"},
        {"case": ["other", "*::name/?"]},
        {"case": "*", "implementation": "einsum-*", "mode": "jit", "device": "cuda:*", "dtype": ["float32", "float64"]},
        {"case": "*", "direction": "forward"},
    ],
    ids=str,
)
def test_a_deviation_applies_where_every_field_matches(match: dict[str, Any]) -> None:
    assert deviation(match).applies(check())


@pytest.mark.parametrize(
    "match",
    [
        {"case": "folder/file::name"},
        {"case": "FOLDER/*"},
        {"case": []},
        {"case": "*", "implementation": "einsum"},
        {"case": "*", "mode": "eager"},
        {"case": "*", "device": "cpu"},
        {"case": "*", "dtype": ["float16", "bfloat16"]},
        {"case": "*", "direction": "grad"},
    ],
    ids=str,
)
def test_a_deviation_does_not_apply_where_one_field_differs(match: dict[str, Any]) -> None:
    assert not deviation(match).applies(check())


@pytest.mark.parametrize(
    ("versions", "applies"),
    [
        ({"numpy": ">=1"}, True),
        ({"numpy": f"=={version('numpy')}"}, True),
        ({"numpy": ""}, True),
        ({"numpy": "<1"}, False),
        ({"numpy": ">=1", "pytest": "<1"}, False),
        ({"numpy": ">=1", "pytest": ">=1"}, True),
        ({"no-such-distribution": ">=0"}, False),
    ],
    ids=str,
)
def test_a_deviation_applies_only_with_the_versions_that_it_names(versions: dict[str, str], applies: bool) -> None:
    assert deviation({"case": "*"}, versions=versions).applies(check()) is applies


@pytest.mark.parametrize(
    "wrong",
    [
        {"observed": {}},
        {"observed": {"error": True, "accepts": True}},
        {"observed": {"value": "nan", "causal": "none"}},
        {"observed": {"accepts": False}},
        {"observed": {"value": "infinity"}},
        {"observed": {"precision": {"accumulate": "float15"}}},
        {"versions": {"numpy": "2 or so"}},
        {"grade": "feature"},
        {"reason": "short"},
    ],
    ids=str,
)
def test_an_invalid_deviation_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        deviation({"case": "*"}, **wrong)


def test_a_place_is_file_and_line() -> None:
    assert DeviationEntry(deviation({"case": "*"}), Path("folder/x.yaml"), 7).place == "x.yaml:7"


EVERY_STEP = dict.fromkeys(("multiply", "accumulate", "intermediate", "weights", "softmax"), "float32")


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"precision": {"accumulate": "float16"}}, "precision: accumulate float16"),
        ({"precision": {"multiply": "tf32", "softmax": "float16"}}, "precision: multiply tf32 softmax float16"),
        ({"precision": EVERY_STEP, "fully_masked": "mean"}, "precision: float32, fully_masked: mean"),
        ({"error": "no such thing"}, "error: no such thing"),
    ],
)
def test_an_observation_as_text(fields: dict[str, Any], text: str) -> None:
    assert str(Observation.model_validate(fields)) == text


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"error": True, "dtype": "float32"},
        {"error": ""},
        {"error": " : "},
        {"error": "out"},
        {"shape": "other", "dtype": "float32"},
        {"value": "nan", "computed_in": "float32"},
        {"value": "nan", "fully_masked": "mean"},
        {"precision": {"acumulate": "float16"}},
        {"disconnected": True, "precision": {"accumulate": "float16"}},
    ],
    ids=str,
)
def test_an_invalid_observation_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Observation.model_validate(fields)
