"""Comparisons of two runs with made-up records."""

from __future__ import annotations

import json
import random
import re
import time
from pathlib import Path
from typing import Any

import pytest

from reports.__main__ import main
from reports.compare.change import find_changes
from reports.compare.model import Comparison, Side
from reports.compare.runs import compare
from reports.compare.sections import build_sections, summarize
from reports.compare.shift import FEWEST
from specs.verdict.record import ACCEPTED, RAISED, REFUSED, STALE
from tests.support.planted_runs import facts, record, write

FAIL = {"verdict": "fail", "reason": "3 of 6 values are outside the error bound", "error_ratio": 40.0, "digest": "bb"}
RAISES = {"verdict": "fail", "reason": f"{RAISED}TypeError: no such dtype", "refused": True}
ACCEPTS = {"verdict": "fail", "reason": f"{ACCEPTED}(syntax): result has shape (2,)", "refused": True}
REFUSES = {"reason": f"{REFUSED}ValueError: sizes differ", "refused": True}


def deviation(refused: bool = False, digest: str = "dd", **observed: Any) -> dict[str, Any]:
    entry = {"observed": observed, "grade": "choice", "reason": "It is known.", "place": "jax.yaml:1"}
    return {"verdict": "deviation", "reason": "It is known.", "deviation": entry, "refused": refused, "digest": digest}


def side(*records: dict[str, Any], **changed_facts: Any) -> Side:
    return Side("run", facts(**changed_facts), {record["id"]: record for record in records}, {})


def compared(old: dict[str, Any], new: dict[str, Any], **rest: Any) -> Comparison:
    return compare(side(record(**old)), side(record(**new)), **rest)


CHANGES = [
    # newly failing
    ({}, FAIL, "failing", True),
    ({}, {"verdict": "error", "reason": "its worker process died"}, "failing", True),
    (FAIL, {"verdict": "error", "reason": "its worker process died"}, "failing", True),
    (deviation(fully_masked="mean"), FAIL, "failing", True),
    ({"verdict": "unsupported", "reason": "no such dtype"}, FAIL, "failing", True),
    (REFUSES, ACCEPTS, "failing", True),
    # behaviour
    ({}, deviation(dtype="int64", output_dtype="int64"), "behaviour", True),
    (deviation(fully_masked="zeros"), deviation(fully_masked="mean"), "behaviour", True),
    (deviation(error="no kernel", refused=True), deviation(value="nan", nan=2), "behaviour", True),
    (deviation(value="nan", nan=2), deviation(value="nan", nan=3), "behaviour", True),
    ({}, {"verdict": "unsupported", "reason": "no such dtype"}, "behaviour", True),
    ({"verdict": "unsupported", "reason": "no such dtype"}, {}, "behaviour", False),
    (deviation(error="no kernel", refused=True), {}, "behaviour", False),
    ({"infinite": 0}, {"infinite": 1}, "behaviour", False),
    ({"observed": {"accumulate": "float16"}}, {"observed": {"accumulate": "float32"}}, "behaviour", False),
    (REFUSES, {**REFUSES, "reason": f"{REFUSED}TypeError: sizes differ"}, "behaviour", False),
    (FAIL, RAISES, "behaviour", False),
    # a recorded deviation that is gone fails as stale, but the result is right
    (deviation(fully_masked="mean"), {"verdict": "fail", "reason": f"{STALE}remove it"}, "behaviour", False),
    ({"verdict": "fail", "reason": f"{STALE}remove it"}, deviation(fully_masked="mean"), "behaviour", True),
    # fixed
    (FAIL, {}, "fixed", False),
    (FAIL, {**deviation(precision={"multiply": "tf32"}), "error_ratio": 40.0}, "fixed", False),
    # error ratio
    ({"error_ratio": 0.15}, {"error_ratio": 0.6, "digest": "bb"}, "error ratio", True),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "kind", "worse"), CHANGES)
def test_each_change_has_its_kind(old: dict[str, Any], new: dict[str, Any], kind: str, worse: bool) -> None:
    (change,) = find_changes(record(**old), record(**new))
    assert (change.kind, change.worse) == (kind, worse)
    assert compared(old, new).regressed == worse


UNCHANGED = [
    ({}, {"digest": "bb", "error_ratio": 0.2}),
    ({"error_ratio": 0.001}, {"error_ratio": 0.45, "digest": "bb"}),  # below the floor, chance can do this
    ({"error_ratio": 0.4}, {"error_ratio": 0.9, "digest": "bb"}),
    (FAIL, {**FAIL, "error_ratio": 50.0}),
    ({"verdict": "fail", "reason": f"{STALE}remove it"}, {}),
    (deviation(error="no kernel", refused=True), deviation(error="no kernel", refused=True)),
    # the runs measured the gradients of different operands
    (
        {"direction": "grad", "bound": {"precision": "exact", "gradient_of": "operand_0"}, "output_shape": (2,)},
        {"direction": "grad", "bound": {"precision": "exact", "gradient_of": "operand_1"}, "output_shape": (3,)},
    ),
    # the error ratios refer to different bounds
    ({"error_ratio": 0.1}, {"error_ratio": 0.9, "bound": {"precision": {"storage": "float32", "multiply": "tf32"}}}),
]


@pytest.mark.parametrize(("old", "new"), UNCHANGED)
def test_chance_and_old_failures_are_not_changes(old: dict[str, Any], new: dict[str, Any]) -> None:
    comparison = compared(old, new)
    assert comparison.changes == ()
    assert summarize(comparison).startswith("Safe: all 1 check that ran in both runs behave as before.")


def test_another_verdict_on_the_same_bits_is_attributed_to_the_suite() -> None:
    (change,) = find_changes(record(), record(**FAIL | {"digest": "aa"}))
    assert change.same_bits
    assert any(
        "the suite's verdict changed" in cell for cell in _row("Newly failing", compared({}, FAIL | {"digest": "aa"}))
    )


def _row(title: str, comparison: Comparison) -> tuple[str, ...]:
    (section,) = (section for section in build_sections(comparison) if section.title == title)
    return section.rows[0]


def test_an_allowed_change_is_listed_but_no_regression() -> None:
    pattern = "*products.yaml::matrix[jax-*-float32]"
    comparison = compared({}, FAIL, allow=[pattern, "*other*"])
    assert not comparison.regressed
    assert _row("Newly failing", comparison)[0] == "allowed"
    assert comparison.unused == ("*other*",)
    assert "1 change for the worse is allowed" in summarize(comparison)
    assert "`--allow *other*` allowed nothing" in summarize(comparison)


def test_brackets_of_an_id_are_literal() -> None:
    id = record()["id"]
    assert not compared({}, FAIL, allow=[id]).regressed
    assert compared({}, FAIL, allow=[id.replace("[", "j")]).regressed


def test_checks_of_one_side_only_are_counted_by_the_coarsest_reason() -> None:
    shared = record()
    only_old = [
        record(backend="torch"),
        record(dtype="float16", backend="torch"),
        record(dtype="bfloat16"),
        record("products::other"),
        record("traces::one"),
        record("traces::two"),
        record("products::matrix", mode="jit"),
    ]
    comparison = compare(side(shared, *only_old), side(shared))
    assert {entry.what: entry.checks for entry in comparison.only_old} == {
        "backend torch": 2,
        "dtype bfloat16": 1,
        "cases of traces": 2,
        "case products::other": 1,
        "mode jit": 1,
    }
    assert comparison.only_new == ()
    assert not comparison.regressed


def test_a_backend_that_cannot_be_used_any_more_is_a_regression() -> None:
    broken = {"jax": {"status": "broken", "reason": "libjax.so: undefined symbol"}, "numpy": {"status": "ready"}}
    comparison = compare(side(record(), record(backend="numpy")), side(record(backend="numpy"), backends=broken))
    assert comparison.regressed
    assert "jax cannot be used" in summarize(comparison)
    assert "libjax.so: undefined symbol" in _row("Newly failing", comparison)


def test_runs_without_a_common_check_and_runs_that_stopped_are_not_safe(tmp_path: Path) -> None:
    nothing = compare(side(record("a::b")), side(record("c::d")))
    assert (summarize(nothing), nothing.is_conclusive) == ("Not known: no check ran in both runs.", False)
    old, new = write(tmp_path / "old", record()), write(tmp_path / "new", record(), complete=False)
    assert main(["compare", str(old), str(new)]) == 1


def test_different_versions_and_settings_are_listed_first() -> None:
    jax = {
        "status": "ready",
        "versions": {"jax": "0.8.2"},
        "devices": {"cpu": [], "cuda:0": []},
        "settings": {"x64": True},
    }
    comparison = compare(side(record()), side(record(), packages={"jax": "0.8.2"}, backends={"jax": jax}))
    assert {difference.name: (difference.old, difference.new) for difference in comparison.differences} == {
        "jax": ("0.8.1", "0.8.2"),
        "jax: devices": ("cpu", "cpu, cuda:0"),
        "jax: x64": (None, True),
    }


def test_a_case_whose_statement_changed_is_not_compared() -> None:
    old, new = side(record()), side(record(**FAIL))
    case = record()["case"]
    comparison = compare(
        Side("old", old.facts, old.records, {case: {"equation": "ij->ji"}}),
        Side("new", new.facts, new.records, {case: {"equation": "ij->ij"}}),
    )
    assert (comparison.edited, comparison.compared, comparison.regressed) == ((case,), 0, False)


# Groups ---------------------------------------------------------------------------------------------------------------


def many(count: int, seed: int = 0, **fields: Any) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    return [
        record(
            f"sums::{number}",
            **{
                "error_ratio": rng.uniform(0.02, 0.2),
                "seconds": rng.lognormvariate(-5, 1),
                "digest": str(seed),
                **fields,
            },
        )
        for number in range(count)
    ]


def test_other_bits_are_counted_by_group() -> None:
    old = [*many(5), *many(3, dtype="float16")]
    new = [*many(5, seed=1), *many(3, dtype="float16")]
    (bits,) = compare(side(*old), side(*new)).bits
    assert (bits.changed, bits.of, bits.group["dtype"], bits.group["family"]) == (5, 5, "float32", "sums")


def test_errors_that_grow_as_a_whole_are_reported_below_the_limit() -> None:
    old = many(FEWEST)
    new = [{**record, "error_ratio": min(0.49, 3 * record["error_ratio"]), "digest": "bb"} for record in old]
    comparison = compare(side(*old), side(*new))
    assert comparison.changes == ()
    (shift,) = comparison.errors
    assert 2 < shift.factor < 3
    assert comparison.regressed


@pytest.mark.parametrize("seed", range(20))
def test_errors_and_seconds_that_differ_by_chance_are_no_shift(seed: int) -> None:
    comparison = compare(side(*many(60, seed=seed)), side(*many(60, seed=seed + 100)))
    assert (comparison.errors, comparison.speed.shifts, comparison.regressed) == ((), (), False)


def slower(records: list[dict[str, Any]], times: float) -> list[dict[str, Any]]:
    rng = random.Random(1)
    return [{**record, "seconds": record["seconds"] * times * rng.lognormvariate(0, 0.2)} for record in records]


def test_a_busy_machine_is_not_a_slower_framework() -> None:
    unchanged = {"status": "ready", "versions": {"numpy": "2.4.6"}}
    backends = facts()["backends"] | {"numpy": unchanged}
    newer = {"numpy": unchanged, "jax": {"status": "ready", "versions": {"jax": "0.8.2"}}}
    numpy, jax = many(60, backend="numpy"), many(60, seed=2)
    old = side(*numpy, *jax, backends=backends)
    busy = compare(old, side(*slower(numpy, 3), *slower(jax, 3), backends=newer))
    assert busy.speed.shifts == ()
    assert busy.speed.yardstick == pytest.approx(3, rel=0.1)
    (shift,) = compare(old, side(*slower(numpy, 3), *slower(jax, 6), backends=newer)).speed.shifts
    assert shift.factor == pytest.approx(2, rel=0.15)
    assert shift.group["backend"] == "jax"


def test_without_a_yardstick_speed_is_not_compared() -> None:
    old = many(60)
    newer = {"jax": {"status": "ready", "versions": {"jax": "0.8.2"}}}
    comparison = compare(side(*old), side(*slower(old, 4), backends=newer))
    assert (comparison.speed.shifts, comparison.regressed) == ((), False)
    assert any(section.answer.startswith("Speed is not compared") for section in build_sections(comparison))


# Output ---------------------------------------------------------------------------------------------------------------

HOSTILE = "<script>alert(1)</script> | `code` \n# head"


def test_terminal_markdown_and_page_have_the_same_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = write(tmp_path / "old", record(), record("products::gone"))
    new = write(tmp_path / "new", record(**FAIL | {"reason": HOSTILE}))
    page, markdown = tmp_path / "out" / "page.html", tmp_path / "out" / "summary.md"
    assert main(["compare", str(old), str(new), f"--html={page}", f"--markdown={markdown}"]) == 1
    terminal = capsys.readouterr().out
    assert terminal.startswith("Not safe: 1 check newly fails; 1 check compared.\n")
    for text in (terminal, page.read_text(), markdown.read_text().replace("\\", "")):
        assert "Not safe: 1 check newly fails" in text
        assert record()["id"] in text
        assert "case products::gone" in text
    assert "<script>alert" not in page.read_text()
    assert "<script>" not in markdown.read_text()
    assert not re.search(r"(src|href)=\"(?!data:)", page.read_text())


@pytest.mark.parametrize(
    "option", ["--markdown=old/records.jsonl", "--html=new/run.json", "--html=new/index.html", "--markdown=link"]
)
def test_no_file_of_a_run_is_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("old", "new"):
        write(tmp_path / name, record())
    (tmp_path / "link").symlink_to("old/cases.jsonl")
    before = {file: file.read_bytes() for file in tmp_path.glob("*/*")}
    with pytest.raises(SystemExit) as error:
        main(["compare", "old", "new", option])
    assert error.value.code == 2
    assert f"{option.partition('=')[2]} is a file of the run in " in capsys.readouterr().err
    assert {file: file.read_bytes() for file in tmp_path.glob("*/*")} == before


def test_exit_statuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, same = write(tmp_path / "old", record()), write(tmp_path / "same", record())
    bad = write(tmp_path / "bad", record(**FAIL))
    assert main(["compare", str(old), str(same)]) == 0
    assert main(["compare", str(old), str(bad)]) == 1
    assert main(["compare", str(old), str(bad), "--allow", "*"]) == 0
    with pytest.raises(SystemExit) as error:
        main(["compare", str(old), str(tmp_path)])
    assert error.value.code == 2
    assert "holds no run" in capsys.readouterr().err


def test_fifty_thousand_checks_are_compared_in_seconds(tmp_path: Path) -> None:
    sides = {"old": {}, "new": {"digest": "bb", "error_ratio": 0.12, "seconds": 0.02}}
    for name, fields in sides.items():
        line = json.dumps({**record(**fields), "id": "ID", "case": "CASE"}) + "\n"
        lines = (line.replace("ID", f"{n}").replace("CASE", f"f{n % 60}::c{n}") for n in range(50_000))
        folder = write(tmp_path / name)
        (folder / "records.jsonl").write_text("".join(lines))
        (folder / "run.json").write_text(json.dumps(facts()))
    started = time.process_time()
    assert main(["compare", str(tmp_path / "old"), str(tmp_path / "new"), f"--html={tmp_path / 'page.html'}"]) == 0
    assert time.process_time() - started < 20  # a few seconds on a quiet machine
