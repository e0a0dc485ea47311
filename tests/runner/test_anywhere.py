"""`python -m runner`: cases and adapters that are not of the project, from a folder that is not."""

import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import conftest
from reports.read import read
from runner.__main__ import PLUGINS
from tests.support import ROOT
from tests.support.prepared import PLAIN, Prepared
from tests.support.project import BROKEN, PRODUCTS, last_run

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def folder(tmp_path: Path, fakes: Path) -> Path:
    """Somebody's own folder: cases, something else beside them, and an adapter."""
    (tmp_path / "ours" / "deviations").mkdir(parents=True)
    (tmp_path / "ours" / "products.yaml").write_text(PRODUCTS)
    (tmp_path / "ours" / "deviations" / "right.yaml").write_text("[]")
    (tmp_path / "elsewhere.yaml").write_text(BROKEN)
    (tmp_path / "mine.py").write_text((fakes / "right.py").read_text())
    return tmp_path


@pytest.fixture
def run(fakes: Path, prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Calls `python -m runner`, or another module, in a folder."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (ROOT, fakes))))
    monkeypatch.setenv("IMPORTED", str(tmp_path / "imported"))
    monkeypatch.setenv("COLUMNS", "120")

    def run_in(folder: Path, *arguments: str, module: str = "runner") -> subprocess.CompletedProcess[str]:
        plain = [PLAIN] if module == "runner" else []
        return prepared.run(module, folder, *plain, *arguments)

    return run_in


MINE = ("--adapter=mine.py", "--backend=right", "--mode=eager", "-q")


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "two workers"])
def test_a_folder_is_run_where_it_stands(folder: Path, run: Run, workers: tuple[str, ...]) -> None:
    ended = run(folder, "ours", *MINE, *workers)
    assert ended.returncode == pytest.ExitCode.OK, ended.stdout + ended.stderr
    assert "4 passed" in ended.stdout
    assert "warning" not in ended.stdout
    records = list(read(last_run(folder)).records())
    assert {record["file"] for record in records} == {"ours/products.yaml"}
    assert {record["case"] for record in records} >= {"ours/products::product", "ours/products::transpose"}


def test_it_runs_without_xdist(folder: Path, run: Run) -> None:
    ended = run(folder, "ours", *MINE, "-p", "no:xdist")
    assert ended.returncode == pytest.ExitCode.OK, ended.stdout + ended.stderr
    refused = run(folder, "ours", *MINE, "-p", "no:xdist", "-n", "2")
    assert "ERROR: -n 2 needs pytest-xdist" in refused.stderr


def test_a_check_is_run_again_with_the_command_of_its_record(folder: Path, run: Run) -> None:
    run(folder, "ours/products.yaml::product", *MINE)
    (record,) = read(last_run(folder)).records()
    program, _, rest = record["again"].partition(" 'ours/")
    assert program == "python -m runner"
    assert rest == "products.yaml::product[right-cpu-einsum-eager-float64]' --adapter=mine.py --backend=right"


def test_files_elsewhere_keep_their_paths(folder: Path, run: Run) -> None:
    (folder / "theirs").mkdir()
    (folder / "theirs" / "products.yaml").write_text(PRODUCTS)
    (folder / "here").mkdir()
    files = [str(folder / name / "products.yaml") for name in ("ours", "theirs")]
    adapter = ("--adapter=../mine.py", *MINE[1:])
    ended = run(folder / "here", *(f"{file}::product" for file in files), *adapter)
    assert "2 passed" in ended.stdout, ended.stdout + ended.stderr
    records = list(read(last_run(folder / "here")).records())
    assert {record["file"] for record in records} == {"ours/products.yaml", "theirs/products.yaml"}
    again = shlex.split(records[0]["again"])
    assert again[:4] == ["python", "-m", "runner", f"../{records[0]['id']}"]
    assert "1 passed" in run(folder / "here", *again[3:], "--backend=right", "-q").stdout


def test_a_program_is_of_the_case_in_the_present_folder(folder: Path, run: Run) -> None:
    (folder / "cases" / "einsum").mkdir(parents=True)
    own = PRODUCTS.replace("ij,jk->ik", "ij,kj->ik").replace("[[2, 3], [3, 4]]", "[[2, 3], [4, 3]]")
    (folder / "cases" / "einsum" / "products.yaml").write_text(own)
    id = "cases/einsum/products.yaml::product[numpy-cpu-einsum-eager-float64]"
    assert "ij,kj->ik" in run(folder, "script", id, module="reports").stdout


def test_a_file_that_cannot_be_used_is_told_with_its_place(folder: Path, run: Run) -> None:
    ended = run(folder, "elsewhere.yaml", *MINE)
    assert ended.returncode == pytest.ExitCode.TESTS_FAILED
    assert "elsewhere.yaml:3:13: " in ended.stdout


def test_a_pipe_is_refused(folder: Path, run: Run) -> None:
    os.mkfifo(folder / "pipe.yaml")
    ended = run(folder, "pipe.yaml", *MINE)
    assert ended.returncode == pytest.ExitCode.USAGE_ERROR
    assert "pipe.yaml: this is not a regular file" in ended.stderr


@pytest.mark.parametrize("named", ["ours", "ours/link.yaml"])
@pytest.mark.parametrize("target", ["link.yaml", "nowhere.yaml"], ids=["loop", "dangling"])
def test_a_link_that_leads_nowhere_is_refused(folder: Path, run: Run, target: str, named: str) -> None:
    (folder / "ours" / "link.yaml").symlink_to(target)
    ended = run(folder, named, *MINE)
    assert ended.returncode == pytest.ExitCode.USAGE_ERROR
    assert ended.stderr.strip() == f"ERROR: {folder}/ours/link.yaml: this link leads to no file"


def test_what_looks_like_case_files_and_is_not_read_is_listed(folder: Path, run: Run) -> None:
    for name in ("other.yml", "LOUD.YAML", "build/products.yaml", "deviations/more.yml"):
        (folder / "ours" / name).parent.mkdir(exist_ok=True)
        (folder / "ours" / name).write_text(PRODUCTS)
    ended = run(folder, "ours", *MINE)
    assert ended.returncode == pytest.ExitCode.OK
    unread = "not read, for the name or the folder: ours/LOUD.YAML, ours/build/products.yaml, ours/other.yml"
    assert unread in ended.stdout.splitlines()


def test_files_whose_cases_would_have_the_same_ids_are_refused(folder: Path, run: Run) -> None:
    names = [folder / name / "a.yaml" for name in ("one", "two")]
    for file in names:
        file.parent.mkdir()
        file.write_text(PRODUCTS)
    ended = run(ROOT, "conftest.py", *map(str, names), "--backend=numpy", module="pytest")
    assert ended.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"{names[0]} and {names[1]} have cases with the same ids: rename one of the files" in ended.stderr
    ended = run(folder, "check", "one", "two", module="specs")
    assert ended.returncode == 1
    same = "two/a.yaml:1:1: its cases have the ids of those in one/a.yaml: rename one of the files"
    assert same in ended.stdout.splitlines()


def test_below_the_project_it_is_the_projects_own_session(run: Run) -> None:
    check = "einsum/products.yaml::matrix_product"
    options = ("--backend=numpy", "--dtype=float32", "--collect-only", "-q", "-p", "no:cacheprovider")
    ended = run(ROOT / "cases", check, *options)
    assert "cases/einsum/products.yaml::matrix_product[numpy-cpu-einsum-eager-float32]" in ended.stdout, ended.stderr


def test_both_front_doors_open_the_same_files() -> None:
    assert conftest.pytest_plugins == PLUGINS
