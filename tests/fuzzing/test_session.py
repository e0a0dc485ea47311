"""`pytest --fuzz` as a user runs it, on backends with a planted fault."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from specs.case.loading import load
from tests.support import ROOT
from tests.support.prepared import Prepared
from tests.support.project import last_run

# NumPy, but wrong, refusing, aborting or hanging for some equations; its attention is correct
ADAPTER = """
import os, time
import numpy as np
from backends.base import Contraction
from backends.numpy import Numpy

def contract(equation, *operands):
    {body}
    return np.einsum(equation, *operands)

class Planted(Numpy):
    name = "planted"

    def einsum(self, config, implementation):
        return Contraction(contract, config.equation)
"""
THREES = "if any(3 in x.shape for x in operands): return np.einsum(equation, *operands) + 1"
BODIES = {
    "right": "pass",
    "wrong": THREES,
    "refusing": "if len(operands) == 1: raise RuntimeError('no kernel for one')",
    "refusing_and_wrong": "if len(operands) == 1: raise RuntimeError('no kernel for one')\n    " + THREES,
    "aborting": "if len(operands) > 1: os.abort()",
    "hanging": "while len(operands) > 1: time.sleep(0.01)",
}
REFUSALS = """\
- match: {case: "nothing::*"}
  observed: {error: no kernel for one}
  when: [summed_alone]
  grade: limitation
  reason: A sum of one operand has no kernel.
- match: {case: "nothing::*"}
  observed: {error: no kernel for one}
  when: [nothing_summed]
  grade: limitation
  reason: A copy of one operand has no kernel.
"""


class Project:
    """A project with the suite's own conftest.py."""

    def __init__(self, path: Path, prepared: Prepared) -> None:
        self.path, self.prepared = path, prepared
        for name in ("conftest.py", "pyproject.toml"):
            shutil.copy(ROOT / name, self.path)
        (self.path / "cases").mkdir()
        (self.path / "cases" / "never.yaml").write_text("kind: nothing that could be run\n")
        (self.path / "deviations").mkdir()

    def run(self, body: str, *arguments: str) -> pytest.RunResult:
        (self.path / "planted.py").write_text(ADAPTER.format(body=BODIES[body]))
        numpy_deviations = (ROOT / "backends" / "deviations" / "numpy.yaml").read_text()
        deviations = numpy_deviations + (REFUSALS if "refusing" in body else "")
        (self.path / "deviations" / "planted.yaml").write_text(deviations)
        options = ["--adapter=planted.py", "--backend=planted", "--implementation=einsum"]
        return self.prepared.pytest(self.path, *options, *arguments)

    def findings(self) -> dict[str, str]:
        """Of the last session."""
        runs = self.path / ".conformance" / "runs"
        folder = last_run(self.path) / "fuzz" if runs.exists() else runs
        return {file.stem: file.read_text() for file in sorted(folder.glob("*.yaml"))}


@pytest.fixture
def project(tmp_path: Path, prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (ROOT, tmp_path))))
    monkeypatch.setenv("COLUMNS", "150")
    return Project(tmp_path, prepared)


FLOATS = ("--fuzz=30", "--dtype=float32", "--dtype=float64")


def test_a_right_backend_passes_and_the_session_prints_a_summary(project: Project) -> None:
    result = project.run("right", *FLOATS, "--fuzz-seed=2")
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=30)
    result.stdout.fnmatch_lines(["30 examples of seed 2 (* different), * checks, 0 findings*", "examples/s: planted *"])
    assert project.findings() == {}
    assert not (project.path / ".conformance" / "runs").exists()


def test_a_fault_is_reported_once_and_shrunk_to_a_case_that_can_be_pasted(project: Project) -> None:
    result = project.run("wrong", *FLOATS)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=29, failed=1)
    ((name, text),) = project.findings().items()
    assert name == "planted-einsum-eager-forward-float-of_values_are_outside_the_error_bound"
    result.stdout.fnmatch_lines(
        ["  fail * outside the error bound*", f"FAILED: found: .conformance/runs/*-fuzz-planted-*/fuzz/{name}.yaml"]
    )
    for line in text.splitlines():
        assert line in result.stdout.str()

    pasted = project.path / "cases" / "einsum" / "pasted.yaml"
    pasted.parent.mkdir()
    pasted.write_text(text)
    (case,) = load(pasted, project.path)
    fields = case.config.model_dump(exclude_unset=True, exclude={"about"})
    assert fields == {"equation": "i->", "shapes": [[3]], "dtypes": ["float32"], "seed": 0}
    again = project.run("wrong", "cases/einsum/pasted.yaml")
    again.stdout.fnmatch_lines(["* outside the error bound*"])
    assert again.ret == pytest.ExitCode.TESTS_FAILED


def test_the_printed_command_runs_a_finding_again(project: Project) -> None:
    result = project.run("wrong", *FLOATS)
    (line,) = (line for line in result.outlines if line.startswith("  again"))
    nodeid = line.split("'")[1]
    again = project.run("wrong", nodeid)
    again.assert_outcomes(failed=1)


def test_findings_do_not_depend_on_the_number_of_workers(project: Project) -> None:
    project.run("wrong", *FLOATS)
    findings = project.findings()
    result = project.run("wrong", *FLOATS, "-n2")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert project.findings() == findings
    assert len(list(project.path.glob(".conformance/runs/*/fuzz/*.yaml"))) == 2 * len(findings)  # each has its own
    result.stdout.fnmatch_lines(["30 examples of seed 0 *, 1 findings, met again * times*"])


def test_recorded_deviations_are_no_findings(project: Project) -> None:
    result = project.run("refusing", *FLOATS)
    assert result.ret == pytest.ExitCode.OK, result.stdout.str()
    assert project.findings() == {}


def test_a_wrong_result_of_a_backend_with_recorded_deviations_is_a_finding(project: Project) -> None:
    result = project.run("refusing_and_wrong", *FLOATS)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert list(project.findings()) == ["planted-einsum-eager-forward-float-of_values_are_outside_the_error_bound"]


def test_a_crash_leaves_its_example_and_the_other_examples_still_run(project: Project) -> None:
    result = project.run("aborting", "--fuzz=10", "-n1")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert result.parseoutcomes()["passed"] + result.parseoutcomes()["failed"] == 10
    crashes = {name: text for name, text in project.findings().items() if name.startswith("crash_")}
    assert len(crashes) == result.parseoutcomes()["failed"] >= 1
    for text in crashes.values():
        assert "Was running: planted cpu einsum eager" in text
        assert "equation: " in text or "q_len: " in text


def test_a_crash_without_workers_leaves_its_example(project: Project) -> None:
    project.run("aborting", "--fuzz=10")
    assert "Was running: planted" in project.findings()["running_main"]


def test_a_hang_is_a_finding(project: Project) -> None:
    result = project.run("hanging", "--fuzz=10", "--timeout=1", "--dtype=float32")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert list(project.findings()) == ["planted-einsum-eager-forward-float-no_result_after_s"]


def test_paths_on_the_command_line_run_as_well(project: Project) -> None:
    file = project.path / "cases" / "one.yaml"
    file.write_text('kind: einsum\ncases:\n  copy: {equation: "i->i", shapes: [[2]], dtypes: [float64]}\n')
    project.run("right", "cases/one.yaml", "--fuzz=4").assert_outcomes(passed=5)
    assert (last_run(project.path) / "records.jsonl").read_text().count("\n") == 1


@pytest.mark.parametrize("number", ["0", "-1", "many"])
def test_an_invalid_number_of_examples_is_a_usage_error(project: Project, number: str) -> None:
    assert project.run("right", f"--fuzz={number}").ret == pytest.ExitCode.USAGE_ERROR


def test_without_hypothesis_the_message_says_how_to_install_it(project: Project) -> None:
    (project.path / "hypothesis_hidden.py").write_text(
        "import importlib.util\n"
        "find_spec = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'hypothesis' else find_spec(name, *rest)\n"
    )
    result = project.run("right", "--fuzz=4", "-p", "hypothesis_hidden")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--fuzz needs hypothesis: python -m pip install hypothesis*"])
