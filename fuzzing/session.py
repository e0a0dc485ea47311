"""pytest plugin: with `--fuzz N` a session runs N generated cases, each an item, in place of the case files.

Paths that are named on the command line run as well.  Records of examples are not part of a run's: they are counted
here, and what they found is in the run's folder, under `fuzz/`.
"""

from __future__ import annotations

import importlib.util
import time
from collections import defaultdict
from collections.abc import Generator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from specs.verdict.explain import Explained, NotPassedError

if TYPE_CHECKING:
    from fuzzing.search import Outcome, Plan, Search

SEARCH: pytest.StashKey[Search] = pytest.StashKey()
FILE = "fuzz"  # what the ids of examples begin with: `fuzz::0-17` is example 17 of seed 0


def add_options(group: Any) -> None:
    """`--fuzz` and `--fuzz-seed`."""
    how_many = "run N generated cases instead of the case files, and shrink what fails"
    group.addoption("--fuzz", type=_positive, metavar="N", help=how_many)
    group.addoption("--fuzz-seed", type=int, default=0, metavar="S", help="which ones: equal seeds, equal cases")


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise ValueError(text)
    return number


def alone(config: pytest.Config) -> bool:
    """Whether examples are all that runs."""
    return bool(config.option.fuzz) and config.args_source is not pytest.Config.ArgsSource.ARGS


def check_options(config: pytest.Config) -> None:
    """Refuse what cannot be done, before anything is asked of a framework."""
    if config.option.fuzz and importlib.util.find_spec("hypothesis") is None:
        raise pytest.UsageError("--fuzz needs hypothesis: python -m pip install hypothesis")


def start(config: pytest.Config, folder: Path, plan: Plan) -> None:
    """Prepare the search of this process; `folder` is the run's, `plan` says what the session runs."""
    from fuzzing.search import Search, dtypes

    option, worker = config.option, getattr(config, "workerinput", {}).get("workerid")
    asked = frozenset([*option.mode, *option.direction])
    names = dtypes(option.dtype)
    config.stash[SEARCH] = Search(
        option.fuzz_seed, names, asked, folder / FILE, config.rootpath, plan, worker or "main"
    )
    if worker is None and not option.collectonly:
        for file in (folder / FILE).glob("*.yaml"):
            file.unlink()
        config.pluginmanager.register(Tally(option.fuzz_seed))


class Example(pytest.Item):
    """One generated case, on all that the session's options leave."""

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
    """pytest plugin that counts what examples came to, and says so at the end."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.names: list[str] = []
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)  # of each backend's examples
        self.checks = self.repeats = 0
        self.found: set[str] = set()
        self.started = time.monotonic()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        fuzz: dict[str, Any] | None = getattr(report, "fuzz", None)
        if fuzz is None:
            return
        self.names.append(fuzz["name"])
        self.checks += len(fuzz["checks"])
        self.repeats += fuzz["repeats"]
        self.found.update(finding["file"] for finding in fuzz["findings"])
        for backend in {backend for backend, *_ in fuzz["checks"]}:
            self.seconds[backend].append(sum(each[3] for each in fuzz["checks"] if each[0] == backend))

    @pytest.hookimpl(wrapper=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> Generator[None, None, None]:
        yield
        write = terminalreporter.write_line
        terminalreporter.write_sep("=", "fuzzing", bold=True)
        seconds = time.monotonic() - self.started
        write(
            f"{len(self.names)} examples of seed {self.seed} ({len(set(self.names))} different), {self.checks} checks, "
            f"{len(self.found)} findings, met again {self.repeats} times, in {seconds:.0f} s"
        )
        rates = {backend: len(spent) / max(sum(spent), 1e-9) for backend, spent in self.seconds.items()}
        write("examples/s: " + ", ".join(f"{backend} {rate:.3g}" for backend, rate in rates.items()))
        for file in sorted(self.found):
            write(f"FAILED: found: {file}", red=True, bold=True)


# Hooks ----------------------------------------------------------------------------------------------------------------


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Case files are not run unless they are named."""
    return True if alone(config) and collection_path.suffix == ".yaml" else None


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
    """What came of an example travels on its report, as `report.fuzz`."""
    report = yield
    if call.when == "call" and isinstance(item, Example) and hasattr(item, "outcome"):
        report.fuzz = asdict(item.outcome)
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report: Any) -> None:
    """A failure regains its one line here: on the way from a worker only the text survives."""
    if report.failed and (fuzz := getattr(report, "fuzz", None)):
        report.longrepr = Explained(str(report.longrepr), ", ".join(each["signature"] for each in fuzz["findings"]))


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(crashitem: str, report: Any, sched: Any) -> None:
    """Of an example that took its worker down there is what it announced: that becomes the finding."""
    search = sched.config.stash.get(SEARCH, None)
    if search is None or not crashitem.startswith(f"{FILE}::"):
        return
    running = search.folder / f"running_{report.node.gateway.id}.yaml"
    kept = running.rename(search.folder / f"crash_{crashitem.rpartition('::')[2]}.yaml")
    report.when = "call"
    finding = {"signature": f"worker process died: {crashitem}", "file": search.relative(kept)}
    report.fuzz = {"name": crashitem, "checks": [], "repeats": 0, "findings": [finding]}
    report.longrepr = f"its worker process died\n\n{kept.read_text(encoding='utf-8')}"
