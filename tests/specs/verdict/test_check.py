"""Which checks a case gives rise to at a place."""

from pathlib import Path
from typing import Any

import pytest

from specs.case.case import Case
from specs.case.einsum import EinsumConfig
from specs.verdict.place import Place, checks

OFFERED = ("einsum", "einsum-optimal", "einsum-out")


def implementations(place: dict[str, Any], **fields: Any) -> list[str]:
    said = {"equation": "i->i", "shapes": [[2]], "dtypes": ["float32"]} | fields
    case = Case("t::c", "c", Path("t.yaml"), 1, EinsumConfig.model_validate(said))
    at = Place("fake", "cpu", {"einsum": OFFERED}, ("eager",), **place)
    return [check.implementation for check in checks(case, [at])]


@pytest.mark.parametrize(
    ("place", "fields", "expected"),
    [
        ({}, {}, [*OFFERED]),
        ({}, {"implementations": ["einsum-out"]}, ["einsum-out"]),
        ({"on_request": frozenset({"einsum-out"})}, {}, ["einsum", "einsum-optimal"]),
        ({"on_request": frozenset({"einsum-out"})}, {"implementations": ["einsum-out", "keras"]}, ["einsum-out"]),
    ],
)
def test_what_runs_on_request_runs_where_the_case_names_it(
    place: dict[str, Any], fields: dict[str, Any], expected: list[str]
) -> None:
    assert implementations(place, **fields) == expected


def test_there_is_no_check_of_what_is_not_distinct() -> None:
    asked: list[Any] = []

    def distinct(config: Any, implementation: str, device: str) -> bool:
        asked.append((config.equation, device))
        return implementation != "einsum-optimal"

    assert implementations({"distinct": distinct}) == ["einsum", "einsum-out"]
    assert implementations({"distinct": distinct}, implementations=["einsum-optimal"]) == []
    assert set(asked) == {("i->i", "cpu")}
