"""A check as pytest's item: it ends with a record, whatever happened, and the record travels on its report.

The record is `report.conformance`; what its case says is `report.conformance_case`, on the first report that a process
makes of the case.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Generator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runner.guard import INTERRUPT
from runner.options import is_worker
from runner.plan import PLAN
from specs.case.error import CaseError
from specs.verdict.check import Check
from specs.verdict.direction import MisbehaviourError
from specs.verdict.explain import FailureText, NotPassedError, explain, junit_properties
from specs.verdict.record import Record, make_encodable
from specs.verdict.statement import make_statement
from specs.verdict.verdict import judge, make_error_record

# What pytest shows for the verdicts that it has no word for: category, letter, word
STATUS = {
    "deviation": ("deviation", "d", ("DEVIATION", {"cyan": True})),
    "unsupported": ("unsupported", "u", ("UNSUPPORTED", {"yellow": True})),
    "error": ("error", "E", ("ERROR", {"red": True})),
}
STATED = pytest.StashKey[set[str]]()  # cases whose statements this process has sent


class CheckItem(pytest.Item):
    """One check; it has a record from when it ran until its report is made."""

    record: Record

    def __init__(self, *, check: Check, **rest: Any) -> None:
        super().__init__(**rest)
        self.check = check

    def runtest(self) -> None:
        plan = self.config.stash[PLAN]
        details = ""
        start = time.perf_counter()
        try:
            backend, deviations = plan.backend(self.check.backend), plan.deviations(self.check.backend)
            file, work, limit = file_of(self.nodeid), plan.cache, plan.max_memory
            self.record = judge(self.check, backend, self.nodeid, file, deviations, work, limit)
        except MisbehaviourError as fault:
            self.record = self.not_judged(str(fault), time.perf_counter() - start)
        except pytest.fail.Exception:  # how pytest-timeout ends a check, out of whatever was running
            seconds = time.perf_counter() - start
            self.record = self.not_judged(f"no result after {seconds:.0f} s", seconds)
        except CaseError as error:
            self.record = self.not_judged(f"the case contradicts itself: {error}")
        except Exception as mistake:  # judge answers for all that a framework does: this is the suite's own
            details = "\n\n" + traceback.format_exc()
            reason = f"the suite itself failed: {type(mistake).__name__}: {mistake}"
            self.record = self.not_judged(reason, time.perf_counter() - start)
        self.record = replace(self.record, again=plan.command(self.check, self.nodeid))
        if self.config.getoption("xmlpath", None):
            self.user_properties += junit_properties(self.record)
        if self.record.verdict in ("fail", "error"):
            raise NotPassedError(
                make_encodable(explain(self.check, self.record, plan.version(self.check.backend)) + details)
            )

    @property
    def ihook(self) -> Any:
        """The hooks of its file: pytest would find out for each step of each item which conftest files apply."""
        return self.parent.ihook if self.parent else super().ihook

    def not_judged(self, reason: str, seconds: float = 0.0) -> Record:
        return make_error_record(self.check, self.nodeid, file_of(self.nodeid), reason, seconds)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException]) -> Any:  # type: ignore[override]
        return str(excinfo.value) if isinstance(excinfo.value, NotPassedError) else super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, self.check.case.line - 1, self.name


def has_standard_steps(config: pytest.Config) -> bool:
    """Whether checks are set up and torn down like other tests: for who looks at that, and for JUnit XML."""
    return any(config.getoption(name, None) for name in ("xmlpath", "usepdb", "setupshow", "setuponly", "setupplan"))


def file_of(nodeid: str) -> str:
    """The case file that a node id begins with."""
    return nodeid.partition("::")[0]


# Hooks ----------------------------------------------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)  # before the loop of a worker, after which none is asked
def pytest_runtestloop(session: pytest.Session) -> None:
    """From here on a KeyboardInterrupt can be the user's or an adapter's."""
    INTERRUPT.install(is_worker(session.config))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """Import a framework before the clock of the first check that needs it is started."""
    if isinstance(item, CheckItem):
        with suppress(Exception, MisbehaviourError):  # it is raised again, and reported, where the check runs
            item.config.stash[PLAN].backend(item.check.backend)
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """What pytest has no word for counts as skipped, or as an expected failure."""
    report = yield
    if call.when == "call" and isinstance(item, CheckItem):
        record = vars(item).pop("record", None)  # pytest keeps every item to the end of the session
        record = record or item.not_judged("it ended before it was judged")
        report.conformance = record.as_json()
        stated = item.config.stash.setdefault(STATED, set())
        if item.check.case.id not in stated:
            report.conformance_case = make_statement(item.check.case)
            stated.add(item.check.case.id)
        if record.verdict == "unsupported":
            report.outcome = "skipped"
            report.longrepr = (str(item.path), item.check.case.line, report.conformance["reason"])
        elif record.verdict == "deviation":
            report.outcome, report.wasxfail = "skipped", report.conformance["reason"]
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_logreport(report: Any) -> Generator[None, None, None]:
    """A failure regains its one line here: on the way from a worker only the text survives.

    pytest keeps every report to the end of the session, but no record once all have received it.
    """
    record = getattr(report, "conformance", None)
    if record and report.failed:
        report.longrepr = FailureText(str(report.longrepr), record["reason"])
    yield
    for name in ("conformance", "conformance_case"):
        vars(report).pop(name, None)
    if afterwards := getattr(report, "afterwards", None):
        afterwards()


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(report: Any) -> Any:
    return STATUS.get(getattr(report, "conformance", {}).get("verdict", ""))
