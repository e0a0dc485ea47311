"""A check that takes its worker process down is recorded like any other, and no other check is lost with it."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

from reports.read import read
from tests.support.project import NAMES, Project, ids


def test_a_crash_is_recorded_and_the_rest_goes_on(project: Project) -> None:
    result = project.run("right aborting", "-n", "2", "--junit-xml=junit.xml")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert result.parseoutcomes()["passed"] == 7
    assert result.parseoutcomes()["errors"] == 1
    records = project.records()
    assert len(records) == 8
    crashed = records[ids("transpose", backend="aborting")[0]]
    assert crashed["verdict"] == "error"
    assert crashed["reason"] == "its worker process died while running it (SIGABRT)"
    assert (crashed["line"], crashed["kind"], crashed["dtype"]) == (6, "einsum", "float64")
    suite = ElementTree.parse(project.path / "junit.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures")) == ("8", "1")
    result.stdout.fnmatch_lines(
        ["cases/products.yaml:6: products::transpose", "  error *(SIGABRT)", "  again *pytest *transpose*"]
    )
    assert project.facts()["complete"]


@pytest.mark.parametrize(("name", "ending"), [("segfaulting", "SIGSEGV"), ("leaving", "exit status 3")])
def test_a_worker_can_end_in_other_ways_too(project: Project, name: str, ending: str) -> None:
    assert project.run(name, "-n", "1").parseoutcomes()["passed"] == 3
    crashed = project.records()[ids("transpose", backend=name)[0]]
    assert (crashed["verdict"], crashed["reason"]) == ("error", f"its worker process died while running it ({ending})")


DYING = """
import os

class Dying:
    def pytest_runtest_logfinish(self, nodeid):
        if "transpose" in nodeid:
            os.abort()

def pytest_configure(config):
    if hasattr(config, "workerinput"):
        config.pluginmanager.register(Dying())
"""


def test_a_worker_that_dies_after_its_check_leaves_one_record_and_fails_the_session(project: Project) -> None:
    project.write("cases/conftest.py", DYING)
    result = project.run("right", "-n", "1")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert result.parseoutcomes() == {"passed": 4, "errors": 1}
    result.stdout.fnmatch_lines(["*transpose*: its worker process died after it was recorded (SIGABRT)"])
    assert [record["verdict"] for record in read(project.folder).records()] == ["pass"] * 4
    assert project.facts()["complete"]


def test_a_framework_that_aborts_every_time_costs_each_check_its_own_verdict_and_no_other(project: Project) -> None:
    result = project.run("always_aborting right", "-n", "1")
    assert (result.parseoutcomes()["passed"], result.parseoutcomes()["errors"]) == (4, 4)
    verdicts = {id: record["verdict"] for id, record in project.records().items()}
    assert verdicts == dict.fromkeys(ids(*NAMES), "pass") | dict.fromkeys(
        ids(*NAMES, backend="always_aborting"), "error"
    )


def test_a_hang_that_hears_no_signal_ends_its_worker(project: Project) -> None:
    result = project.run("stuck", "-n", "2", "--timeout=1", "-o", "hang_factor=2")
    assert result.parseoutcomes()["passed"] == 3
    assert project.records()[ids("transpose", backend="stuck")[0]]["verdict"] == "error"
    assert project.facts()["complete"]
