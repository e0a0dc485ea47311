"""What a session runs, and where: decided before anything is collected, and the same in all workers.

A plan is made of what was found out about the backends and of what the command line leaves, so that workers of
pytest-xdist collect the same items without importing a framework.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import pytest

from backends.base import Backend
from backends.discovery import registry
from backends.discovery.inventory import Finding
from runner import program
from runner.options import SHARD, adapters
from runner.sharding import Shard
from specs.case.problems import CaseFileError
from specs.verdict.check import Check
from specs.verdict.deviation import DeviationEntry
from specs.verdict.place import Place

Name = TypeVar("Name", bound=str)


@dataclass(frozen=True)
class Participant:
    """One backend as a session knows it.

    declared    its class: what it offers, without its framework
    version     of its framework, where there is one
    deviations  what is recorded for it
    adapter     the file without which it cannot be asked for, as given, if a user adds it
    """

    declared: type[Backend]
    version: str | None
    deviations: Sequence[DeviationEntry]
    adapter: str | None = None

    def options(self, check: Check) -> list[str]:
        """What must be said beside its id to run a check of this backend."""
        asked = [] if check.mode in self.declared.default_modes else ["--mode", check.mode]
        if check.implementation in self.declared.on_request and not check.case.config.implementations:
            asked += ["--implementation", check.implementation]
        # As two words pytest would take the path for that of a test
        return [*asked, f"--adapter={self.adapter}"] if self.adapter else asked


@dataclass(frozen=True)
class Plan:
    """What a session runs.

    places        backends and devices, narrowed as the command line asks
    participants  the backends by their names, in the order in which they run
    backend       a backend by its name, imported when it is first asked for
    cache         folder in which references are kept, if pytest has a cache
    shard         the share of the checks that runs here; None is all of them
    program       the words with which a session is started
    above         where ids are relative to, as seen from where the session was started; "" if that is the same place
    """

    places: list[Place]
    participants: Mapping[str, Participant]
    backend: Callable[[str], Backend]
    cache: Path | None
    shard: Shard | None
    program: tuple[str, ...]
    above: str

    def deviations(self, backend: str) -> Sequence[DeviationEntry]:
        return self.participants[backend].deviations

    def version(self, backend: str) -> str | None:
        return self.participants[backend].version

    def command(self, check: Check, nodeid: str) -> str:
        """The shell command that runs this check and nothing else."""
        participant = self.participants[check.backend]
        # For a file elsewhere pytest itself would not look here
        front = ["conftest.py"] if nodeid.startswith("../") and self.program == ("pytest",) else []
        variables = participant.declared.variables.get(check.implementation, {})
        settings = [f"{name}={value}" for name, value in variables.items()]
        named = os.path.join(self.above, nodeid)
        return shlex.join([*settings, *self.program, *front, named, *participant.options(check)])


PLAN = pytest.StashKey[Plan]()


def plan(config: pytest.Config, findings: Mapping[str, Finding]) -> Plan:
    """The plan of a session in which this was found of its backends."""
    added = adapters(config)
    return Plan(
        _places(findings, config.option),
        participants={
            name: Participant(registry.load_class(name), finding.version, _deviations(name), added.get(name))
            for name, finding in findings.items()
        },
        backend=_backends(config),
        cache=cache_folder(config, "references"),
        shard=config.stash[SHARD],
        program=program.command(config),
        above=program.above(config),
    )


def asked(narrowed: list[str], offered: Iterable[Name]) -> tuple[Name, ...]:
    """What is offered, less what the command line leaves out."""
    return tuple(each for each in offered if not narrowed or each in narrowed)


def cache_folder(config: pytest.Config, name: str) -> Path | None:
    """None without a cache: with -p no:cacheprovider, or where it cannot be written."""
    with suppress(AttributeError, OSError):
        return config.cache.mkdir(f"conformance-{name}")
    return None


def _places(findings: Mapping[str, Finding], option: Any) -> list[Place]:
    return [
        replace(
            place,
            implementations={
                kind: asked(option.implementation, names) for kind, names in place.implementations.items()
            },
            modes=asked(option.mode, backend.modes if option.mode else place.modes),
            directions=asked(option.direction, place.directions),
            dtypes=tuple(option.dtype) or None,
            on_request=place.on_request - frozenset(option.implementation),
        )
        for name in asked(option.backend, findings)
        for backend in [registry.load_class(name)]
        for place in map(backend.place, asked(option.device, findings[name].devices))
    ]


def _deviations(name: str) -> list[DeviationEntry]:
    """Without them most verdicts of a backend would be wrong, so a file that cannot be used ends the session."""
    try:
        return registry.deviations(name)
    except CaseFileError as error:
        raise pytest.UsageError(f"the recorded deviations cannot be used\n{error}") from error


def _backends(config: pytest.Config) -> Callable[[str], Backend]:
    """A backend by its name, imported once, which keeps what it compiles where pytest keeps what it knows."""
    folder = cache_folder(config, "compiled")

    @cache
    def backend(name: str) -> Backend:
        found = registry.get(name)
        if folder:
            found.keep_compiled(folder / name)
        return found

    return backend
