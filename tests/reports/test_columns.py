"""The data of the page: records and cases unchanged, with repeated values stored once."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from reports.columns import to_columns, to_table
from reports.read import RunError
from reports.script import build_command
from specs.case.einsum import EinsumConfig
from specs.verdict.record import Record, Weakness
from specs.verdict.statement import make_statement
from tests.support.pages import ODD_IDS
from tests.support.runs import case, record


def failing(backend: str = "torch", **rest: Any) -> Record:
    return record(case(), backend, "fail", 5677.0, **{"reason": "15 of 15 values are outside", **rest})


def test_columns_have_the_values_of_the_records() -> None:
    weak = Weakness("any result passes", None)
    records = [
        record(case(), weak=weak, repeatable=True),
        failing(mode="jit", direction="grad"),
        record(case(), "jax", "unsupported", None, deviation={"grade": "choice"}),
    ]
    records_as_json = [record.as_json() for record in records]
    data = to_columns(records_as_json, [make_statement(case())])
    tables = {name: [table["values"][index] for index in table["of"]] for name, table in data["tables"].items()}
    for index, values in enumerate(records_as_json):
        assert tables["place"][index] == [values["backend"], values["device"], values["implementation"]]
        assert tables["setting"][index] == [values["mode"], values["dtype"], values["direction"]]
        fields = {name: column[index] for name, column in (tables | data["columns"]).items()}
        assert fields.keys() - values.keys() == {"place", "setting", "script", "host"}
        assert fields == fields | {name: values[name] for name in fields.keys() & values.keys()}
    assert [entry["case"] for entry in data["cases"]] == data["tables"]["case"]["values"] == [case().id]


@pytest.mark.parametrize(
    ("number", "expected"), [(0.123456, 0.1235), (1.23456e-09, 1.235e-09), ("inf", "inf"), ("nan", "nan"), (None, None)]
)
def test_numbers_have_four_digits(number: Any, expected: Any) -> None:
    json_record = record(case()).as_json() | {"bias": number}
    assert to_columns([json_record], [make_statement(case())])["columns"]["bias"] == [expected]


def test_a_table_distinguishes_values_of_different_types() -> None:
    values = [None, "None", True, 1, 1.0, "1", [1], None]
    result = to_table(values)
    assert result["of"] == [0, 1, 2, 3, 4, 5, 6, 0]
    assert list(map(repr, result["values"])) == list(map(repr, values[:-1]))


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
    data = to_columns([record(case()).as_json() | {"id": id, "again": again}], [make_statement(case())])["columns"]
    assert (data["id"], data["again"]) == ([id], [again])
    adapter = " --adapter=my/pytest.py" if "--adapter" in after else ""
    assert data["script"] == [f"{variables}python -m reports script {shlex.quote(id)}{adapter}"]


def test_the_script_command_names_the_designed_inputs() -> None:
    json_record = record(case()).as_json()
    assert build_command(json_record | {"bound": {"data": "exact"}}) == (
        "python -m reports script 'cases/einsum/products.yaml::product[numpy-cpu-einsum-eager-float64]' --data exact"
    )


def test_a_case_that_was_not_written_is_an_error() -> None:
    with pytest.raises(RunError, match="has no statement of the case einsum/products::product"):
        to_columns([record(case()).as_json()], [])


def test_long_literal_operands_are_cut() -> None:
    long = case(config=EinsumConfig(equation="i->", operands=[list(range(10_000))]))
    (case_data,) = to_columns([record(long).as_json()], [make_statement(long)])["cases"]
    assert len(case_data["config"]["operands"]) < 2100
    assert case_data["config"]["operands"].endswith(" …")
