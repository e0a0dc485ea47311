"""The checks of a case at a place."""

from pathlib import Path
from typing import Any

import pytest

from specs.case.case import Case
from specs.case.einsum import EinsumConfig
from specs.verdict.place import Place, iter_checks

IMPLEMENTATIONS = ("einsum", "einsum-optimal", "einsum-out")


def implementations(place: dict[str, Any], **fields: Any) -> list[str]:
    defaults = {"equation": "i->i", "shapes": [[2]], "dtypes": ["float32"]} | fields
    case = Case("t::c", "c", Path("t.yaml"), 1, EinsumConfig.model_validate(defaults))
    here = Place("fake", "cpu", {"einsum": IMPLEMENTATIONS}, ("eager",), **place)
    return [check.implementation for check in iter_checks(case, [here])]


@pytest.mark.parametrize(
    ("place", "fields", "expected"),
    [
        ({}, {}, [*IMPLEMENTATIONS]),
        ({}, {"implementations": ["einsum-out"]}, ["einsum-out"]),
        ({"on_request": frozenset({"einsum-out"})}, {}, ["einsum", "einsum-optimal"]),
        ({"on_request": frozenset({"einsum-out"})}, {"implementations": ["einsum-out", "keras"]}, ["einsum-out"]),
    ],
)
def test_an_implementation_on_request_runs_where_the_case_names_it(
    place: dict[str, Any], fields: dict[str, Any], expected: list[str]
) -> None:
    assert implementations(place, **fields) == expected


def test_an_implementation_that_is_not_distinct_has_no_check() -> None:
    calls: list[Any] = []

    def distinct(config: Any, implementation: str, device: str) -> bool:
        calls.append((config.equation, device))
        return implementation != "einsum-optimal"

    assert implementations({"distinct": distinct}) == ["einsum", "einsum-out"]
    assert implementations({"distinct": distinct}, implementations=["einsum-optimal"]) == []
    assert set(calls) == {("i->i", "cpu")}
