"""What whole sessions of pytest write to disk, to the terminal and to CI."""

from __future__ import annotations

import shlex
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tests.support.pages import read_data
from tests.support.project import BROKEN, Project, ids


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_session_ends_with_the_path_of_its_page(project: Project, workers: str) -> None:
    result = project.run("right wrong", "-n", workers, "--report=run")
    page = project.path / "run" / "index.html"
    page_lines = [line for line in result.outlines if line.startswith("page: ")]
    assert page_lines == [f"page: {page}"]
    assert "einsum" in page.read_text()
    assert (project.path / "run" / "summary.md").read_text().startswith("# ✕ Conformance: 4 pass")
    assert '"1 fail' not in (project.path / "run" / "badge.json").read_text()
    assert '"4 fail, 4 pass"' in (project.path / "run" / "badge.json").read_text()
    # The suite prints nothing after it; the very last line is pytest's own
    assert result.outlines.index(page_lines[0]) >= len(result.outlines) - 2


def test_a_page_that_cannot_be_written_fails_the_session_and_changes_no_verdict(project: Project) -> None:
    project.write(
        "mistaken.py",
        """
from reports import views

def page(run, records):
    raise ValueError("a mistake of ours")

views.MAKERS["index.html"] = page
""",
    )
    result = project.run("right", "-p", "mistaken")
    assert (result.ret, result.parseoutcomes()) == (pytest.ExitCode.TESTS_FAILED, {"passed": 4})
    result.stdout.fnmatch_lines(
        [
            "FAILED to write index.html: ValueError: a mistake of ours",
            "*python -m reports page *-standard-right",
        ]
    )
    assert "page: " not in [line[:6] for line in result.outlines]
    assert len(project.records()) == 4
    assert project.facts()["complete"]
    assert not (project.folder / "index.html").exists()
    assert (project.folder / "summary.md").exists()


def test_under_github_actions_failing_lines_are_annotated_and_the_step_has_the_summary(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = project.path / "step.md"
    step.write_text("of the step before\n")
    project.write("cases/broken.yaml", BROKEN)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(project.path.parent))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(step))
    result = project.run("wrong", "-k", "broken or product")
    errors = [line for line in result.outlines if line.startswith("::error ")]
    folder = project.path.name
    assert [line.split(",title")[0] for line in errors] == [
        f"::error file={folder}/cases/broken.yaml,line=3,col=3",
        f"::error file={folder}/cases/products.yaml,line=5",
        f"::error file={folder}/cases/products.yaml,line=6",
        f"::error file={folder}/cases/products.yaml,line=7",
        f"::error file={folder}/cases/products.yaml,line=7",
    ]
    text = step.read_text()
    assert text.startswith("of the step before\n# ✕ Conformance: 0 pass")
    assert text.endswith((project.folder / "summary.md").read_text())


def test_elsewhere_nothing_is_annotated(project: Project) -> None:
    assert "::error" not in project.run("wrong").stdout.str()


def read_junit_properties(path: Path) -> dict[str, dict[str, str]]:
    """The properties of each test case of JUnit XML, by its name."""
    (test_suite,) = ElementTree.parse(path).getroot()
    return {
        str(test.get("name")): {str(entry.get("name")): str(entry.get("value")) for entry in test.iter("property")}
        for test in test_suite.iter("testcase")
    }


def test_junit_xml_has_the_properties_and_the_source_of_each_check(project: Project) -> None:
    project.run("wrong aborting", "-n2", "-k", "transpose", "--junit-xml=junit.xml")
    properties_of = read_junit_properties(project.path / "junit.xml")
    names = {backend: f"transpose[{backend}-cpu-einsum-eager-float64]" for backend in ("wrong", "aborting")}
    setting = {"device": "cpu", "implementation": "einsum", "mode": "eager", "dtype": "float64", "direction": "forward"}
    common = {**setting, "source": "cases/products.yaml:6"}
    wrong = properties_of[names["wrong"]]
    assert float(wrong.pop("max_ulp")) > 1
    assert wrong == {"verdict": "fail", "backend": "wrong", "error_ratio": "inf", **common}
    # A crashed item has no report of its own; pytest uses its whole id as its name
    (crashed,) = (properties for name, properties in properties_of.items() if "aborting" in name)
    assert crashed == {"verdict": "error", "backend": "aborting", **common}


def test_the_files_are_valid_even_with_hostile_messages(project: Project) -> None:
    result = project.run("hostile", "-n2", "--junit-xml=junit.xml")
    assert result.parseoutcomes() == {"failed": 4}
    assert {properties["verdict"] for properties in read_junit_properties(project.path / "junit.xml").values()} == {
        "fail"
    }
    assert len(project.records()) == 4
    folder = project.folder
    assert any("alert(1)" in reason for reason in read_data(folder)["tables"]["reason"]["values"])
    assert "<script>alert" not in (folder / "index.html").read_text()


def test_a_record_has_the_command_that_repeats_its_check(project: Project) -> None:
    project.run("right", "--mode=jit", "-k", "transpose")
    (record,) = project.records().values()
    (id,) = ids("transpose", mode="jit")
    words = ["pytest", id, "--mode", "jit", f"--adapter={project.fakes / 'right.py'}", "--backend=right"]
    assert shlex.split(record["again"]) == words
