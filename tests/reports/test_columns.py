"""What the page holds of records and cases: as they are, each value that repeats once."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from reports.columns import columns, table
from reports.read import RunError
from reports.script import command
from specs.case.einsum import EinsumConfig
from specs.verdict.record import Record, Weakness
from specs.verdict.statement import statement
from tests.support.pages import ODD_IDS
from tests.support.runs import case, record


def failing(backend: str = "torch", **rest: Any) -> Record:
    return record(case(), backend, "fail", 5677.0, **{"reason": "15 of 15 values are outside", **rest})


def test_columns_say_what_the_records_say() -> None:
    weak = Weakness("any result passes", None)
    records = [
        record(case(), weak=weak, repeatable=True),
        failing(mode="jit", direction="grad"),
        record(case(), "jax", "unsupported", None, deviation={"grade": "choice"}),
    ]
    plain = [each.as_json() for each in records]
    found = columns(plain, [statement(case())])
    tables = {name: [table["values"][place] for place in table["of"]] for name, table in found["tables"].items()}
    for number, each in enumerate(plain):
        assert tables["place"][number] == [each["backend"], each["device"], each["implementation"]]
        assert tables["setting"][number] == [each["mode"], each["dtype"], each["direction"]]
        shown = {name: column[number] for name, column in (tables | found["columns"]).items()}
        assert shown.keys() - each.keys() == {"place", "setting", "script"}
        assert shown == shown | {name: each[name] for name in shown.keys() & each.keys()}
    assert [each["case"] for each in found["cases"]] == found["tables"]["case"]["values"] == [case().id]


@pytest.mark.parametrize(
    ("number", "shown"), [(0.123456, 0.1235), (1.23456e-09, 1.235e-09), ("inf", "inf"), ("nan", "nan"), (None, None)]
)
def test_numbers_have_four_digits(number: Any, shown: Any) -> None:
    each = record(case()).as_json() | {"bias": number}
    assert columns([each], [statement(case())])["columns"]["bias"] == [shown]


def test_a_table_tells_values_apart() -> None:
    values = [None, "None", True, 1, 1.0, "1", [1], None]
    found = table(values)
    assert found["of"] == [0, 1, 2, 3, 4, 5, 6, 0]
    assert list(map(repr, found["values"])) == list(map(repr, values[:-1]))


@pytest.mark.parametrize("id", ODD_IDS)
@pytest.mark.parametrize(
    ("variables", "before", "after"),
    [
        ("", "pytest ", ""),
        ("", "pytest conftest.py ", " --mode jit --adapter=my/pytest.py"),
        ("", "python -m runner ", " --implementation einsum"),
        ("KERAS_BACKEND=jax ", "pytest ", ""),
        ("KERAS_BACKEND=jax XLA_FLAGS=--a=b,c ", "python -m runner ", ""),
    ],
)
def test_ids_and_commands_are_those_of_the_record(id: str, variables: str, before: str, after: str) -> None:
    again = variables + before + shlex.quote(id) + after
    found = columns([record(case()).as_json() | {"id": id, "again": again}], [statement(case())])["columns"]
    assert (found["id"], found["again"]) == ([id], [again])
    assert found["script"] == [f"{variables}python -m reports script {shlex.quote(id)}"]


def test_the_command_of_a_program_names_the_designed_inputs() -> None:
    each = record(case()).as_json()
    assert command(each | {"bound": {"data": "exact"}}) == (
        "python -m reports script 'cases/einsum/products.yaml::product[numpy-cpu-einsum-eager-float64]' --data exact"
    )


def test_a_case_that_was_not_written_is_an_error() -> None:
    with pytest.raises(RunError, match="does not say what the case einsum/products::product is"):
        columns([record(case()).as_json()], [])


def test_long_literal_operands_are_cut() -> None:
    long = case(config=EinsumConfig(equation="i->", operands=[list(range(10_000))]))
    (shown,) = columns([record(long).as_json()], [statement(long)])["cases"]
    assert len(shown["config"]["operands"]) < 2100
    assert shown["config"]["operands"].endswith(" …")
