"""A session from its start to its end: the inventory of backends, its plan, its reports, its exit status.

What can run is found out by the one process that asks the frameworks, in subprocesses of its own: the controller of
pytest-xdist, or the only process there is.  Workers receive the answer.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from backends.discovery import registry
from backends.discovery.inventory import Finding, probe
from fuzzing import session as fuzzing
from reports.baseline import Baseline
from reports.stale import Stale
from reports.stream import Stream
from reports.suite import digests
from reports.terminal import Summary
from reports.views import Views
from runner.collection import asks_for_cases
from runner.options import EARLIER, NARROWING, adapters, refuse_unknown
from runner.plan import PLAN, asked, cache_folder, plan
from runner.program import home

FINDINGS = pytest.StashKey[dict[str, Finding]]()
UNMET = pytest.StashKey[dict[str, str]]()  # backends that had to run and cannot, with the reason


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
        folder = cache_folder(config, "inventory")
        findings = probe(names, map(registry.source, adapters(config)), folder and folder / "findings.json")
    else:
        return
    refuse_unknown("device", option.device, [device for finding in findings.values() for device in finding.devices])
    config.stash[FINDINGS] = findings
    config.stash[UNMET] = {
        name: finding.reason or "it has no device that was asked for"
        for name, finding in findings.items()
        if finding.status == "broken" or (name in required and not asked(option.device, finding.devices))
    }
    config.stash[PLAN] = plan(config, findings)
    folder = config.invocation_params.dir / option.report if option.report else home(config) / ".conformance"
    if handed is None and not option.collectonly:
        _report(config, folder)
    if option.fuzz:
        fuzzing.start(config, folder, config.stash[PLAN])


def _report(config: pytest.Config, folder: Path) -> None:
    """Those who listen to the results, in the one process that hears all of them."""
    option, unmet, places = config.option, config.stash[UNMET], config.stash[PLAN].places
    backends = {name: asdict(finding) for name, finding in config.stash[FINDINGS].items()}
    narrowed = {name: getattr(option, name) for name in (*NARROWING, "adapter", "require", "keyword", "shard")}
    stale = Stale({name: each.deviations for name, each in config.stash[PLAN].participants.items()})
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
