"""pytest plugin: a case file is collected into one item for each of its checks, and every item ends with a record.

What a session runs, and where, is decided before anything is collected and stands in its `Plan`, so that all workers
of pytest-xdist collect the same items without importing a framework.  A record travels on its report, as
`report.conformance`, and what its case says on the first of them, as `report.conformance_case`; the problems of a file
that cannot be used travel as `report.case_file_problems`.
"""

from __future__ import annotations

import shlex
import signal
import subprocess
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from specs.case import CaseError
from specs.check import Check, Place, checks
from specs.deviation import Recorded
from specs.explain import Explained, explain, properties
from specs.loading import load
from specs.problems import CaseFileError
from specs.record import Record, encodable
from specs.sharding import Shard
from specs.statement import statement
from specs.verdict import judge

if TYPE_CHECKING:
    from backends.base import Backend


# What pytest shows for the verdicts that it has no word for: category, letter, word
STATUS = {
    "deviation": ("deviation", "d", ("DEVIATION", {"cyan": True})),
    "unsupported": ("unsupported", "u", ("UNSUPPORTED", {"yellow": True})),
    "error": ("error", "E", ("ERROR", {"red": True})),
}


@dataclass(frozen=True)
class Plan:
    """What a session runs.

    places      backends and devices, narrowed as the command line asks
    backend     a backend by its name, imported when it is first asked for
    deviations  what is recorded for each backend
    defaults    the modes of each backend that run without being asked for
    on_request  its implementations that do not
    variables   environment variables that an implementation asks for
    versions    of each backend
    adapters    of the backends that a user adds, the file without which they cannot be asked for
    cache       folder in which references are kept, if pytest has a cache
    shard       the share of the checks that runs here; None is all of them
    """

    places: list[Place]
    backend: Callable[[str], Backend]
    deviations: Mapping[str, Sequence[Recorded]]
    defaults: Mapping[str, tuple[str, ...]]
    versions: Mapping[str, str | None]
    adapters: Mapping[str, str] = field(default_factory=dict)
    cache: Path | None = None
    shard: Shard | None = None
    on_request: Mapping[str, frozenset[str]] = field(default_factory=dict)
    variables: Mapping[str, Mapping[str, Mapping[str, str]]] = field(default_factory=dict)

    def command(self, check: Check, nodeid: str) -> str:
        """The shell command that runs this check and nothing else."""
        asked = [] if check.mode in self.defaults.get(check.backend, ()) else ["--mode", check.mode]
        if check.implementation in self.on_request.get(check.backend, ()) and not check.case.config.implementations:
            asked += ["--implementation", check.implementation]
        # As two words pytest would take the path for that of a test
        adapter = [f"--adapter={self.adapters[check.backend]}"] if check.backend in self.adapters else []
        front = ["conftest.py"] if nodeid.startswith("../") else []  # for a file elsewhere pytest would not look here
        variables = self.variables.get(check.backend, {}).get(check.implementation, {})
        settings = [f"{name}={value}" for name, value in variables.items()]
        return shlex.join([*settings, "pytest", *front, nodeid, *asked, *adapter])


PLAN = pytest.StashKey[Plan]()
STATED = pytest.StashKey[set[str]]()  # cases whose statements this process has sent


# Items ----------------------------------------------------------------------------------------------------------------


class CaseFile(pytest.File):
    """The checks of a case file; of one that cannot be used, a single item that fails with all its problems."""

    def collect(self) -> Iterator[pytest.Item]:
        try:
            cases = load(self.path, self.config.rootpath)
        except CaseFileError as error:
            problems = [f"{self.nodeid}:{flaw.line}:{flaw.column}: {flaw.message}" for flaw in error.problems]
            yield BrokenCaseFile.from_parent(self, name="case file", problems=problems)
            return
        for case in cases:
            for check in checks(case, self.config.stash[PLAN].places):
                # Spelled out, because --lf in pytest 9.2 does not know an id again whose brackets are part of the name
                nodeid = f"{self.nodeid}::{check.name}"
                yield CheckItem.from_parent(self, name=check.name, nodeid=nodeid, check=check)


class NotPassedError(Exception):
    """Ends an item as failed; its text is all that is shown."""


class BrokenCaseFile(pytest.Item):
    """Stands for all checks of a file from which none could be made."""

    def __init__(self, *, problems: list[str], **rest: Any) -> None:
        super().__init__(**rest)
        self.problems = problems

    def runtest(self) -> None:
        raise NotPassedError("\n".join(self.problems))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException]) -> Any:  # type: ignore[override]
        return str(excinfo.value)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, f"{self.path.name} cannot be used"


class CheckItem(pytest.Item):
    """One check; once it ran it has a record, whatever happened."""

    record: Record

    def __init__(self, *, check: Check, **rest: Any) -> None:
        super().__init__(**rest)
        self.check = check

    def runtest(self) -> None:
        plan = self.config.stash[PLAN]
        details = ""
        start = time.perf_counter()
        try:
            backend, deviations = plan.backend(self.check.backend), plan.deviations[self.check.backend]
            self.record = judge(self.check, backend, self.nodeid, file_of(self.nodeid), deviations, plan.cache)
        except pytest.fail.Exception:  # how pytest-timeout ends a check, out of whatever was running
            seconds = time.perf_counter() - start
            self.record = not_judged(self.check, self.nodeid, f"no result after {seconds:.0f} s", seconds)
        except CaseError as error:
            self.record = not_judged(self.check, self.nodeid, f"the case contradicts itself: {error}")
        except Exception as mistake:  # judge answers for all that a framework does: this is the suite's own
            details = "\n\n" + traceback.format_exc()
            reason = f"the suite itself failed: {type(mistake).__name__}: {mistake}"
            self.record = not_judged(self.check, self.nodeid, reason, time.perf_counter() - start)
        self.record = replace(self.record, again=plan.command(self.check, self.nodeid))
        self.user_properties += properties(self.record)
        if self.record.verdict in ("fail", "error"):
            raise NotPassedError(encodable(explain(self.check, self.record, plan.versions) + details))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException]) -> Any:  # type: ignore[override]
        return str(excinfo.value) if isinstance(excinfo.value, NotPassedError) else super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, self.check.case.line - 1, self.name


def file_of(nodeid: str) -> str:
    return nodeid.partition("::")[0]


def find(nodeid: str, root: Path, plan: Plan) -> Check | None:
    """The check that a node id names; None for the id of anything else."""
    file, _, name = nodeid.partition("::")
    try:
        cases = load(root / file, root) if file.endswith(".yaml") else []
    except CaseFileError:
        return None
    return next((check for case in cases for check in checks(case, plan.places) if check.name == name), None)


def not_judged(check: Check, nodeid: str, reason: str, seconds: float = 0.0) -> Record:
    """The record of a check that ended without a result."""
    return Record(
        id=nodeid,
        file=file_of(nodeid),
        line=check.case.line,
        case=check.case.id,
        kind=check.case.kind,
        backend=check.backend,
        device=check.device,
        implementation=check.implementation,
        mode=check.mode,
        dtype=check.dtype,
        direction=check.direction,
        verdict="error",
        reason=reason,
        seconds=seconds,
    )


# Hooks ----------------------------------------------------------------------------------------------------------------


def asks_for_cases(config: pytest.Config) -> bool:
    """Whether anything named on the command line can lead to a case file."""
    cases = config.rootpath / "cases"
    named = [(config.invocation_params.dir / argument.partition("::")[0]).resolve() for argument in config.args]
    return any(
        path.suffix == ".yaml" or (path.is_dir() and (cases.is_relative_to(path) or path.is_relative_to(cases)))
        for path in named
    )


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    of_project = file_path.is_relative_to(parent.config.rootpath / "cases")
    if file_path.suffix == ".yaml" and (of_project or parent.session.isinitpath(file_path)):
        return CaseFile.from_parent(parent, path=file_path)
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """One framework after the other, so that a worker imports few of them; of a shard only what is in it."""
    if PLAN not in config.stash:
        return
    plan = config.stash[PLAN]
    backends = list(dict.fromkeys(place.backend for place in plan.places))
    items.sort(key=lambda item: backends.index(item.check.backend) if isinstance(item, CheckItem) else -1)
    if shard := plan.shard:
        others = [item for item in items if isinstance(item, CheckItem) and not shard.has(item.nodeid)]
        config.hook.pytest_deselected(items=others)
        left_out = set(others)
        items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """What pytest has no word for counts as skipped, or as an expected failure."""
    report = yield
    if call.when == "call" and isinstance(item, BrokenCaseFile):
        report.case_file_problems = item.problems
    elif call.when == "call" and isinstance(item, CheckItem):
        report.conformance = item.record.as_json()
        stated = item.config.stash.setdefault(STATED, set())
        if item.check.case.id not in stated:
            report.conformance_case = statement(item.check.case)
            stated.add(item.check.case.id)
        if item.record.verdict == "unsupported":
            report.outcome = "skipped"
            report.longrepr = (str(item.path), item.check.case.line, report.conformance["reason"])
        elif item.record.verdict == "deviation":
            report.outcome, report.wasxfail = "skipped", report.conformance["reason"]
    return report


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(crashitem: str, report: Any, sched: Any) -> None:
    """The report of a check that took its worker down has nothing but its id: it becomes a record like any other."""
    config = sched.config
    plan = config.stash.get(PLAN, None)
    if plan is None or not (check := find(crashitem, config.rootpath, plan)):
        return
    record = not_judged(check, crashitem, f"its worker process died while running it ({_end(report.node)})")
    record = replace(record, again=plan.command(check, crashitem))
    report.when = "call"
    report.conformance, report.conformance_case = record.as_json(), statement(check.case)
    report.user_properties = properties(record)
    report.longrepr = encodable(explain(check, record, plan.versions))
    # JUnit XML ends a test case, and writes its properties, with the report of its teardown
    end = {"outcome": "passed", "longrepr": None, "when": "teardown", "user_properties": report.user_properties}
    teardown = pytest.TestReport(crashitem, report.location, {}, **end, node=report.node)
    report.afterwards = partial(config.hook.pytest_runtest_logreport, report=teardown)


def _end(worker: Any) -> str:
    """How a worker's process ended; execnet does not say, but for a local one it has the process."""
    process = getattr(getattr(worker.gateway, "_io", None), "popen", None)
    try:
        status = process.wait(timeout=5) if process else None
    except subprocess.TimeoutExpired:
        status = None
    if status is None:
        return "how is not known"
    return signal.Signals(-status).name if status < 0 else f"exit status {status}"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_logreport(report: Any) -> Generator[None, None, None]:
    """A failure regains its one line here: on the way from a worker only the text survives."""
    record = getattr(report, "conformance", None)
    if record and report.failed:
        report.longrepr = Explained(str(report.longrepr), record["reason"])
    yield
    if afterwards := getattr(report, "afterwards", None):
        afterwards()


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(report: Any) -> Any:
    return STATUS.get(getattr(report, "conformance", {}).get("verdict", ""))
