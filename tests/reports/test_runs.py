"""Runs on disk, and the summary made of records, without a session of pytest."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from reports import folders
from reports.folders import VIEWS
from reports.read import RunError, read
from reports.stream import Stream
from reports.terminal import Summary
from specs.verdict.record import SCHEMA_VERSION, Measurement, Record


def record(name: str = "product", backend: str = "numpy", **fields: object) -> Record:
    place = {"device": "cpu", "implementation": "einsum", "mode": "eager", "dtype": "float64", "direction": "forward"}
    facts = {"verdict": "pass", **place, **fields}
    return Record(f"f.yaml::{name}[{backend}]", "f.yaml", 3, f"f::{name}", "einsum", backend, **facts)  # type: ignore[arg-type]


def report(source: Record) -> SimpleNamespace:
    return SimpleNamespace(nodeid=source.id, conformance=source.as_json())


def session(exit_status: int = 0, collected: int = 2) -> SimpleNamespace:
    return SimpleNamespace(exitstatus=exit_status, testscollected=collected)


@pytest.fixture
def stream(tmp_path: Path) -> Stream:
    return Stream(folders.given(tmp_path / "run"), ["-k", "a b"], {"backends": {}})


def test_a_run_is_read_as_it_was_written(stream: Stream) -> None:
    first, second = record("é", verdict="fail", measurement=Measurement(error_ratio=float("inf"))), record("second")
    for written in (first, second):
        stream.pytest_runtest_logreport(report(written))
    stream.pytest_sessionfinish(session())
    run = read(stream.folder)
    assert list(run.records()) == [first.as_json(), second.as_json()]
    assert (run.truncated, run.facts["complete"], run.facts["command"]) == (False, True, "pytest -k 'a b'")


@pytest.mark.parametrize(("exit_status", "collected"), [(2, 1), (0, 2), (1, 2)])
def test_a_run_with_results_missing_is_not_complete(stream: Stream, exit_status: int, collected: int) -> None:
    stream.pytest_runtest_logreport(report(record()))
    stream.pytest_sessionfinish(session(exit_status, collected))
    assert not read(stream.folder).facts["complete"]


def test_a_session_without_checks_writes_nothing(stream: Stream) -> None:
    stream.begin()
    stream.pytest_runtest_logreport(SimpleNamespace(nodeid="tests/test_it.py::test_it"))
    stream.pytest_sessionfinish(session(collected=1))
    assert not stream.folder.exists()


def test_views_of_the_run_before_are_not_left_beside_new_records(stream: Stream) -> None:
    for name in VIEWS:
        (stream.folder / name).write_text("of the run before")
    stream.pytest_runtest_logreport(report(record()))
    assert sorted(path.name for path in stream.folder.iterdir()) == ["cases.jsonl", "records.jsonl", "run.json"]


def test_a_case_is_written_once(stream: Stream) -> None:
    for _ in range(2):  # as two workers do
        statement = {"case": "f::product", "kind": "einsum", "config": {}, "data": "normal", "shapes": None}
        statement["schema"] = SCHEMA_VERSION
        stream.pytest_runtest_logreport(SimpleNamespace(**vars(report(record())), conformance_case=statement))
    stream.pytest_sessionfinish(session())
    assert list(read(stream.folder).cases()) == [statement]


def test_a_run_that_began_can_be_read(stream: Stream) -> None:
    stream.pytest_runtest_logreport(report(record()))
    run = read(stream.folder)
    assert len(list(run.records())) == 1
    assert not run.facts["complete"]


def test_a_truncated_line_is_left_out_and_reported(stream: Stream) -> None:
    for name in ("first", "second"):
        stream.pytest_runtest_logreport(report(record(name)))
    path = stream.folder / "records.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    run = read(stream.folder)
    assert run.truncated
    assert [entry["case"] for entry in run.records()] == ["f::first"]


@pytest.mark.parametrize("name", ["run.json", "records.jsonl"])
def test_a_newer_schema_is_refused(stream: Stream, name: str) -> None:
    stream.pytest_runtest_logreport(report(record()))
    path = stream.folder / name
    newer = json.loads(path.read_text()) | {"schema": SCHEMA_VERSION + 1}
    path.write_text(json.dumps(newer) + "\n")
    with pytest.raises(RunError, match=f"schema version {SCHEMA_VERSION + 1}"):
        list(read(stream.folder).records())


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no run: there is no run\.json"):
        read(tmp_path)
    for name in ("records.jsonl", "cases.jsonl"):
        (tmp_path / name).touch()
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(RunError, match="no schema version"):
        read(tmp_path)


class Screen:
    """A TerminalReporter that collects its output."""

    def __init__(self, verbosity: int = 0) -> None:
        self.text = ""
        self.config = SimpleNamespace(get_verbosity=lambda: verbosity)

    def write(self, text: str, **markup: bool) -> None:
        self.text += text

    def write_line(self, line: str, **markup: bool) -> None:
        self.text += line + "\n"

    def write_sep(self, sep: str, title: str, **markup: bool) -> None:
        self.text += f"{sep} {title} {sep}\n"


def print_summary(summary: Summary, verbosity: int = 0) -> list[str]:
    screen = Screen(verbosity)
    hook = summary.pytest_terminal_summary(screen)  # type: ignore[arg-type]
    list(hook)
    return screen.text.splitlines()


@pytest.fixture
def summary(monkeypatch: pytest.MonkeyPatch) -> Summary:
    monkeypatch.setenv("COLUMNS", "140")
    backends = {
        "numpy": {"version": "2.4.6", "reason": "", "next_step": ""},
        "absent": {"version": None, "reason": "not installed", "next_step": "pip install absent"},
    }
    facts = {"backends": backends, "unmet": {"absent": "not installed"}, "tier": "full", "selection": {}}
    return Summary(facts, [("numpy", "cpu"), ("numpy", "cuda:0")])


def test_the_table(summary: Summary) -> None:
    for entry in (
        record("near", measurement=Measurement(error_ratio=0.75)),
        record("far", measurement=Measurement(error_ratio=0.25)),
        record("known", verdict="deviation", reason="known", measurement=Measurement(error_ratio=1e9)),
        record("odd", verdict="error", reason="crash"),
    ):
        summary.pytest_runtest_logreport(report(entry))  # type: ignore[arg-type]
    lines = print_summary(summary)
    head, cpu, cuda = lines[1:4]
    assert cpu.split() == ["numpy", "2.4.6", "cpu", "2", "1", "0", "0", "1", "0.75", "f::near"]
    assert cuda.split() == ["numpy", "2.4.6", "cuda:0", "0", "0", "0", "0", "0", "-"]
    assert head.endswith("pass  deviation  unsupported  fail  error  worst ratio")
    ends = [cpu.index("2 ") + 1, cpu.index("0.75") + 4]
    assert [head.index("version"), head.index("device")] == [cpu.index("2.4.6"), cpu.index("cpu")]
    assert [head.index("pass") + 4, len(head)] == ends
    assert "  absent: not installed" in lines
    assert "    pip install absent" in lines
    assert lines[-1] == "FAILED: absent had to run and could not: not installed"


def test_common_reasons_come_first_and_rare_ones_are_counted(summary: Summary) -> None:
    for count in range(1, 8):
        for _ in range(count):
            unsupported = record(verdict="unsupported", reason=f"reason {count}")
            summary.pytest_runtest_logreport(report(unsupported))  # type: ignore[arg-type]
    lines = print_summary(summary)
    start = lines.index("unsupported")
    assert [line.split(maxsplit=1) for line in lines[start + 1 : start + 7]] == [
        ["7", "reason 7"],
        ["6", "reason 6"],
        ["5", "reason 5"],
        ["4", "reason 4"],
        ["3", "reason 3"],
        ["3", "… and 2 more reasons"],
    ]


@pytest.mark.parametrize("ratio", ["inf", "nan"])
def test_an_infinite_or_nan_ratio_is_the_worst_and_hides_no_other(summary: Summary, ratio: str) -> None:
    for name, value in (("near", 0.75), ("bad", float(ratio))):
        failed = record(name, verdict="fail", measurement=Measurement(error_ratio=value))
        summary.pytest_runtest_logreport(report(failed))  # type: ignore[arg-type]
    assert print_summary(summary)[2].split()[-3:] == ["0.75,", "inf", "f::bad"]


def test_with_two_qs_only_the_counts_are_printed(summary: Summary) -> None:
    summary.pytest_runtest_logreport(report(record()))  # type: ignore[arg-type]
    assert print_summary(summary, verbosity=-2) == ["1 pass, 0 deviation, 0 unsupported, 0 fail, 0 error"]
