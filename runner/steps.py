"""How a check runs and how its report travels: in one step, and with its record as one text.

pytest makes three steps of a test, and workers of pytest-xdist send a report of each.  A check has no fixtures, so that
nothing is set up before it or torn down after it.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

import pytest

from runner.item import CheckItem, has_standard_steps

PARTS = ("conformance", "conformance_case")  # of a report: nested, which execnet sends slowly


def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """None leaves the item to pytest."""
    if not isinstance(item, CheckItem) or has_standard_steps(item.config):
        return None
    hook = item.ihook
    hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    ends = (pytest.exit.Exception, KeyboardInterrupt)
    call = pytest.CallInfo.from_call(lambda: hook.pytest_runtest_call(item=item), "call", ends)
    report = hook.pytest_runtest_makereport(item=item, call=call)
    hook.pytest_runtest_logreport(report=report)
    if call.excinfo:
        hook.pytest_exception_interact(node=item, call=call, report=report)
    hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    data = yield
    return data and data | {name: json.dumps(data[name]) for name in PARTS if name in data}


@pytest.hookimpl(wrapper=True)
def pytest_report_from_serializable(data: dict[str, Any]) -> Generator[None, Any, Any]:
    data |= {name: json.loads(data[name]) for name in PARTS if name in data}
    return (yield)
