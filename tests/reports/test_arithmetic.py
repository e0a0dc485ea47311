"""What probes observed, in one table beside what is declared: in the summary, on the page, at the end of a session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reports.arithmetic import rows
from reports.markdown import summary
from reports.read import read
from specs.arithmetic.formats import DTYPES
from specs.arithmetic.precision import declared_precision
from specs.verdict.record import Record
from tests.support.pages import Look, made
from tests.support.project import Project
from tests.support.runs import case, write_run
from tests.support.runs import record as made_record

PROBE = case("precision/einsum::sums")


def probed(
    observed: dict[str, str] | None, verdict: str = "pass", said: dict[str, str | bool] | None = None, **rest: Any
) -> Record:
    found = made_record(
        PROBE, rest.pop("backend", "torch"), verdict, 0.5, observed=observed, **{"dtype": "float32"} | rest
    )
    precision = declared_precision(DTYPES[found.dtype], **said or {}).as_json()
    found.measurement.bound["precision"] = precision
    return found


def table(*records: Record) -> list[tuple[str, dict[str, str], dict[str, str]]]:
    """Of each row: where, and the words and the status of the properties that were observed."""
    return [
        (
            row.where,
            {name: str(cell) for name, cell in row.cells.items() if cell.observed},
            {name: cell.status for name, cell in row.cells.items() if cell.observed},
        )
        for row in rows(each.as_json() for each in records)
    ]


def test_ways_that_observe_the_same_share_a_row() -> None:
    exact, narrow = {"multiply": "float32"}, {"multiply": "tf32"}
    found = table(
        probed(exact),
        probed(exact, mode="jit"),
        probed(exact, implementation="matmul"),
        probed(narrow, "fail", implementation="matmul", mode="jit"),
        probed({"accumulate": "float32"}),
        probed({"accumulate": "float32"}, mode="jit"),
        probed({"accumulate": "float32"}, implementation="matmul"),
        probed(None),
    )
    assert found == [
        (
            "einsum, matmul (eager)",
            {"multiply": "float32", "accumulate": "float32"},
            {"multiply": "as declared", "accumulate": "as declared"},
        ),
        ("matmul (jit)", {"multiply": "tf32 (declared float32)"}, {"multiply": "fail"}),
    ]


@pytest.mark.parametrize(
    ("observed", "verdicts", "said", "told", "status"),
    [
        (["float16", "float32"], ["fail", "pass"], {}, "float16 and float32 (declared float32)", "fail"),
        (["float16", "float32"], ["deviation", "pass"], {}, "float16 and float32 (declared float32)", "deviation"),
        (["float16", "float16"], ["deviation", "fail"], {}, "float16 (declared float32)", "fail"),
        (["float16", "float32"], ["pass", "pass"], {"accumulate": "float16"}, "float16 and float32", "as declared"),
        (["float32", "float32"], ["pass", "pass"], {"accumulate": "float16"}, "float32 (declared float16)", "finer"),
        (["45 bits or more"], ["pass"], {}, "45 bits or more (declared float32)", "finer"),
    ],
)
def test_observations_of_several_shapes_are_told_together(
    observed: list[str], verdicts: list[str], said: dict[str, str | bool], told: str, status: str
) -> None:
    pairs = zip(observed, verdicts, strict=True)
    found = table(*(probed({"accumulate": word}, verdict, said, dtype="float32") for word, verdict in pairs))
    assert found == [("einsum", {"accumulate": told}, {"accumulate": status})]


@pytest.mark.parametrize(
    ("property", "word", "said", "status"),
    [
        ("subnormals", "flushed", {"flushes": True}, "as declared"),
        ("subnormals", "kept", {"flushes": True}, "finer"),
        ("subnormals", "flushed", {}, "fail"),
        ("rounding", "truncated", {}, "fail"),
        ("rounding", "nearest", {"truncates": True}, "finer"),
        ("repeatable", "not bit for bit", {}, "fail"),
        ("repeatable", "where memory is aligned alike", {}, "as declared"),
    ],
)
def test_words_are_held_against_what_is_declared(property: str, word: str, said: dict[str, Any], status: str) -> None:
    verdict = "fail" if status == "fail" else "pass"
    assert table(probed({property: word}, verdict, said))[0][2] == {property: status}


def test_the_summary_has_the_table_and_a_run_without_probes_has_none(tmp_path: Path) -> None:
    records = [probed({"multiply": "tf32"}, "fail"), probed({"subnormals": "kept"})]
    told = summary(read(write_run(tmp_path / "run", [PROBE], records)), [each.as_json() for each in records])
    row = "| `torch` | `cpu` | `einsum` | `float32` | `einsum` | ✕ tf32 (declared float32) | – | – | kept | – |"
    assert row in told.splitlines()
    bare = [probed(None)]
    assert "precision" not in summary(
        read(write_run(tmp_path / "bare", [PROBE], bare)), [bare[0].as_json()]
    ).lower().replace("precision/einsum", "")


def test_the_page_unfolds_to_the_table(tmp_path: Path, look: Look) -> None:
    page = look(
        made(tmp_path, [PROBE], [probed({"multiply": "tf32"}, "fail"), probed({"subnormals": "kept"}, backend="jax")])
    )
    shown = page.locator("table.arithmetic")
    assert not shown.is_visible()
    page.get_by_text("Effective precision").click()
    assert shown.is_visible()
    assert [row.inner_text().split("\t")[:6] for row in shown.locator("tbody tr").all()] == [
        ["torch", "cpu", "einsum", "float32", "einsum", "✕ tf32 (declared float32)"],
        ["jax", "cpu", "einsum", "float32", "einsum", ""],
    ]


def test_the_page_of_a_run_without_probes_says_nothing_of_them(run: Path, look: Look) -> None:
    assert look(run).get_by_text("Effective precision").count() == 0


PROBES = """\
kind: einsum
defaults: {dtypes: [float64], gradient: false, implementations: [einsum]}
cases:
  factors: {equation: "ij,jk->ik", sizes: {i: 130, j: 64, k: 7}, probe: multiply}
  sums: {equation: "ij,jk->ik", sizes: {i: 720, j: 9, k: 2}, probe: accumulate}
"""


def test_a_session_observes_and_ends_with_what_is_below_its_declaration(project: Project) -> None:
    project.write("cases/probes.yaml", PROBES)
    result = project.run("lossy right", "cases/probes.yaml")
    result.assert_outcomes(passed=3, failed=1)
    observed = {(each["backend"], each["case"]): each["observed"] for each in project.records().values()}
    assert observed == {
        ("lossy", "probes::factors"): {"multiply": "float32"},
        ("lossy", "probes::sums"): {"accumulate": "float64", "rounding": "nearest"},
        ("right", "probes::factors"): {"multiply": "float64"},
        ("right", "probes::sums"): {"accumulate": "float64", "rounding": "nearest"},
    }
    failed = next(each for each in project.records().values() if each["verdict"] == "fail")
    assert failed["reason"].endswith("multiply is float32, declared float64")
    told = result.outlines.index("precision below what is declared")
    assert result.outlines[told + 1].strip() == (
        "lossy cpu einsum float64 einsum: multiply is float32 (declared float64)"
    )
    assert "Effective precision" in (project.path / ".conformance/summary.md").read_text()
    assert project.run("right", "cases/probes.yaml").outlines.count("precision below what is declared") == 0
