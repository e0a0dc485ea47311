"""pytest plugin: with `--fuzz N` a session runs N generated cases, each an item, in place of the case files.

Paths that are named on the command line run as well.  Examples do not add to the records of a run: their checks are
counted here, and their findings are written to the run's folder, under `fuzz/`.
"""

from __future__ import annotations

import importlib.util
import time
from argparse import ArgumentTypeError
from collections import defaultdict
from collections.abc import Generator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from specs.verdict.explain import FailureText, NotPassedError

if TYPE_CHECKING:
    from fuzzing.search import Outcome, Plan, Search

SEARCH: pytest.StashKey[Search] = pytest.StashKey()
FILE = "fuzz"  # prefix of the ids of examples: `fuzz::0-17` is example 17 of seed 0


def add_options(group: Any) -> None:
    """Add `--fuzz` and `--fuzz-seed`."""
    help = "run N generated cases instead of the case files, and shrink what fails"
    group.addoption("--fuzz", type=_count, metavar="N", help=help)
    group.addoption("--fuzz-seed", type=_seed, default=0, metavar="S", help="which ones: equal seeds, equal cases")


def _count(text: str) -> int:
    with suppress(ValueError):
        if (number := int(text)) > 0:
            return number
    raise ArgumentTypeError(f"{text!r} is not a whole number greater than 0")


def _seed(text: str) -> int:
    with suppress(ValueError):
        return int(text)
    raise ArgumentTypeError(f"{text!r} is not a whole number")


def runs_only_examples(config: pytest.Config) -> bool:
    """Whether the session runs examples and no case files."""
    return bool(config.option.fuzz) and config.args_source is not pytest.Config.ArgsSource.ARGS


def check_options(config: pytest.Config) -> None:
    """Reject `--fuzz` without hypothesis, before any framework is imported."""
    if config.option.fuzz and importlib.util.find_spec("hypothesis") is None:
        raise pytest.UsageError("--fuzz needs hypothesis: python -m pip install hypothesis")


def start(config: pytest.Config, folder: Path, plan: Plan) -> None:
    """Prepare the search of this process; `folder` is the run's folder, `plan` the plan of the session."""
    from fuzzing.search import Search, weighted_dtypes

    option, worker = config.option, getattr(config, "workerinput", {}).get("workerid")
    requested = frozenset([*option.mode, *option.direction])
    config.stash[SEARCH] = Search(
        option.fuzz_seed,
        weighted_dtypes(option.dtype),
        requested,
        folder / FILE,
        config.rootpath,
        plan,
        worker or "main",
    )
    if worker is None and not option.collectonly:
        for file in (folder / FILE).glob("*.yaml"):
            file.unlink()
        config.pluginmanager.register(Tally(option.fuzz_seed, config.rootpath))


class Example(pytest.Item):
    """One generated case, on every backend and implementation that the session's options select."""

    outcome: Outcome

    def __init__(self, *, index: int, **rest: Any) -> None:
        super().__init__(**rest)
        self.index = index

    def runtest(self) -> None:
        self.outcome = self.config.stash[SEARCH].run(self.index)
        if self.outcome.findings:
            raise NotPassedError("\n\n".join(finding.text for finding in self.outcome.findings))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException]) -> Any:  # type: ignore[override]
        return str(excinfo.value) if isinstance(excinfo.value, NotPassedError) else super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, self.name


class Tally:
    """pytest plugin that counts the outcomes of examples, and prints a summary at the end.

    It writes the findings of workers that share no files with this process.
    """

    def __init__(self, seed: int, root: Path) -> None:
        self.seed, self.root = seed, root
        self.names: list[str] = []
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)  # of each backend's examples
        self.checks = self.repeats = 0
        self.finding_files: set[str] = set()
        self.started = time.monotonic()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        fuzz: dict[str, Any] | None = getattr(report, "fuzz", None)
        if fuzz is None:
            return
        self.names.append(fuzz["name"])
        self.checks += len(fuzz["checks"])
        self.repeats += fuzz["repeats"]
        for finding in fuzz["findings"]:
            self.finding_files.add(finding["file"])
            if not (file := self.root / finding["file"]).exists():
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(finding["case"], encoding="utf-8")
        for backend in {backend for backend, *_ in fuzz["checks"]}:
            self.seconds[backend].append(sum(seconds for name, *_, seconds in fuzz["checks"] if name == backend))

    @pytest.hookimpl(wrapper=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> Generator[None, None, None]:
        yield
        write = terminalreporter.write_line
        terminalreporter.write_sep("=", "fuzzing", bold=True)
        seconds = time.monotonic() - self.started
        write(
            f"{len(self.names)} examples of seed {self.seed} ({len(set(self.names))} different), {self.checks} checks, "
            f"{len(self.finding_files)} findings, met again {self.repeats} times, in {seconds:.0f} s"
        )
        rates = {backend: len(times) / max(sum(times), 1e-9) for backend, times in self.seconds.items()}
        write("examples/s: " + ", ".join(f"{backend} {rate:.3g}" for backend, rate in rates.items()))
        for file in sorted(self.finding_files):
            write(f"FAILED: found: {file}", red=True, bold=True)


# Hooks ----------------------------------------------------------------------------------------------------------------


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Case files are not run unless they are named."""
    return True if runs_only_examples(config) and collection_path.suffix == ".yaml" else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    if SEARCH in config.stash:
        names = (f"{config.option.fuzz_seed}-{index}" for index in range(config.option.fuzz))
        items += [
            Example.from_parent(session, name=name, nodeid=f"{FILE}::{name}", index=index)
            for index, name in enumerate(names)
        ]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Send the outcome of an example with its report, as `report.fuzz`."""
    report = yield
    if call.when == "call" and isinstance(item, Example) and hasattr(item, "outcome"):
        report.fuzz = asdict(item.outcome)
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report: Any) -> None:
    """Restore the one-line message of a failure: a worker sends only the text."""
    if report.failed and (fuzz := getattr(report, "fuzz", None)):
        message = ", ".join(finding["signature"] for finding in fuzz["findings"])
        report.longrepr = FailureText(str(report.longrepr), message)


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(crashitem: str, report: Any, sched: Any) -> None:
    """Make a finding of an example whose worker died, from the case that it had announced."""
    search = sched.config.stash.get(SEARCH, None)
    if search is None or not crashitem.startswith(f"{FILE}::"):
        return
    name = crashitem.rpartition("::")[2]
    running_file = search.folder / f"running_{report.node.gateway.id}.yaml"
    crash_file = search.folder / f"crash_{name}.yaml"
    if running_file.exists():
        running_file.rename(crash_file)
        text = crash_file.read_text(encoding="utf-8")
    else:  # of a worker on another host
        text = search.example_text(int(name.rpartition("-")[2]))
    report.when = "call"
    finding = {"signature": f"worker process died: {crashitem}", "file": search.relative_path(crash_file), "case": text}
    report.fuzz = {"name": crashitem, "checks": [], "repeats": 0, "findings": [finding]}
    report.longrepr = f"its worker process died\n\n{text}"
