"""Case files become items without a framework being imported, wherever they are named, and a broken one fails alone."""

from __future__ import annotations

import pytest

from tests.support.project import BROKEN, NAMES, PRODUCTS, Project, ids


def test_collecting_imports_no_framework_and_writes_nothing(project: Project) -> None:
    project.run("right", "--collect-only")  # what can run is found out, in another process, and kept
    project.imported.unlink(missing_ok=True)
    assert project.collected("right") == ids(*NAMES)
    assert not project.imported.exists()
    assert not (project.path / ".conformance").exists()


def test_a_case_file_outside_the_cases_can_be_named(project: Project) -> None:
    project.write("elsewhere/more.yaml", PRODUCTS)
    assert project.collected("right", "elsewhere/more.yaml") == ids(*NAMES, file="elsewhere/more.yaml")


def test_python_tests_ask_no_framework(project: Project) -> None:
    project.write("tests/test_python.py", "def test_passes(): pass\n")
    project.write("tests/elsewhere.yaml", PRODUCTS)
    project.run("right", "-p", "no:cacheprovider", "tests").assert_outcomes(passed=1)
    assert not project.imported.exists()
    assert not (project.path / ".conformance").exists()


def test_what_is_named_runs_also_where_its_implementation_is_the_same_as_another(project: Project) -> None:
    """With two operands NumPy has one path of contraction, so `einsum-optimal` is nothing new."""
    case = 'equation: "ij,jk->ik", shapes: [[2, 3], [3, 4]], dtypes: [float64]'
    only = f"only: {{{case}, implementations: [einsum-optimal]}}"
    project.write("cases/same.yaml", f"kind: einsum\ncases:\n  {only}\n  every: {{{case}}}\n")

    def collected(*arguments: str) -> list[str]:
        result = project.prepared.pytest(project.path, "--collect-only", "-q", "--backend=numpy", *arguments)
        return [line.partition("::")[2] for line in result.outlines if "::" in line]

    optimal = "numpy-cpu-einsum-optimal-eager-float64"
    assert optimal not in "".join(collected("cases/same.yaml"))
    assert collected("cases/same.yaml::only", "--direction=forward") == [f"only[{optimal}]"]
    assert f"every[{optimal}]" not in collected("cases/same.yaml::every")
    assert collected(f"cases/same.yaml::every[{optimal}]") == [f"every[{optimal}]"]


def test_backends_come_one_after_the_other(project: Project) -> None:
    assert project.collected("right wrong") == ids(*NAMES) + ids(*NAMES, backend="wrong")


def test_a_broken_file_fails_alone(project: Project) -> None:
    project.write("cases/broken.yaml", BROKEN)
    result = project.run("right")
    result.assert_outcomes(passed=4, failed=1)
    result.stdout.fnmatch_lines(["cases/broken.yaml:3:13: *equashun*", "*broken case files*"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert list(project.facts()["broken_case_files"]) == ["cases/broken.yaml"]
    assert len(project.facts()["broken_case_files"]["cases/broken.yaml"]) > 1


def test_a_mode_that_no_backend_declares_breaks_the_file(project: Project) -> None:
    project.write("cases/modes.yaml", 'kind: einsum\ncases:\n  one: {equation: "i->", sizes: {i: 1}, modes: [jti]}\n')
    result = project.run("right", "cases/modes.yaml")
    result.stdout.fnmatch_lines(["cases/modes.yaml:3:49: modes[[]0] is the text 'jti' *did you mean 'jit'?)"])


def test_the_last_failures_can_be_run_again(project: Project) -> None:
    project.run("right wrong").assert_outcomes(passed=4, failed=4)
    project.run("right wrong", "--lf").assert_outcomes(failed=4)
