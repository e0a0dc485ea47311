"""pytest's front door: the options, what they leave to run, and whom the results are handed to.

What can run is found out at the start of the session by the one process that asks the frameworks, in subprocesses of
its own: the controller of pytest-xdist, or the only process there is.  Workers receive the answer, so all of them
collect the same items and import only what their own items need.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_args

import pytest

from backends import registry
from backends.base import Backend
from backends.inventory import Finding, probe
from fuzzing import session as fuzzing
from reports.baseline import Baseline
from reports.compare.model import Side
from reports.compare.runs import side
from reports.read import RunError, read
from reports.stale import Stale
from reports.stream import Stream
from reports.suite import digests
from reports.terminal import Summary
from reports.views import Views
from specs import items, sharding
from specs.case import Mode
from specs.check import Direction, Place
from specs.deviation import Recorded
from specs.formats import DTYPES
from specs.items import PLAN, Plan, asks_for_cases
from specs.problems import CaseFileError
from specs.sharding import Shard

Name = TypeVar("Name", bound=str)

NARROWING = ("backend", "device", "dtype", "mode", "implementation", "direction")
FINDINGS = pytest.StashKey[dict[str, Finding]]()
EARLIER = pytest.StashKey[Side | None]()  # the run that this one is compared with
SHARD = pytest.StashKey[Shard | None]()
UNMET = pytest.StashKey[dict[str, str]]()  # backends that had to run and cannot, with the reason


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("conformance", "conformance of frameworks (each may be given several times)")
    for name in NARROWING:
        group.addoption(f"--{name}", action="append", default=[], metavar="NAME", help=f"run only this {name}")
    adapter = "add the backend that this file defines"
    require = "fail if this backend cannot run here; all: every known one"
    group.addoption("--adapter", action="append", default=[], metavar="FILE", help=adapter)
    group.addoption("--require", action="append", default=[], metavar="NAME", help=require)
    group.addoption("--report", metavar="DIR", help="where the run goes (default: .conformance)")
    fuzzing.add_options(group)
    group.addoption("--baseline", metavar="DIR", help="fail for anything that became worse since the run in DIR")
    group.addoption("--shard", metavar="I/N", help="run only this share of the checks, e.g. 2/3")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse what nothing can have, before anything is asked of a framework."""
    config.pluginmanager.register(items)
    config.pluginmanager.register(fuzzing)
    option = config.option
    fuzzing.check_options(config)
    try:
        _adapters(config)
    except registry.AdapterError as error:
        raise pytest.UsageError(f"--adapter {error}") from error
    try:
        config.stash[SHARD] = sharding.parse(option.shard) if option.shard else None
        earlier = option.baseline and config.invocation_params.dir / option.baseline
        config.stash[EARLIER] = side(read(earlier)) if earlier and not _is_worker(config) else None
    except (ValueError, RunError) as error:
        raise pytest.UsageError(str(error)) from error
    known = registry.names()
    offers = [registry.declare(name) for name in known]
    _refuse_unknown("backend", option.backend, known)
    _refuse_unknown("require", option.require, [*known, "all"])
    _refuse_unknown("dtype", option.dtype, DTYPES)
    _refuse_unknown("mode", option.mode, [*get_args(Mode), *(mode for offer in offers for mode in offer.modes)])
    _refuse_unknown("direction", option.direction, get_args(Direction))
    implementations = [name for offer in offers for names in offer.implementations.values() for name in names]
    _refuse_unknown("implementation", option.implementation, implementations)


def _adapters(config: pytest.Config) -> dict[str, str]:
    """Backends that the user adds, and the files as given; adding one twice is as adding it once."""
    return {registry.add(config.invocation_params.dir / file): file for file in config.option.adapter}


def _refuse_unknown(option: str, given: Iterable[str], known: Iterable[str]) -> None:
    known = list(dict.fromkeys(known))
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise pytest.UsageError(f"--{option} {name}: unknown{hint}; known: {', '.join(known)}")


def _is_worker(config: pytest.Config) -> bool:
    """Of pytest-xdist; the runs are the business of the one process that hears all results."""
    return hasattr(config, "workerinput")


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Find out what can run, and plan with it."""
    config, option = session.config, session.config.option
    known = registry.names()
    required = set(option.backend).union(known if "all" in option.require else option.require)
    handed = getattr(config, "workerinput", {}).get("conformance")
    if handed is not None:
        findings = {name: Finding(**facts) for name, facts in json.loads(handed).items()}
    elif option.fuzz or asks_for_cases(config):
        names = [name for name in known if not option.backend or name in required]
        folder = _cache_folder(config, "inventory")
        findings = probe(names, map(registry.source, _adapters(config)), folder and folder / "findings.json")
    else:
        return
    _refuse_unknown("device", option.device, [device for finding in findings.values() for device in finding.devices])
    config.stash[FINDINGS] = findings
    config.stash[UNMET] = {
        name: finding.reason or "it has no device that was asked for"
        for name, finding in findings.items()
        if finding.status == "broken" or (name in required and not _asked(option.device, finding.devices))
    }
    config.stash[PLAN] = Plan(
        _places(findings, option),
        backend=_backends(config),
        deviations={name: _deviations(name) for name in findings},
        defaults={name: registry.declare(name).default_modes for name in findings},
        on_request={name: registry.declare(name).on_request for name in findings},
        variables={name: registry.declare(name).variables for name in findings},
        versions={name: finding.version for name, finding in findings.items()},
        adapters=_adapters(config),
        cache=_cache_folder(config, "references"),
        shard=config.stash[SHARD],
    )
    folder = config.invocation_params.dir / option.report if option.report else config.rootpath / ".conformance"
    if handed is None and not option.collectonly:
        _report(config, folder)
    if option.fuzz:
        fuzzing.start(config, folder)


def _deviations(name: str) -> list[Recorded]:
    """Without them most verdicts of a backend would be wrong, so a file that cannot be used ends the session."""
    try:
        return registry.deviations(name)
    except CaseFileError as error:
        raise pytest.UsageError(f"the recorded deviations cannot be used\n{error}") from error


def _asked(narrowed: list[str], offered: Iterable[Name]) -> tuple[Name, ...]:
    return tuple(each for each in offered if not narrowed or each in narrowed)


def _places(findings: dict[str, Finding], option: Any) -> list[Place]:
    return [
        replace(
            place,
            implementations={
                kind: _asked(option.implementation, names) for kind, names in place.implementations.items()
            },
            modes=_asked(option.mode, backend.modes if option.mode else place.modes),
            directions=_asked(option.direction, place.directions),
            dtypes=tuple(option.dtype) or None,
            on_request=place.on_request - frozenset(option.implementation),
        )
        for name in _asked(option.backend, findings)
        for backend in [registry.declare(name)]
        for place in map(backend.place, _asked(option.device, findings[name].devices))
    ]


def _backends(config: pytest.Config) -> Callable[[str], Backend]:
    """A backend by its name, imported once, which keeps what it compiles where pytest keeps what it knows."""
    folder = _cache_folder(config, "compiled")

    @cache
    def backend(name: str) -> Backend:
        found = registry.get(name)
        if folder:
            found.keep_compiled(folder / name)
        return found

    return backend


def _cache_folder(config: pytest.Config, name: str) -> Path | None:
    """None without a cache: with -p no:cacheprovider, or where it cannot be written."""
    with suppress(AttributeError, OSError):
        return config.cache.mkdir(f"conformance-{name}")
    return None


def _report(config: pytest.Config, folder: Path) -> None:
    """Those who listen to the results, in the one process that hears all of them."""
    option, unmet, places = config.option, config.stash[UNMET], config.stash[PLAN].places
    backends = {name: asdict(finding) for name, finding in config.stash[FINDINGS].items()}
    narrowed = {name: getattr(option, name) for name in (*NARROWING, "adapter", "require", "keyword", "shard")}
    stale = Stale(config.stash[PLAN].deviations)
    facts = {
        "suite": digests(config.rootpath),
        "backends": backends,
        "unmet": unmet,
        "stale_deviations": stale.found,
        "selection": {"paths": config.args, **narrowed},
    }
    stream = Stream(folder, [str(each) for each in config.invocation_params.args], facts)
    config.pluginmanager.register(stream)
    rows = [(place.backend, place.device) for place in places]
    config.pluginmanager.register(Summary(backends, rows, unmet))
    config.pluginmanager.register(stale)
    config.pluginmanager.register(Views(stream, config.rootpath))
    if earlier := config.stash[EARLIER]:
        config.pluginmanager.register(Baseline(earlier, stream))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Hand the findings to a worker of pytest-xdist; as text, because it carries only the plainest types."""
    if FINDINGS in node.config.stash:
        findings = node.config.stash[FINDINGS]
        node.workerinput["conformance"] = json.dumps({name: asdict(finding) for name, finding in findings.items()})


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A backend that had to run and could not fails the session, whatever the others did."""
    unmet = session.config.stash.get(UNMET, {})
    content = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
    if unmet and not session.config.option.collectonly and session.exitstatus in content:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
