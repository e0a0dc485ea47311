"""The format of a run on disk, as described by `reports/record.schema.json`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from reports.read import RunError, read
from specs.verdict.record import SCHEMA_VERSION, VERDICTS, Measurement
from tests.support import runs
from tests.support.project import BROKEN, PRODUCTS, Project

SCHEMA = json.loads((Path(runs.__file__).parents[2] / "reports" / "record.schema.json").read_text())


def validator_of(part: str) -> Draft202012Validator:
    return Draft202012Validator({**SCHEMA, "$ref": f"#/$defs/{part}"})


def test_the_schema_is_one_and_of_this_version() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    for part in ("record", "case", "run"):
        assert SCHEMA["$defs"][part]["properties"]["schema"]["const"] == SCHEMA_VERSION
    assert SCHEMA["$defs"]["record"]["properties"]["verdict"]["enum"] == list(VERDICTS)


def properties(schema: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(schema, dict):
        yield from schema.get("properties", {}).items()
        for subschema in schema.values():
            yield from properties(subschema)


def test_every_field_is_described() -> None:
    assert [name for name, field in properties(SCHEMA["$defs"]) if not field.get("description")] == []


def test_records_match_the_schema() -> None:
    infinite = runs.record(runs.case(), verdict="fail", ratio=float("inf")).as_json()
    unmeasured = runs.record(runs.case(), verdict="unsupported", ratio=None).as_json()
    unmeasured |= {name: value for name, value in vars(Measurement()).items() if name != "bound"}
    for record in (infinite, unmeasured):
        validator_of("record").validate(record)


@pytest.mark.parametrize(
    "change",
    [{"verdict": "maybe"}, {"surprise": 1}, {"line": "5"}, {"error_ratio": "much"}, {"worst": {"index": [1]}}],
    ids=str,
)
def test_the_schema_refuses_invalid_fields(change: dict[str, Any]) -> None:
    record = deepcopy(runs.record(runs.case()).as_json())
    assert validator_of("record").is_valid(record)
    assert not validator_of("record").is_valid(record | change)


def test_a_field_that_is_missing_is_refused() -> None:
    record = runs.record(runs.case()).as_json()
    for name in record:
        assert not validator_of("record").is_valid({key: value for key, value in record.items() if key != name})


def test_a_newer_run_is_refused_with_its_version(tmp_path: Path) -> None:
    case = runs.case()
    folder = runs.write_run(tmp_path, [case], [runs.record(case)])
    newer = json.loads((folder / "cases.jsonl").read_text()) | {"schema": SCHEMA_VERSION + 1}
    (folder / "cases.jsonl").write_text(json.dumps(newer) + "\n")
    with pytest.raises(
        RunError, match=r"cases\.jsonl:1: written with schema version \d+, and this suite reads up to \d+"
    ):
        list(read(folder).cases())


def test_the_files_of_a_session_match_the_schema(project: Project) -> None:
    project.write("cases/broken.yaml", BROKEN)
    project.write("cases/refused.yaml", PRODUCTS.replace('"ij->ji"', '"ij->kk", expect: {error: unknown_label}'))
    project.run("right wrong known aborting absent", "-n2")
    run = read(project.folder)
    validator_of("run").validate(run.facts)
    assert run.facts["checksums"].keys() == {"records.jsonl", "cases.jsonl"}
    records, cases = list(run.records()), list(run.cases())
    assert {record["verdict"] for record in records} == {"pass", "fail", "deviation", "error"}
    for record in records:
        validator_of("record").validate(record)
    for case in cases:
        validator_of("case").validate(case)
    assert {case["case"] for case in cases} == {record["case"] for record in records}
    assert len(cases) == len({case["case"] for case in cases})
