"""Recorded deviations: which checks they apply to."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from specs.case.case import Case
from specs.case.einsum import EinsumConfig
from specs.verdict.check import Check
from specs.verdict.deviation import Deviation, Observed, Recorded


def check(**where: str) -> Check:
    config = EinsumConfig(equation="ij,jk->ik", shapes=[[4, 300], [300, 4]])
    case = Case(id="folder/file::name/1", name="name/1", file=Path("file.yaml"), line=1, config=config)
    places = {"backend": "b", "device": "cuda:0", "implementation": "einsum-optimized", "mode": "jit"}
    return Check(case, **(places | {"dtype": "float32"} | where))  # type: ignore[arg-type]


def deviation(match: dict[str, Any], **fields: Any) -> Deviation:
    said = {"observed": {"error": True}, "grade": "bug", "reason": "A reason that is long enough."}
    return Deviation.model_validate({"match": match} | said | fields)


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
def test_it_does_not_where_one_field_differs(match: dict[str, Any]) -> None:
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
def test_it_applies_under_the_installed_versions_that_it_names(versions: dict[str, str], applies: bool) -> None:
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
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        deviation({"case": "*"}, **wrong)


def test_a_place_is_file_and_line() -> None:
    assert Recorded(deviation({"case": "*"}), Path("folder/x.yaml"), 7).place == "x.yaml:7"


EVERY = dict.fromkeys(("multiply", "accumulate", "intermediate", "weights", "softmax"), "float32")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"precision": {"accumulate": "float16"}}, "precision: accumulate float16"),
        ({"precision": {"multiply": "tf32", "softmax": "float16"}}, "precision: multiply tf32 softmax float16"),
        ({"precision": EVERY, "fully_masked": "mean"}, "precision: float32, fully_masked: mean"),
        ({"error": "no such thing"}, "error: no such thing"),
    ],
)
def test_what_is_observed_is_said_in_words(said: dict[str, Any], words: str) -> None:
    assert str(Observed.model_validate(said)) == words


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"error": True, "dtype": "float32"},
        {"shape": "other", "dtype": "float32"},
        {"value": "nan", "computed_in": "float32"},
        {"value": "nan", "fully_masked": "mean"},
        {"precision": {"acumulate": "float16"}},
        {"disconnected": True, "precision": {"accumulate": "float16"}},
    ],
    ids=str,
)
def test_what_cannot_be_observed_together_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Observed.model_validate(said)
