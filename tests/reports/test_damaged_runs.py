"""Damaged and odd runs: each command over runs says in one sentence what is wrong and where, or reads what is right."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reports.__main__ import main
from reports.folders import checksums
from reports.read import read
from specs.case.einsum import EinsumConfig
from specs.verdict.record import SCHEMA_VERSION
from tests.support.runs import case, record, write_run

CASES = [case("einsum/products::one"), case("einsum/products::two")]
Damage = Callable[[Path], object]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    counts = {"pass": 1, "deviation": 0, "unsupported": 0, "fail": 1, "error": 0}
    records = [record(CASES[0]), record(CASES[1], verdict="fail", reason="1 of 8 values is wrong")]
    folder = write_run(tmp_path / "run", CASES, records, {"verdicts": counts, "exit_status": 1})
    edit_facts(checksums=checksums(folder))(folder)
    return folder


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    return write_run(tmp_path / "whole", CASES, [record(CASES[0]), record(CASES[1])])


COMMANDS: dict[str, Callable[[Path, Path], list[Path | str]]] = {
    "compare old": lambda run, whole: ["compare", run, whole],
    "compare new": lambda run, whole: ["compare", whole, run],
    "merge": lambda run, whole: ["merge", whole.parent / "merged", run],
    "page": lambda run, whole: ["page", run],
    "ran": lambda run, whole: ["ran", run],
}


def write(name: str, content: str | bytes) -> Damage:
    return lambda run: (run / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def cut(name: str, count: int) -> Damage:
    return lambda run: (run / name).write_bytes((run / name).read_bytes()[:-count])


def folder_for(name: str) -> Damage:
    return lambda run: ((run / name).unlink(), (run / name).mkdir())


def edit_line(name: str, **fields: Any) -> Damage:
    """The second line, with these fields changed; None removes one."""

    def edit(run: Path) -> None:
        lines = (run / name).read_text().split("\n")
        kept = {key: value for key, value in json.loads(lines[1]).items() if key not in fields}
        lines[1] = json.dumps(kept | {key: value for key, value in fields.items() if value is not None})
        (run / name).write_text("\n".join(lines))

    return edit


def edit_text(name: str, old: str, new: str) -> Damage:
    def edit(run: Path) -> None:
        text = (run / name).read_text()
        assert old in text
        (run / name).write_text(text.replace(old, new))

    return edit


def edit_facts(**fields: Any) -> Damage:
    def edit(run: Path) -> None:
        facts = json.loads((run / "run.json").read_text())
        kept = {key: value for key, value in (facts | fields).items() if value is not None or key not in fields}
        (run / "run.json").write_text(json.dumps(kept))

    return edit


NEWER = SCHEMA_VERSION + 1
# Damage: a pattern of the sentence
UNREADABLE: dict[str, tuple[Damage, str]] = {
    "no run.json": (lambda run: (run / "run.json").unlink(), r"run holds no run: there is no run\.json in it"),
    "no records": (lambda run: (run / "records.jsonl").unlink(), r"run holds no run: there is no records\.jsonl in it"),
    "no cases": (lambda run: (run / "cases.jsonl").unlink(), r"run holds no run: there is no cases\.jsonl in it"),
    "records cut in a line": (cut("records.jsonl", 20), r"records\.jsonl was cut off after the run had ended: .*"),
    "cases cut in a line": (cut("cases.jsonl", 20), r"cases\.jsonl was cut off after the run had ended: .*"),
    "a folder for run.json": (folder_for("run.json"), r"run\.json cannot be read: Is a directory"),
    "a folder for the records": (folder_for("records.jsonl"), r"records\.jsonl cannot be read: Is a directory"),
    "run.json is empty": (write("run.json", ""), r"run\.json is not JSON: Expecting value.*"),
    "run.json is garbage": (write("run.json", bytes(range(128, 256))), r"run\.json is not JSON: .*can't decode.*"),
    "run.json is a list": (write("run.json", "[]"), r"run\.json: no schema version, so this was not written by .*"),
    "run.json of something else": (write("run.json", '{"name": "x"}'), r"run\.json: no schema version, so .*"),
    "run.json of brackets": (write("run.json", "[" * 100_000), r"run\.json is not JSON: it is nested too deeply"),
    "run.json with 1e999": (
        edit_text("run.json", '"cpus": ', '"cpus": 1e999, "x": '),
        r"run\.json is not JSON: 1e999 is larger .*",
    ),
    "a newer run.json": (edit_facts(schema=NEWER), rf"run\.json: written with schema version {NEWER}, and .*"),
    "no backends": (edit_facts(backends=None), r"run\.json: there is no `backends`"),
    "backends in a list": (edit_facts(backends=[]), r"run\.json: `backends` is a list, where an object is required"),
    "a backend that is text": (edit_facts(backends={"x": "y"}), r"run\.json: `x` in `backends` is text, where an .*"),
    "complete as text": (edit_facts(complete="yes"), r"run\.json: `complete` is text, where true or false is required"),
    "counts as text": (
        edit_facts(verdicts={"pass": "1"}),
        r"run\.json: `pass` in `verdicts` is text, where an integer .*",
    ),
    "emptied records": (
        write("records.jsonl", ""),
        r"records\.jsonl: there are 0 records of the verdict pass, where run\.json counts 1: .*",
    ),
    "a lost record": (
        lambda run: write("records.jsonl", (run / "records.jsonl").read_bytes().partition(b"\n")[2])(run),
        r"records\.jsonl: there are 0 records of the verdict pass, where .*",
    ),
    "garbage among the records": (write("records.jsonl", b"\xff\x00\n"), r"records\.jsonl:1: not a record: .*"),
    "brackets among the records": (
        write("records.jsonl", "[" * 100_000 + "\n"),
        r"records\.jsonl:1: not a record: it is nested too deeply",
    ),
    "a list among the records": (write("records.jsonl", "[1]\n"), r"records\.jsonl:1: no schema version, so .*"),
    "a newer record": (
        edit_line("records.jsonl", schema=NEWER),
        rf"records\.jsonl:2: written with schema version {NEWER}.*",
    ),
    "a record without its verdict": (
        edit_line("records.jsonl", verdict=None),
        r"records\.jsonl:2: there is no `verdict`",
    ),
    "another verdict": (
        edit_line("records.jsonl", verdict="perhaps"),
        r"records\.jsonl:2: `verdict` is 'perhaps', where one of pass, .*",
    ),
    "an id that is a number": (
        edit_line("records.jsonl", id=5),
        r"records\.jsonl:2: `id` is an integer, where text is required",
    ),
    "a bound that is a list": (
        edit_line("records.jsonl", bound=[]),
        r"records\.jsonl:2: `bound` is a list, where an object is required",
    ),
    "a ratio of words": (
        edit_line("records.jsonl", error_ratio="much"),
        r"records\.jsonl:2: `error_ratio` is 'much', which is no number",
    ),
    "a pass beyond its bound": (
        edit_text("records.jsonl", '"error_ratio": 0.25', '"error_ratio": 1.25'),
        r"records\.jsonl:1: a check cannot pass with an error of 1\.25 times its bound",
    ),
    "another digit": (
        edit_text("records.jsonl", '"error_ratio": 0.25', '"error_ratio": 0.35'),
        r"records\.jsonl was changed after the run wrote it: run\.json states another checksum",
    ),
    "checksums in a list": (edit_facts(checksums=[]), r"run\.json: `checksums` is a list, where an object is required"),
    "seconds of 1e999": (
        edit_text("records.jsonl", '"seconds": 0.0', '"seconds": 1e999'),
        r"records\.jsonl:1: not a record: 1e999 is larger .*",
    ),
    "seconds of NaN": (
        edit_text("records.jsonl", '"seconds": 0.0', '"seconds": NaN'),
        r"records\.jsonl:1: not a record: NaN is no number of JSON",
    ),
    "a line of 5,000 digits": (
        edit_text("records.jsonl", '"line": 5', f'"line": {"9" * 5000}'),
        r"records\.jsonl:1: not a record: 9+… is larger .*",
    ),
}
# The statements of the cases, which `ran` does not read
OF_CASES: dict[str, tuple[Damage, str]] = {
    "a folder for the cases": (folder_for("cases.jsonl"), r"cases\.jsonl cannot be read: Is a directory"),
    "a case that is garbage": (write("cases.jsonl", b"\xff\x00\n"), r"cases\.jsonl:1: not a record: .*"),
    "a case of brackets": (
        write("cases.jsonl", "[" * 100_000 + "\n"),
        r"cases\.jsonl:1: not a record: it is nested .*",
    ),
    "another digit in a case": (
        edit_text("cases.jsonl", "[3, 4]", "[3, 5]"),
        r"cases\.jsonl was changed after the run wrote it: run\.json states another checksum",
    ),
    "a case without config": (edit_line("cases.jsonl", config=None), r"cases\.jsonl:2: there is no `config`"),
    "a newer case": (edit_line("cases.jsonl", schema=NEWER), rf"cases\.jsonl:2: written with schema version {NEWER}.*"),
}


# What readers do not look at before they use it
DEEP: dict[str, tuple[Damage, str]] = {
    "a config without its equation": (
        edit_text("cases.jsonl", '"equation"', '"equashun"'),
        r"cases\.jsonl:1: `config\.equation` is wrong: field required",
    ),
    "an equation that is a list": (
        edit_text("cases.jsonl", '"ij,jk->ik"', "[]"),
        r"cases\.jsonl:1: `config\.equation` is wrong: .*",
    ),
    "sizes that are text": (
        edit_line("cases.jsonl", shapes={"operand_0": 5}),
        r"cases\.jsonl:2: `shapes\.operand_0` is 5, where array is required",
    ),
    "a number without digits": (
        edit_text("records.jsonl", '"expected": "', '"expectation": "'),
        r"records\.jsonl:1: there is no `worst\.expected`",
    ),
    "a tier that is a list": (edit_facts(tier=["full"]), r"run\.json: `tier` is \['full'\], where one of smoke, .*"),
}


def result(arguments: list[Path | str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit status of a command, and what it printed."""
    try:
        status = main(list(map(str, arguments)))
    except SystemExit as exit:
        status = int(exit.code or 0)
    return status, "".join(capsys.readouterr())


def result_after(
    change: Damage, command: str, run: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    """What one of `COMMANDS` does with a run that is damaged: never a traceback."""
    change(run)
    status, printed = result(COMMANDS[command](run, whole), capsys)
    assert "Traceback" not in printed
    return status, printed


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("damage", UNREADABLE)
def test_damage_is_told_in_a_sentence(
    run: Path, whole: Path, damage: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change, sentence = UNREADABLE[damage]
    status, printed = result_after(change, command, run, whole, capsys)
    assert status == 2
    assert re.search(f"^python -m reports: error: .*{sentence}$", printed, re.MULTILINE), printed
    assert len(printed.splitlines()[-1]) < 400


@pytest.mark.parametrize("command", ["compare old", "compare new", "merge", "page"])
@pytest.mark.parametrize("damage", OF_CASES)
def test_damage_of_cases_is_told_in_a_sentence(
    run: Path, whole: Path, damage: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change, sentence = OF_CASES[damage]
    status, printed = result_after(change, command, run, whole, capsys)
    assert status != 0
    assert re.search(sentence, printed), printed


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("damage", DEEP)
def test_damage_within_a_field_is_told_with_its_place_by_whoever_needs_the_field(
    run: Path, whole: Path, damage: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change, sentence = DEEP[damage]
    edit_facts(checksums=None)(run)
    status, printed = result_after(change, command, run, whole, capsys)
    if command in ("page", "merge"):
        assert status == 1
        assert re.search(f"{sentence}$", printed, re.MULTILINE), printed
    assert "Error: " not in printed


@pytest.mark.parametrize("name", ["records.jsonl", "cases.jsonl"])
def test_what_a_writer_that_was_stopped_left_is_read_up_to_there_and_said_to_be_cut(
    run: Path, whole: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    edit_facts(complete=False, finished=None, checksums=None)(run)
    cut(name, 20)(run)
    status, printed = result(["compare", whole, run], capsys)
    assert status == 1
    assert "was cut off" in printed
    assert read(run).truncated
    assert len(list(read(run).records())) == (1 if name == "records.jsonl" else 2)


def test_a_separator_of_unicode_ends_no_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    about = "One\u2028two\u2029three."
    odd = case("einsum/products::odd", config=EinsumConfig(equation="i->", shapes=[[2]], about=about))
    folder = write_run(tmp_path / "odd", [odd], [record(odd)])
    lines = [json.loads(line) for line in (folder / "cases.jsonl").read_text().split("\n") if line]
    (folder / "cases.jsonl").write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    assert [statement["config"]["about"] for statement in read(folder).cases()] == [about]
    for arguments in (["compare", folder, folder], ["page", folder], ["merge", tmp_path / "merged", folder]):
        assert result(arguments, capsys)[0] == 0


def test_a_folder_that_holds_something_else_is_not_joined_into(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = run.parent / "site"
    site.mkdir()
    (site / "index.html").write_text("mine")
    status, printed = result(["merge", site, run], capsys)
    assert (status, (site / "index.html").read_text()) == (2, "mine")
    assert "holds index.html, which is not of a run" in printed


def test_a_report_that_cannot_be_written_is_told(run: Path, whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, printed = result(["compare", whole, run, "--html", run / "run.json" / "page.html"], capsys)
    assert status == 2
    assert re.search(r"error: .*run\.json: (Not a directory|File exists)$", printed, re.MULTILINE), printed


def test_latest_may_be_a_file_that_names_the_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run.parent / "runs").mkdir()
    run.rename(run.parent / "runs" / "20260102T030405-standard")
    latest = run.parent / "latest"
    latest.write_text("runs/20260102T030405-standard")
    assert result(["page", latest], capsys)[0] == 0
