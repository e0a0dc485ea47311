"""The table of what probes observed and what is declared: in the summary, on the page, at the end of a session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reports.arithmetic import collect_rows
from reports.markdown import render_summary
from reports.read import read
from specs.arithmetic.formats import DTYPES
from specs.arithmetic.precision import declared_precision
from specs.verdict.record import Record
from tests.support.pages import Look, make_page
from tests.support.project import Project
from tests.support.runs import case, write_run
from tests.support.runs import record as make_record

PROBE = case("precision/einsum::sums")


def make_probe_record(
    observed: dict[str, str] | None,
    verdict: str = "pass",
    declarations: dict[str, str | bool] | None = None,
    **fields: Any,
) -> Record:
    probe_record = make_record(
        PROBE, fields.pop("backend", "torch"), verdict, 0.5, observed=observed, **{"dtype": "float32"} | fields
    )
    precision = declared_precision(DTYPES[probe_record.dtype], **declarations or {}).as_json()
    probe_record.measurement.bound["precision"] = precision
    return probe_record


def tabulate(*records: Record) -> list[tuple[str, dict[str, str], dict[str, str]]]:
    """For each row: its implementations, and the text and status of each observed property."""
    return [
        (
            row.implementations,
            {name: str(cell) for name, cell in row.cells.items() if cell.observed},
            {name: cell.status for name, cell in row.cells.items() if cell.observed},
        )
        for row in collect_rows(record.as_json() for record in records)
    ]


def test_implementations_with_the_same_observations_share_a_row() -> None:
    exact, narrow = {"multiply": "float32"}, {"multiply": "tf32"}
    table = tabulate(
        make_probe_record(exact),
        make_probe_record(exact, mode="jit"),
        make_probe_record(exact, implementation="matmul"),
        make_probe_record(narrow, "fail", implementation="matmul", mode="jit"),
        make_probe_record({"accumulate": "float32"}),
        make_probe_record({"accumulate": "float32"}, mode="jit"),
        make_probe_record({"accumulate": "float32"}, implementation="matmul"),
        make_probe_record(None),
    )
    assert table == [
        (
            "einsum, matmul (eager)",
            {"multiply": "float32", "accumulate": "float32"},
            {"multiply": "as declared", "accumulate": "as declared"},
        ),
        ("matmul (jit)", {"multiply": "tf32 (declared float32)"}, {"multiply": "fail"}),
    ]


@pytest.mark.parametrize(
    ("observed", "verdicts", "declarations", "text", "status"),
    [
        (["float16", "float32"], ["fail", "pass"], {}, "float16 and float32 (declared float32)", "fail"),
        (["float16", "float32"], ["deviation", "pass"], {}, "float16 and float32 (declared float32)", "deviation"),
        (["float16", "float16"], ["deviation", "fail"], {}, "float16 (declared float32)", "fail"),
        (["float16", "float32"], ["pass", "pass"], {"accumulate": "float16"}, "float16 and float32", "as declared"),
        (["float32", "float32"], ["pass", "pass"], {"accumulate": "float16"}, "float32 (declared float16)", "finer"),
        (["45 bits or more"], ["pass"], {}, "45 bits or more (declared float32)", "finer"),
    ],
)
def test_observations_of_several_shapes_are_joined(
    observed: list[str], verdicts: list[str], declarations: dict[str, str | bool], text: str, status: str
) -> None:
    pairs = zip(observed, verdicts, strict=True)
    table = tabulate(
        *(make_probe_record({"accumulate": word}, verdict, declarations, dtype="float32") for word, verdict in pairs)
    )
    assert table == [("einsum", {"accumulate": text}, {"accumulate": status})]


@pytest.mark.parametrize(
    ("property", "word", "declarations", "status"),
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
def test_words_are_compared_with_the_declaration(
    property: str, word: str, declarations: dict[str, Any], status: str
) -> None:
    verdict = "fail" if status == "fail" else "pass"
    assert tabulate(make_probe_record({property: word}, verdict, declarations))[0][2] == {property: status}


def test_the_summary_has_the_table_and_a_run_without_probes_has_none(tmp_path: Path) -> None:
    records = [make_probe_record({"multiply": "tf32"}, "fail"), make_probe_record({"subnormals": "kept"})]
    text = render_summary(read(write_run(tmp_path / "run", [PROBE], records)), [record.as_json() for record in records])
    row = "| `torch` | `cpu` | `einsum` | `float32` | `einsum` | ✕ tf32 (declared float32) | – | – | kept | – |"
    assert row in text.splitlines()
    unprobed = [make_probe_record(None)]
    assert "precision" not in render_summary(
        read(write_run(tmp_path / "bare", [PROBE], unprobed)), [unprobed[0].as_json()]
    ).lower().replace("precision/einsum", "")


def test_the_page_unfolds_to_the_table(tmp_path: Path, look: Look) -> None:
    page = look(
        make_page(
            tmp_path,
            [PROBE],
            [make_probe_record({"multiply": "tf32"}, "fail"), make_probe_record({"subnormals": "kept"}, backend="jax")],
        )
    )
    table = page.locator("table.arithmetic")
    assert not table.is_visible()
    page.get_by_text("Effective precision").click()
    assert table.is_visible()
    assert [row.inner_text().split("\t")[:6] for row in table.locator("tbody tr").all()] == [
        ["torch", "cpu", "einsum", "float32", "einsum", "✕ tf32 (declared float32)"],
        ["jax", "cpu", "einsum", "float32", "einsum", ""],
    ]


def test_the_page_of_a_run_without_probes_has_no_table_of_precision(run: Path, look: Look) -> None:
    assert look(run).get_by_text("Effective precision").count() == 0


PROBES = """\
kind: einsum
defaults: {dtypes: [float64], gradient: false, implementations: [einsum]}
cases:
  factors: {equation: "ij,jk->ik", sizes: {i: 130, j: 64, k: 7}, probe: multiply}
  sums: {equation: "ij,jk->ik", sizes: {i: 720, j: 9, k: 2}, probe: accumulate}
"""


def test_a_session_lists_precision_below_the_declaration(project: Project) -> None:
    project.write("cases/probes.yaml", PROBES)
    result = project.run("lossy right", "cases/probes.yaml")
    result.assert_outcomes(passed=3, failed=1)
    observed = {(record["backend"], record["case"]): record["observed"] for record in project.records().values()}
    assert observed == {
        ("lossy", "probes::factors"): {"multiply": "float32"},
        ("lossy", "probes::sums"): {"accumulate": "float64", "rounding": "nearest"},
        ("right", "probes::factors"): {"multiply": "float64"},
        ("right", "probes::sums"): {"accumulate": "float64", "rounding": "nearest"},
    }
    failed = next(record for record in project.records().values() if record["verdict"] == "fail")
    assert failed["reason"].endswith("multiply is float32, declared float64")
    title_line = result.outlines.index("precision below what is declared")
    assert result.outlines[title_line + 1].strip() == (
        "lossy cpu einsum float64 einsum: multiply is float32 (declared float64)"
    )
    assert "Effective precision" in (project.folder / "summary.md").read_text()
    assert project.run("right", "cases/probes.yaml").outlines.count("precision below what is declared") == 0
