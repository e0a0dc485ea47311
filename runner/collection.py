"""A case file is collected into one item for each of its checks, in the order of backends.

The problems of a file that cannot be used travel as `report.case_file_problems`.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from backends.discovery import registry
from runner.item import CheckItem
from runner.plan import PLAN, Plan
from runner.program import is_runner
from specs.case.case import Case, Config
from specs.case.loading import discover, load
from specs.case.problems import CaseFileError
from specs.verdict.check import Check
from specs.verdict.explain import NotPassedError
from specs.verdict.place import Place, iter_checks

MADE = pytest.StashKey[dict[Path, list[str]]]()  # the names of the checks that were made of each case file


class CaseFile(pytest.File):
    """The checks of a case file; of one that cannot be used, a single item that fails with all its problems."""

    @cached_property
    def ihook(self) -> Any:
        return super().ihook

    def collect(self) -> Iterator[pytest.Item]:
        try:
            cases = load(self.path, self.config.rootpath, registry.declared_names())
        except CaseFileError as error:
            problems = [f"{self.nodeid}:{flaw.line}:{flaw.column}: {flaw.message}" for flaw in error.problems]
            yield BrokenCaseFile.from_parent(self, name="case file", problems=problems)
            return
        plan, file = self.config.stash[PLAN], relative(self.path, self.config.rootpath)
        named = named_in(self.path, self.config)
        in_full = {name.partition("[")[0] for name in named}
        made = self.config.stash.setdefault(MADE, {})[self.path] = []
        for case in cases:
            for check in (
                _checks_of_named(case, plan.places, named) if case.name in in_full else plan.checks(case, file)
            ):
                made.append(check.name)
                # Spelled out, because --lf in pytest 9.2 does not know an id again whose brackets are part of the name
                nodeid = f"{self.nodeid}::{check.name}"
                yield CheckItem.from_parent(self, name=check.name, nodeid=nodeid, check=check)


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


def asks_for_cases(config: pytest.Config) -> bool:
    """Whether anything named on the command line can lead to a case file."""
    cases, elsewhere = config.rootpath / "cases", folders_of_cases(config)
    return any(
        path.suffix == ".yaml"
        or (path.is_dir() and (path in elsewhere or cases.is_relative_to(path) or path.is_relative_to(cases)))
        for path in named_paths(config)
    )


def selected_files(config: pytest.Config) -> list[Path]:
    """The case files of which a tier chooses checks: what is named, less files of which only single cases are."""
    whole = [argument for argument in config.args if "::" not in argument]
    paths = [path for path in _resolve(config, whole) if path.exists()]
    if not paths:
        return []
    return [file for file in discover(paths, config.rootpath) if file in paths or _holds_cases(file, config)]


def relative(file: Path, root: Path) -> str:
    """A file as ids begin with it."""
    return Path(os.path.relpath(file, root)).as_posix()


def named_paths(config: pytest.Config) -> list[Path]:
    """What is named on the command line, or what stands for it."""
    return _resolve(config, config.args)


def _resolve(config: pytest.Config, arguments: Iterable[str]) -> list[Path]:
    """Links are not followed, as in pytest: a file has the name by which it is called."""
    here = config.invocation_params.dir
    return [Path(os.path.abspath(here / argument.partition("::")[0])) for argument in arguments]


def named_in(file: Path, config: pytest.Config) -> set[str]:
    """The cases and checks of a file that are named on the command line: these cases run in full."""
    names = (argument.partition("::")[2] for argument in config.args)
    return {name for name, path in zip(names, named_paths(config), strict=True) if path == file}


def _checks_of_named(case: Case, places: Sequence[Place], named: Collection[str]) -> Iterator[Check]:
    """Every check of a case; one whose implementation is the same as another where it, or nothing else, was named, and
    one in a mode that runs as a share where it was named.
    """
    for place in places:
        distinct = {check.name for check in iter_checks(case, [place])}
        for check in iter_checks(case, [replace(place.in_all_modes, distinct=_always)]):
            if check.name in distinct or check.name in named or not (distinct or check.mode in place.shares):
                yield check


def _always(config: Config, implementation: str, device: str) -> bool:
    return True


def _holds_cases(file: Path, config: pytest.Config) -> bool:
    """Whether a YAML file that nobody named is one of cases: below `cases`, or below a named folder of cases."""
    if file.is_relative_to(config.rootpath / "cases"):
        return True
    folders = folders_of_cases(config) if file.parent.name != "deviations" else []
    return any(file.is_relative_to(folder) for folder in folders)


def folders_of_cases(config: pytest.Config) -> list[Path]:
    """The named folders in which every YAML file is one of cases: what the runner was given, and those elsewhere."""
    root = config.rootpath
    return [
        path
        for path in named_paths(config)
        if path.is_dir() and (is_runner(config) or not (path.is_relative_to(root) or root.is_relative_to(path)))
    ]


def find(nodeid: str, root: Path, plan: Plan) -> Check | None:
    """The check that a node id names; None for the id of anything else."""
    file, _, name = nodeid.partition("::")
    try:
        cases = load(root / file, root) if file.endswith(".yaml") else []
    except CaseFileError:
        return None
    places = [replace(place.in_all_modes, distinct=_always) for place in plan.places]
    return next((check for case in cases for check in iter_checks(case, places) if check.name == name), None)


# Hooks ----------------------------------------------------------------------------------------------------------------


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if file_path.suffix != ".yaml":
        return None
    if parent.session.isinitpath(file_path) or _holds_cases(file_path, parent.config):
        # Spelled out, because pytest has no id for a file that is named and outside of the root
        return CaseFile.from_parent(parent, path=file_path, nodeid=relative(file_path, parent.config.rootpath))
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """One framework after the other, so that a worker imports few of them."""
    if PLAN not in config.stash:
        return
    backends = list(dict.fromkeys(place.backend for place in config.stash[PLAN].places))
    items.sort(key=lambda item: backends.index(item.check.backend) if isinstance(item, CheckItem) else -1)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    report = yield
    if call.when == "call" and isinstance(item, BrokenCaseFile):
        report.case_file_problems = item.problems
    return report
