"""The benchmarks run the checks that they name; what they measure is not tested."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from backends.discovery import registry
from specs.case.loading import discover, load
from specs.verdict.place import iter_checks
from tests.benchmarks.bare import Shares, checks_of
from tests.benchmarks.growth import write_cases
from tests.benchmarks.memory import growth
from tests.benchmarks.where import print_seconds
from tests.support import ROOT, runs

CASE = "cases/einsum/products.yaml::matrix_product"


def test_a_session_and_its_bare_loop_run_the_checks_of_a_case() -> None:
    options = ["--part", "ratio", "--part", "where", "--backend", "numpy", "--processes", "1", CASE]
    process = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", *options], cwd=ROOT, capture_output=True, text=True, check=True
    )
    cells = [line.strip("|").split("|") for line in process.stdout.splitlines() if line.startswith("| numpy")]
    (backend, checks, *_), (group, same, *_) = ([cell.strip() for cell in row] for row in cells)
    assert (backend, group) == ("numpy", "numpy einsum eager forward")
    assert int(checks) == int(same) > 0


def test_the_bare_loop_makes_the_checks_of_records_again() -> None:
    case = load(ROOT / "cases/einsum/products.yaml", ROOT)[0]
    (check, *_) = iter_checks(case, [registry.load_class("numpy").place("cpu")])
    names = ("backend", "device", "implementation", "mode", "dtype", "direction")
    record = {"file": str(case.file), "case": case.id, **{name: getattr(check, name) for name in names}}
    first, second = checks_of([record, record])
    assert (first.case.id, first.name, first.backend, first.direction) == (case.id, check.name, "numpy", "forward")
    assert first.case is second.case  # so that they share a compiled computation


@pytest.mark.parametrize("turns", [[0] * 8, [0, 1] * 4, [0, 0, 0, 1] * 3, [1, 2] * 4], ids=str)
def test_processes_share_the_checks_without_losing_or_repeating_one(turns: list[int]) -> None:
    shares = Shares(count=7, processes=3)
    taken = [shares.take(index) for index in turns]
    assert sorted(number for number in taken if number is not None) == list(range(7))
    assert shares.take(0) is None


def test_a_process_begins_with_its_own_share() -> None:
    shares = Shares(count=9, processes=3)
    assert [shares.take(index) for index in (0, 1, 2)] == [0, 3, 6]


@pytest.mark.parametrize("checks", [100, 1200])
def test_generated_case_files_have_the_requested_number_of_checks(checks: int, tmp_path: Path) -> None:
    write_cases(tmp_path, checks)
    cases = [case for file in discover([tmp_path], tmp_path) for case in load(file, tmp_path)]
    assert sum(1 for _ in iter_checks_of_numpy(cases)) == checks


def iter_checks_of_numpy(cases):  # type: ignore[no-untyped-def]
    place = registry.load_class("numpy").place("cpu")
    return (check for case in cases for check in iter_checks(case, [place]))


def test_growth_of_memory_is_that_of_the_second_half() -> None:
    filling_caches = [(count, 10 * count * 2**20) for count in range(0, 100, 20)]
    afterwards = [(count, (1000 + count) * 2**10) for count in range(100, 200, 20)]
    assert growth([*filling_caches, *afterwards]) == pytest.approx(1.0)
    assert growth(afterwards[:2]) is None


def test_seconds_of_a_run_are_listed_by_group(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = runs.case()
    records = [
        runs.record(case, "numpy", seconds=0.25),
        runs.record(case, "torch", seconds=0.75),
        runs.record(case, "torch", "unsupported"),
    ]
    print_seconds(runs.write_run(tmp_path / "run", [case], records))
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if "einsum" in line]
    assert [(row[1], row[6], row[10]) for row in rows] == [("torch", "1", "75.0"), ("numpy", "1", "25.0")]
