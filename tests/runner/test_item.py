"""A check ends with a verdict that pytest can tell, be it a failure, a deviation, a hang or our mistake."""

from __future__ import annotations

import re
import shlex
import xml.etree.ElementTree as ElementTree

import pytest

from tests.support.project import Project, ids


def test_a_failure_says_what_where_and_how_to_run_it_again(project: Project) -> None:
    result = project.run("right wrong", "--mode=jit", "-k", "wrong and not long_sums and not transpose")
    result.stdout.fnmatch_lines(
        [
            "cases/products.yaml:5: products::product",
            "*A matrix product.",
            '*equation: "ij,jk->ik", shapes: [[][[]2, 3], [[]3, 4]]',
            "*wrong * cpu: einsum, jit, float64, forward",
            "  fail *",
            "  worst *expected *got *bound *",
            "  ratio *times the bound",
            "  ULPs *at most",
            "FAILED cases/products.yaml::product[[]wrong-cpu-einsum-jit-float64] - *",
        ]
    )
    assert "Traceback" not in result.stdout.str()
    assert "NotPassed" not in result.stdout.str()
    (command,) = re.findall(r"^ +again +(pytest .*)$", result.stdout.str(), re.MULTILINE)
    quicker = ["--backend=wrong"]  # else the real frameworks would be looked for too
    again = project.prepared.pytest(project.path, *shlex.split(command)[1:], *quicker)
    again.assert_outcomes(failed=1)
    assert list(project.records()) == ids("product", backend="wrong", mode="jit")


def test_deviations_are_expected_failures(project: Project) -> None:
    result = project.run("known", "--junit-xml=junit.xml")
    assert result.ret == pytest.ExitCode.OK
    assert result.parseoutcomes() == {"deviation": 4}
    result.stdout.fnmatch_lines(["known * 0 * 4 * 0 * 0 * 0 *", "deviation", "*4  There is no such kernel."])
    assert ElementTree.parse(project.path / "junit.xml").getroot()[0].get("skipped") == "4"


@pytest.mark.parametrize(("options", "steps"), [((), ["call"]), (("--setup-show",), ["setup", "call", "teardown"])])
def test_a_check_has_one_step_where_nobody_asks_for_more(
    project: Project, options: tuple[str, ...], steps: list[str]
) -> None:
    project.write(
        "listener.py",
        """
def pytest_runtest_logreport(report):
    with open("steps.txt", "a") as file:
        print(report.when, file=file)
""",
    )
    result = project.run("right", "-p", "listener", "-k", "transpose", "--mode=eager", *options)
    assert result.parseoutcomes()["passed"] == 1
    assert (project.path / "steps.txt").read_text().split() == steps


def test_a_mistake_of_the_suite_is_loud(project: Project) -> None:
    project.write(
        "mistaken.py",
        """
def judge(*arguments):
    raise ValueError("a mistake of ours")

def pytest_configure():
    import runner.item
    runner.item.judge = judge
""",
    )
    result = project.run("right", "-p", "mistaken")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert result.parseoutcomes() == {"errors": 4}
    result.stdout.fnmatch_lines(["Traceback (most recent call last):", "ValueError: a mistake of ours"])
    assert {record["verdict"] for record in project.records().values()} == {"error"}


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_hang_is_an_error(project: Project, workers: str) -> None:
    result = project.run("hanging", "-n", workers, "--timeout=1")
    assert result.parseoutcomes()["passed"] == 3
    assert result.parseoutcomes()["errors"] == 1
    record = project.records()[ids("transpose", backend="hanging")[0]]
    assert (record["verdict"], record["reason"]) == ("error", "no result after 1 s")


def test_a_session_does_not_collect_its_records_in_memory(project: Project) -> None:
    project.write(
        "holding.py",
        """
def pytest_sessionfinish(session):
    stats = session.config.pluginmanager.getplugin("terminalreporter").stats
    reports = [report for reports in stats.values() for report in reports]
    assert len(reports) >= len(session.items) == 4
    assert not any({"record", "conformance"} & set(vars(each)) for each in [*session.items, *reports])
""",
    )
    result = project.run("right", "-p", "holding")
    assert result.ret == pytest.ExitCode.OK
    assert len(project.records()) == 4
