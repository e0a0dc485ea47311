"""Case files outside the project, by `pytest conftest.py …`: like those inside, from any folder and by any path."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.project import PRODUCTS, Project

FILE = "mine/a.yaml"
DEVIATION = """\
- match: {case: "a::transpose"}
  observed: {error: no kernel}
  grade: limitation
  reason: There is no such kernel.
"""


@pytest.fixture
def outside(project: Project) -> Path:
    """A folder beside the project with a case file, a link to the file and one to its folder."""
    folder = project.path.parent
    (folder / "mine").mkdir()
    (folder / FILE).write_text(PRODUCTS)
    (folder / "linked").symlink_to("mine")
    (folder / "link.yaml").symlink_to(FILE)
    return folder


def by_relative_path(outside: Path, here: Path) -> str:
    return os.path.relpath(outside / FILE, here)


def by_absolute_path(outside: Path, here: Path) -> str:
    return str(outside / FILE)


def by_folder(outside: Path, here: Path) -> str:
    return os.path.relpath(outside / "mine", here)


def by_linked_folder(outside: Path, here: Path) -> str:
    return str(outside / "linked" / "a.yaml")


def by_linked_file(outside: Path, here: Path) -> str:
    return os.path.relpath(outside / "link.yaml", here)


WAYS = [by_relative_path, by_absolute_path, by_folder, by_linked_folder, by_linked_file]


@pytest.mark.parametrize("start", ["project", "project/cases", "mine", "."])
@pytest.mark.parametrize("way", WAYS)
def test_a_file_elsewhere_has_ids_and_commands_that_work(
    project: Project, outside: Path, way: Callable[[Path, Path], str], start: str
) -> None:
    here = outside / start
    front = os.path.relpath(project.path / "conftest.py", here)
    arguments = project.arguments("right", front, way(outside, here), "-k", "transpose")
    project.prepared.pytest(here, *arguments).assert_outcomes(passed=1)
    (record,) = project.records().values()
    file = {by_linked_folder: "../linked/a.yaml", by_linked_file: "../link.yaml"}.get(way, "../mine/a.yaml")
    assert record["file"] == file
    assert record["id"] == f"{file}::transpose[right-cpu-einsum-eager-float64]"
    again = shlex.split(record["again"])
    quicker = project.arguments("right")[:4]
    project.prepared.pytest(here, *quicker, *again[1:], "--backend=right").assert_outcomes(passed=1)
    assert [*project.records()] == [record["id"]]


@pytest.mark.parametrize("start", ["project", "mine"])
def test_a_crash_there_is_recorded(project: Project, outside: Path, start: str) -> None:
    front = os.path.relpath(project.path / "conftest.py", outside / start)
    arguments = project.arguments("aborting", front, str(outside / FILE), "-n", "1")
    project.prepared.pytest(outside / start, *arguments)
    record = project.records()["../mine/a.yaml::transpose[aborting-cpu-einsum-eager-float64]"]
    assert record["reason"] == "its worker process died while running it (SIGABRT)"
    assert len(project.records()) == 4
    assert project.facts()["complete"]


def test_a_deviation_of_its_cases_is_observed(project: Project, outside: Path) -> None:
    adapter = (project.fakes / "raising.py").read_text()
    (outside / "mine" / "raising.py").write_text(adapter)
    (outside / "mine" / "deviations").mkdir()
    (outside / "mine" / "deviations" / "raising.yaml").write_text(DEVIATION)
    result = project.run("", "conftest.py", "../mine", "--adapter=../mine/raising.py", "--backend=raising")
    assert result.parseoutcomes() == {"deviation": 1, "failed": 3}


def test_its_mistakes_have_its_path(project: Project, outside: Path) -> None:
    (outside / "mine" / "b.yaml").write_text("kind: einsum\ncases: {x: {equashun: 'i->'}}\n")
    result = project.run("right", "conftest.py", "../mine")
    result.stdout.fnmatch_lines(["*../mine/b.yaml:2:13: *equation*"])
    assert list(project.facts()["broken_case_files"]) == ["../mine/b.yaml"]
