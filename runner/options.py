"""The command line of a session: its options, and the refusal of what nothing can have.

Nothing here asks a framework: a mistyped name is told first.
"""

from __future__ import annotations

import difflib
import importlib.util
import math
import os
from argparse import ArgumentTypeError
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import pytest

from backends.discovery import registry
from fuzzing import session as fuzzing
from reports.compare.model import Side
from reports.compare.runs import side
from reports.read import RunError, read
from runner import sharding
from runner.program import STARTED, locate
from runner.sharding import Shard
from runner.tiers import DEFAULT, TIERS
from specs.arithmetic.formats import DTYPES
from specs.verdict.direction import DIRECTIONS

NARROWING = ("backend", "device", "dtype", "mode", "implementation", "direction")
WORKERS, PLACES = "workers_asked_for", "places_asked_for"
EARLIER = pytest.StashKey[Side | None]()  # the run that this one is compared with
MAX_MEMORY = 4.0  # GiB; no case of the project needs more than 1
SHARD = pytest.StashKey[Shard | None]()


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    if not _has_workers(pluginmanager):
        _stand_in_for_workers(parser)
    group = parser.getgroup("conformance", "conformance of frameworks (each may be given several times)")
    for name in NARROWING:
        group.addoption(f"--{name}", action="append", default=[], metavar="NAME", help=f"run only this {name}")
    adapter = "add the backend that this file defines"
    require = "fail if this backend cannot run here; all: every known one"
    group.addoption("--adapter", action="append", default=[], metavar="FILE", help=adapter)
    group.addoption("--require", action="append", default=[], metavar="NAME", help=require)
    group.addoption("--report", metavar="DIR", help="where the run goes (default: a new folder in .conformance/runs)")
    fuzzing.add_options(group)
    group.addoption("--baseline", metavar="DIR", help="fail for anything that became worse since the run in DIR")
    tier = "how much of the product of cases and places runs: a handful, a designed part (the default), everything"
    group.addoption("--tier", default=DEFAULT, metavar="|".join(TIERS), help=tier)
    support = "design the tier for what is supported elsewhere too, as written by backends.discovery.support"
    group.addoption("--support", action="append", default=[], metavar="FILE", help=support)
    memory = f"GiB that a check may need, as estimated from its shapes; more is unsupported (default: {MAX_MEMORY:g})"
    group.addoption("--max-memory", type=_gibibytes, default=MAX_MEMORY, metavar="GIB", help=memory)
    group.addoption("--shard", metavar="I/N", help="run only this share of the checks, e.g. 2/3")


def _has_workers(plugins: pytest.PytestPluginManager) -> bool:
    """Whether pytest-xdist is loaded, or will be: the runner's own files come before it."""
    is_found = importlib.util.find_spec("xdist") and not os.environ.get("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    return plugins.has_plugin("xdist") or bool(is_found and not plugins.is_blocked("xdist"))


def _stand_in_for_workers(parser: pytest.Parser) -> None:
    """The options of pytest-xdist that the project's settings name, where it is not installed or is turned off."""
    group = parser.getgroup("xdist", "workers, which need pytest-xdist")
    group._addoption("-n", "--numprocesses", dest=WORKERS, default="0", metavar="N")  # plugins may not add short ones
    group.addoption("--tx", dest=PLACES, action="append", default=[], metavar="SPEC")
    group.addoption("--dist", default="no")
    group.addoption("--max-worker-restart", default=None)


def _gibibytes(text: str) -> float:
    with suppress(ValueError):
        if 0 < (number := float(text)) < math.inf:
            return number
    raise ArgumentTypeError(f"{text!r} is not a number of GiB greater than 0")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse what nothing can have."""
    option = config.option
    asked_for = [f"-n {workers}" for workers in [getattr(option, WORKERS, "0")] if workers != "0"]
    for words in asked_for + [f"--tx {place}" for place in getattr(option, PLACES, [])]:
        raise pytest.UsageError(f"{words} needs pytest-xdist, installed and not turned off by -p no:xdist")
    fuzzing.check_options(config)
    try:
        adapters(config)
    except registry.AdapterError as error:
        raise pytest.UsageError(f"--adapter {error}") from error
    try:
        config.stash[SHARD] = sharding.parse(option.shard) if option.shard else None
        earlier = option.baseline and config.invocation_params.dir / option.baseline
        config.stash[EARLIER] = side(read(earlier)) if earlier and not is_worker(config) else None
    except (ValueError, RunError) as error:
        raise pytest.UsageError(str(error)) from error
    known = registry.names()
    declared = registry.declared_names()
    refuse_unknown("tier", [option.tier], TIERS)
    refuse_unknown("backend", option.backend, known)
    refuse_unknown("require", option.require, [*known, "all"])
    refuse_excluded(option.require, option.backend, known)
    refuse_unknown("dtype", option.dtype, DTYPES)
    refuse_unknown("mode", option.mode, declared["modes"])
    refuse_unknown("direction", option.direction, DIRECTIONS)
    refuse_unknown("implementation", option.implementation, declared["implementations"])


def adapters(config: pytest.Config) -> dict[str, str]:
    """Backends that the user adds, and the files as given; adding one twice is as adding it once."""
    unusable = getattr(config, "workerinput", {}).get(STARTED, {}).get("unusable", {})
    return {_add(locate(config, file), unusable.get(file)): file for file in config.option.adapter}


def _add(file: Path, unusable: str | None) -> str:
    """The name of the backend that a file adds, which is a broken one where the file cannot be imported, or is known
    to be `unusable`: the others run.
    """
    try:
        return registry.add_unusable(file, unusable) if unusable else registry.add(file)
    except registry.UnusableAdapterError as error:
        return registry.add_unusable(file, str(error))


def refuse_unknown(option: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise UsageError for a name that is not known, with the nearest one that is."""
    known = list(dict.fromkeys(known))
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise pytest.UsageError(f"--{option} {name}: unknown{hint}; known: {', '.join(known)}")


def refuse_excluded(required: Iterable[str], selected: Iterable[str], known: Iterable[str]) -> None:
    """Raise UsageError for a backend that must run and is not among those that are to run."""
    for name in required:
        if selected and (excluded := set(known if name == "all" else [name]).difference(selected)):
            options = " ".join(f"--backend {other}" for other in selected)
            raise pytest.UsageError(f"--require {name}: {options} leaves out {', '.join(sorted(excluded))}")


def is_worker(config: pytest.Config) -> bool:
    """Of pytest-xdist; the runs are the business of the one process that hears all results."""
    return hasattr(config, "workerinput")
