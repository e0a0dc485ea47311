"""A check that takes its worker process down becomes a record like any other."""

from __future__ import annotations

import signal
import subprocess
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from runner.collection import find
from runner.hosts import HERE, host_name
from runner.item import file_of
from runner.plan import PLAN
from specs.verdict.explain import explain, junit_properties
from specs.verdict.record import make_encodable
from specs.verdict.statement import make_statement
from specs.verdict.verdict import make_error_record

RECORDED = pytest.StashKey[dict[Any, str]]()  # of each worker, the check that was recorded last


@pytest.hookimpl
def pytest_runtest_logreport(report: Any) -> None:
    """Remember the check: its worker may die before pytest-xdist hears that it is over."""
    worker = getattr(report, "node", None)
    if worker and hasattr(report, "conformance"):
        worker.config.stash.setdefault(RECORDED, {})[worker] = report.nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(crashitem: str, report: Any, sched: Any) -> None:
    """The report of such a check has nothing but its id: it is filled here, where the worker's process is known."""
    config = sched.config
    plan = config.stash.get(PLAN, None)
    if plan is None or not (check := find(crashitem, config.rootpath, plan)):
        return
    process, how = f"its worker process{_place(report.node)}", _end(report.node)
    if config.stash.get(RECORDED, {}).get(report.node) == crashitem:
        report.when, report.longrepr = "teardown", f"{crashitem}: {process} died after it was recorded ({how})"
        return
    reason = f"{process} died while running it ({how})"
    record = make_error_record(check, crashitem, file_of(crashitem), reason)
    record = replace(record, again=plan.command(check, crashitem))
    report.when = "call"
    report.conformance, report.conformance_case = record.as_json(), make_statement(check.case)
    report.user_properties = junit_properties(record)
    report.longrepr = make_encodable(explain(check, record, plan.version(check.backend)))
    # JUnit XML ends a test case, and writes its properties, with the report of its teardown
    end = {"outcome": "passed", "longrepr": None, "when": "teardown", "user_properties": report.user_properties}
    teardown = pytest.TestReport(crashitem, report.location, {}, **end, node=report.node)
    report.afterwards = partial(config.hook.pytest_runtest_logreport, report=teardown)


def _place(worker: Any) -> str:
    return "" if (host := host_name(worker.gateway.spec)) == HERE else f" on {host}"


def _end(worker: Any) -> str:
    """How a worker's process ended; execnet does not say, but for a local one it has the process."""
    is_local = host_name(worker.gateway.spec) == HERE  # of one elsewhere, it has the process of ssh
    process = getattr(getattr(worker.gateway, "_io", None), "popen", None) if is_local else None
    try:
        status = process.wait(timeout=5) if process else None
    except subprocess.TimeoutExpired:
        status = None
    if status is None:
        return "how is not known"
    return signal.Signals(-status).name if status < 0 else f"exit status {status}"
