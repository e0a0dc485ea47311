"""Sessions of pytest with `--shard` and `--baseline`, on NumPy and a backend that changes between two sessions."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from reports.__main__ import main
from reports.read import read
from tests.support import ROOT
from tests.support.prepared import Prepared
from tests.support.project import last_run

PRODUCTS = """\
kind: einsum
defaults: {dtypes: [float64, float32], implementations: [einsum]}
cases:
  product: {equation: "ij,jk->ik", shapes: [[2, 3], [3, 4]]}
  transpose: {equation: "ij->ji", shapes: [[2, 3]]}
  long_sums:
    equation: i,i->
    data: uniform  # not exact inputs, on which every error would be detected
    sweep: {sizes: [{i: 1}, {i: 16}, {i: 1024}]}
"""
ADAPTER = """
import numpy as np
from backends.numpy import Numpy as _Numpy

class Changing(_Numpy):
    name = "changing"

    def run(self, check, operands):
        result = super().run(check, operands)
        return np.asarray({result})
"""
CORRECT, WRONG = "result", "result + 1"
IMPRECISE = "result + 8000 * np.finfo(result.dtype).eps"  # 9,629 of these are the bound of 1,024 products


class Project:
    """A project with one case file, in which sessions run as a user runs them."""

    def __init__(self, path: Path, prepared: Prepared) -> None:
        self.path, self.prepared = path, prepared
        for name in ("conftest.py", "pyproject.toml"):
            shutil.copy(ROOT / name, self.path)
        (self.path / "cases").mkdir()
        (self.path / "cases" / "products.yaml").write_text(PRODUCTS)

    def run(self, *arguments: str, result: str | None = None) -> pytest.RunResult:
        """Run pytest on NumPy or, with `result`, on a backend that returns this expression instead of NumPy's."""
        options = ["--backend=numpy"]
        if result:
            (self.path / "changing.py").write_text(ADAPTER.format(result=result))
            options = ["--adapter=changing.py", "--backend=changing"]
        return self.prepared.pytest(self.path, "-p", "no:hypothesispytest", *options, *arguments)

    def lines(self, folder: str) -> list[dict[str, Any]]:
        """The records of a run, without their durations, in the order of ids."""
        records = [record | {"seconds": None} for record in read(self.path / folder).records()]
        return sorted(records, key=lambda record: record["id"])


@pytest.fixture
def project(tmp_path: Path, prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(tmp_path)]))
    monkeypatch.setenv("COLUMNS", "120")
    return Project(tmp_path, prepared)


def test_three_shards_joined_are_the_whole_run(project: Project) -> None:
    project.run("-n2", "--report=whole")
    for index in (1, 2, 3):
        assert project.run(f"--shard={index}/3", f"--report=s{index}", "-n2").ret == pytest.ExitCode.OK
        facts = read(project.path / f"s{index}").facts
        assert (facts["selection"]["shard"], facts["complete"]) == (f"{index}/3", True)
    parts = [project.lines(f"s{index}") for index in (1, 2, 3)]
    assert all(parts)
    assert sum(map(len, parts)) == len(project.lines("whole"))

    # Recorded deviations of NumPy name cases that this project has not: that fails the whole, and no single shard
    assert read(project.path / "whole").facts["exit_status"] == 1
    assert main(["merge", *(str(project.path / name) for name in ("merged", "s1", "s2", "s3"))]) == 1
    assert project.lines("merged") == project.lines("whole")
    whole, merged = (read(project.path / name).facts for name in ("whole", "merged"))
    same = ("complete", "exit_status", "verdicts", "stale_deviations", "backends", "packages", "suite")
    assert {name: merged[name] for name in same} == {name: whole[name] for name in same}
    assert main(["compare", str(project.path / "whole"), str(project.path / "merged")]) == 0


def test_an_empty_shard_is_a_run_that_passes(project: Project) -> None:
    selected = ("-k", "transpose and float64")
    results = [project.run(*selected, f"--shard={index}/2", f"--report=s{index}").ret for index in (1, 2)]
    assert results == [pytest.ExitCode.OK] * 2
    assert sorted(len(project.lines(f"s{index}")) for index in (1, 2)) == [0, 1]
    assert main(["merge", *(str(project.path / name) for name in ("merged", "s1", "s2"))]) == 0
    for index in (1, 2):
        project.run("-k", "nothing", f"--shard={index}/2", f"--report=s{index}")
    assert main(["merge", *(str(project.path / name) for name in ("nothing", "s1", "s2"))]) == 1


DROPPING = """
def pytest_collection_modifyitems(items):
    items[:] = [item for item in items if "transpose" not in item.nodeid]
"""
NARROWING = {
    "-k": (["-k", "not transpose"], 10),
    "--deselect": (["--deselect", "cases/products.yaml::transpose", "-n2"], 10),
    "--ignore": (["--ignore=cases/more.yaml"], 10),
    "--lf": (["--lf", "-n2"], 2),
    "a plugin": (["-p", "dropping", "-n2"], 10),
}


@pytest.mark.parametrize("option", NARROWING)
def test_whatever_narrows_a_run_is_stated_and_it_does_not_pass_for_whole(
    project: Project, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (project.path / "dropping.py").write_text(DROPPING)
    (project.path / "cases" / "more.yaml").write_text(PRODUCTS.partition("  transpose")[0])
    project.run("--report=whole", result="result + (check.case.id == 'more::product')")  # which fails, for --lf
    narrowing, count = NARROWING[option]
    project.run("--report=part", *narrowing, result=CORRECT)
    selections = [read(project.path / name).facts["selection"] for name in ("whole", "part")]
    assert [(stated["checks"], stated["left_out"]) for stated in selections] == [(12, 0), (12, 12 - count)]
    assert len(project.lines("part")) == count
    assert main(["compare", str(project.path / "whole"), str(project.path / "part")]) == 1
    assert f"{12 - count} of the 12 checks that it selected were left out" in capsys.readouterr().out
    assert f"left out: {12 - count} of 12 checks" in (project.path / "part" / "summary.md").read_text()


def test_a_shard_that_is_narrowed_is_not_joined_with_others_and_all_of_them_state_it(project: Project) -> None:
    narrowing = ("--deselect", "cases/products.yaml::product[numpy-cpu-einsum-eager-float64]")
    for index, options in ((1, ()), (2, ()), (3, narrowing)):
        project.run(f"--shard={min(index, 2)}/2", f"--report=s{index}", *options)
    folders = [str(project.path / name) for name in ("merged", "s1", "s2", "s3")]
    assert main(["merge", *folders[:3]]) == 1  # deviations of NumPy name cases that this project has not
    assert read(project.path / "merged").facts["complete"]
    with pytest.raises(SystemExit, match="2"):
        main(["merge", folders[0], folders[1], folders[3]])
    project.run("--shard=1/2", "--report=s1", *narrowing)
    assert main(["merge", str(project.path / "less"), folders[1], folders[3]]) == 0
    selection = read(project.path / "less").facts["selection"]
    assert (selection["checks"], selection["left_out"]) == (10, 1)


def test_an_invalid_shard_or_baseline_is_a_usage_error(project: Project) -> None:
    for option, message in (("--shard=3/2", "*3/2: a shard is I/N*"), ("--baseline=nowhere", "*nowhere holds no run*")):
        result = project.run(option)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([message])


def test_a_session_without_changes_passes(project: Project) -> None:
    project.run("--report=earlier")
    result = project.run("--baseline=earlier", "-n2", "cases/products.yaml")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        ["*compared with *earlier*", "Safe: all 10 checks that ran in both runs behave as before."]
    )


def test_a_run_can_be_compared_with_the_one_that_it_overwrites(project: Project) -> None:
    project.run("--report=mine", result=CORRECT)
    result = project.run("--baseline=mine", "--report=mine", result=WRONG)
    result.stdout.fnmatch_lines(["Not safe: 10 checks newly fail; 10 checks compared."])


def test_an_error_that_grew_fails_the_session_though_every_check_passes(project: Project) -> None:
    part = ["-k", "long_sums/1024"]
    assert project.run("--report=earlier", *part, result=CORRECT).ret == pytest.ExitCode.OK
    result = project.run("--baseline=earlier", *part, result=IMPRECISE)
    result.assert_outcomes(passed=2)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    answer = "Not safe: 2 checks have a larger error; 2 checks compared."
    result.stdout.fnmatch_lines([answer, "*error grown*"])
    summary, page = (last_run(project.path) / name for name in ("summary.md", "index.html"))
    assert summary.read_text().startswith("# ✕ ")
    assert summary.read_text().index("### Error ratio grown") < summary.read_text().index("| backend | version |")
    assert f"earlier: {answer}" in page.read_text()


def test_a_narrowed_session_is_compared_with_the_same_checks(project: Project) -> None:
    project.run("--report=earlier", result=WRONG)
    result = project.run("--baseline=earlier", "cases/products.yaml::product", result=CORRECT)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["Safe: nothing became worse in the 2 checks that ran in both runs*"])
    result.stdout.no_fnmatch_line("*ran in the old run only*")
