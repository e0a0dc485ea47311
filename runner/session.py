"""A session from its start to its end: the inventory of backends, its plan, its reports, its exit status.

What can run is found out by the one process that asks the frameworks, in subprocesses of its own: the controller of
pytest-xdist, or the only process there is.  Workers receive the answer.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from backends.discovery import registry
from backends.discovery.inventory import Finding, probe
from fuzzing import session as fuzzing
from reports import folders
from reports.baseline import Baseline
from reports.notices import TIERS_IN_PART
from reports.progress import Progress
from reports.stale import Stale
from reports.stream import Stream
from reports.suite import digests
from reports.terminal import Summary
from reports.views import Views
from runner import extent
from runner.collection import asks_for_cases, relative, selected_files
from runner.cores import share_cores
from runner.emptiness import Emptiness
from runner.hosts import HERE, HOSTS, host_name, meet
from runner.options import EARLIER, MAX_MEMORY, NARROWING, adapters, refuse_unknown
from runner.plan import PLAN, cache_folder, narrow, narrowed_places, plan, recorded_deviations
from runner.program import STARTED, home
from runner.selection import Selection, read_support, select, supported_by
from runner.unread import describe_unread, refuse_unreadable_files
from specs.case.loading import load_usable

FOLDER = pytest.StashKey[Path]()  # of the run
FINDINGS = pytest.StashKey[dict[str, Finding]]()
UNMET = pytest.StashKey[dict[str, str]]()  # backends that had to run and cannot, with the reason


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Find out what can run, and plan with it."""
    config, option = session.config, session.config.option
    known = registry.names()
    home_folder = home(config) / folders.HOME
    required = set(option.backend).union(known if "all" in option.require else option.require)
    config.stash[HOSTS] = hosts = meet(config)
    share_cores(config, hosts)
    handed = getattr(config, "workerinput", {}).get("conformance")
    if handed is not None:
        stated = json.loads(handed)
        findings = {name: Finding(**facts) for name, facts in stated["findings"].items()}
        selection = Selection.from_json(stated["selection"])
        config.stash[FOLDER] = config.rootpath / config.workerinput[STARTED]["folder"]  # type: ignore[attr-defined]
    elif option.fuzz or asks_for_cases(config):
        refuse_unreadable_files(config)
        place = None if option.collectonly else _place(config, home_folder)
        config.stash[FOLDER] = place.path if place else home_folder
        names = [name for name in known if not option.backend or name in option.backend]
        files = [] if fuzzing.runs_only_examples(config) else selected_files(config)
        findings = _examine(config, names, files)
        selection = _select(config, findings, files)
    else:
        return
    refuse_unknown("device", option.device, [device for finding in findings.values() for device in finding.devices])
    config.stash[FINDINGS] = findings
    config.stash[UNMET] = {
        name: finding.reason or "it has no device that was asked for"
        for name, finding in findings.items()
        if finding.status == "broken" or (name in required and not narrow(option.device, finding.devices))
    }
    config.stash[PLAN] = plan(config, findings, selection)
    if handed is None and place:
        _report(session, place)
    if option.fuzz:
        fuzzing.start(config, config.stash[FOLDER], config.stash[PLAN])


def _place(config: pytest.Config, home_folder: Path) -> folders.RunFolder:
    """The folder of the run, tried before anything is computed; says which earlier run ended in the middle."""
    terminal, option = _terminal(config), config.option
    named = config.invocation_params.dir / option.report if option.report else None
    for folder, id in folders.ended_early(home_folder, named):
        if terminal:
            ended = f"the run in {folder} ended while it ran {id}: its process died."
            terminal.write_line(f"{ended}  With -n 1 a check that does so is recorded, and the others run.")
    try:
        place = folders.given(named) if named else folders.new(home_folder, extent.name(config))
        place.clear()  # whatever becomes of this session, it is not what the one before it was
    except folders.FolderError as error:
        raise pytest.UsageError(f"--report: {error}") from error
    config.add_cleanup(place.give_back)
    return place


def _examine(config: pytest.Config, names: Sequence[str], files: Sequence[Path]) -> dict[str, Finding]:
    """What the backends are, and what of the case files they do not support; says what is waited for."""
    folder, terminal = cache_folder(config, "inventory"), _terminal(config)
    if terminal and (about := TIERS_IN_PART.get(config.option.tier)):
        terminal.write_line(f"{config.option.tier} tier: {about}")
    if terminal and (unread := describe_unread(config)):
        terminal.write_line(unread)

    def announce(waiting: list[str], seconds: float) -> None:
        if terminal:
            since = f", for {seconds:.0f} s now" if seconds else ""
            terminal.write_line(f"waiting for {', '.join(waiting)} to be imported and examined{since} …")

    cache = folder and folder / "findings.json"
    return probe(names, map(registry.source, adapters(config)), cache, case_files=files, announce=announce)


def _terminal(config: pytest.Config) -> pytest.TerminalReporter | None:
    """Where a session prints, unless it is to be very quiet."""
    return config.pluginmanager.getplugin("terminalreporter") if config.get_verbosity() >= -1 else None


def _select(config: pytest.Config, findings: Mapping[str, Finding], files: Sequence[Path]) -> Selection:
    """The checks of the session's tier."""
    option, root = config.option, config.rootpath
    cases = {relative(file, root): cases for file, cases in load_usable(files, root)}
    try:
        tables = [{name: finding.lacking for name, finding in findings.items()}, *map(read_support, option.support)]
    except ValueError as error:
        raise pytest.UsageError(f"--support {error}") from error
    supported = supported_by(tables, option.max_memory)
    return select(option.tier, cases, narrowed_places(findings, option), supported, recorded_deviations)


def _report(session: pytest.Session, place: folders.RunFolder) -> None:
    """Those who listen to the results, in the one process that hears all of them."""
    config = session.config
    option, unmet, places = config.option, config.stash[UNMET], config.stash[PLAN].places
    backends = {name: finding.facts() for name, finding in config.stash[FINDINGS].items()}
    narrowed = {name: getattr(option, name) for name in (*NARROWING, "adapter", "require", "keyword", "shard")}
    if option.max_memory != MAX_MEMORY:
        narrowed["max_memory"] = f"{option.max_memory:g} GiB"
    selection: dict[str, Any] = {"paths": config.args, **narrowed}
    config.stash[extent.SELECTION] = selection
    participants = config.stash[PLAN].participants
    stale = Stale({name: participant.deviations for name, participant in participants.items()}, selection)
    facts = {
        "suite": digests(config.rootpath),
        "backends": backends,
        "unmet": unmet,
        "stale_deviations": stale.found,
        "tier": option.tier,
        "selection": selection,
    }
    if option.shard:
        facts["silent_deviations"] = stale.shown
    hosts = config.stash[HOSTS]
    if is_elsewhere := bool(hosts.keys() - {HERE}):
        facts["hosts"] = {name: host.as_json() for name, host in hosts.items()}
        if terminal := _terminal(config):
            terminal.write_line(f"workers: {', '.join(f'{name}: {host}' for name, host in hosts.items())}")
    arguments = [str(argument) for argument in config.invocation_params.args]
    alone = not config.pluginmanager.has_plugin("dsession")
    host_of = _host if is_elsewhere else None
    stream = Stream(place, arguments, facts, extent.is_whole(config), alone, partial(_stop, session), host_of)
    stream.begin()
    config.pluginmanager.register(stream)
    rows = [(place.backend, place.device) for place in places]
    config.pluginmanager.register(Summary(stream.run, rows))
    config.pluginmanager.register(stale)
    ready = [registry.load_class(name) for name in dict.fromkeys(place.backend for place in places)]
    config.pluginmanager.register(Emptiness(ready, {name: getattr(option, name) for name in NARROWING}))
    durations = cache_folder(config, "durations")
    config.pluginmanager.register(Progress(_terminal(config), durations and durations / "durations.json"))
    config.pluginmanager.register(Views(stream, config.rootpath))
    if earlier := config.stash[EARLIER]:
        config.pluginmanager.register(Baseline(earlier, stream))


def _host(report: Any) -> str:
    """The host on which a report was made."""
    return host_name(report.node.gateway.spec)


def _stop(session: pytest.Session, reason: str) -> None:
    """Let no more checks begin; pytest-xdist has its own loop."""
    session.shouldstop = reason
    if distributed := session.config.pluginmanager.getplugin("dsession"):
        distributed.shouldstop = reason


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Hand findings and selection to a worker of pytest-xdist; as text, because it carries only the plainest types."""
    stash = node.config.stash
    if FINDINGS in stash:
        findings = {name: finding.facts() for name, finding in stash[FINDINGS].items()}
        stated = {"findings": findings, "selection": stash[PLAN].selection.as_json()}
        node.workerinput["conformance"] = json.dumps(stated)
        folder = os.path.relpath(stash[FOLDER], stash[PLAN].root)
        unusable = {file: reason for name, file in adapters(node.config).items() if (reason := registry.unusable(name))}
        here = {"root": stash[PLAN].root, "here": stash[PLAN].here, "folder": folder}
        node.workerinput[STARTED] = here | {"unusable": unusable}


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A backend that had to run and could not fails the session, whatever the others did."""
    unmet = session.config.stash.get(UNMET, {})
    content = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
    if unmet and not session.config.option.collectonly and session.exitstatus in content:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
