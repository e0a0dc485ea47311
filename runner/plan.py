"""What a session runs, and where: decided before anything is collected, and the same in all workers.

A plan is made of what was found out about the backends and of what the command line leaves, so that workers of
pytest-xdist collect the same items without importing a framework.
"""

from __future__ import annotations

import gc
import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest

from backends.base import Backend
from backends.discovery import registry
from backends.discovery.inventory import Finding
from runner import program
from runner.guard import Guarded, guarded
from runner.options import MAX_MEMORY, SHARD, adapters
from runner.selection import Selection
from runner.sharding import Shard
from specs.case.case import Case
from specs.case.problems import CaseFileError
from specs.verdict.check import Check
from specs.verdict.deviation import DeviationEntry
from specs.verdict.direction import BackendProtocol, MisbehaviourError
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
        """What a command needs besides its id to run a check of this backend."""
        options = [] if check.mode in self.declared.default_modes else ["--mode", check.mode]
        if check.implementation in self.declared.on_request and not check.case.config.implementations:
            options += ["--implementation", check.implementation]
        if not self.adapter:
            return options
        # As two words pytest would take the path for that of a test; without the name others are examined too
        return [*options, f"--adapter={self.adapter}", f"--backend={check.backend}"]


@dataclass(frozen=True)
class Plan:
    """What a session runs.

    places        backends and devices, narrowed as the command line asks
    selection     which checks of the cases run there
    participants  the backends by their names, in the order in which they run
    backend       a backend by its name, imported when it is first asked for
    cache         folder in which references are kept, if pytest has a cache
    max_memory    GiB that a check may need
    shard         the share of the checks that runs here; None is all of them
    program       the words with which a session is started
    root          the folder that ids are relative to
    here          the folder in which the session was started
    """

    places: list[Place]
    selection: Selection
    participants: Mapping[str, Participant]
    backend: Callable[[str], BackendProtocol]
    cache: Path | None
    max_memory: float
    shard: Shard | None
    program: tuple[str, ...]
    root: str
    here: str

    def checks(self, case: Case, file: str) -> Iterator[Check]:
        """The checks of a case that run; `file` is where it stands, relative to the root of ids."""
        return self.selection.of(case, file, self.places)

    def deviations(self, backend: str) -> Sequence[DeviationEntry]:
        return self.participants[backend].deviations

    def version(self, backend: str) -> str | None:
        return self.participants[backend].version

    def command(self, check: Check, nodeid: str) -> str:
        """The shell command that runs this check and nothing else."""
        participant = self.participants[check.backend]
        file, _, name = nodeid.partition("::")
        # For a file elsewhere pytest itself would not look in the project
        is_elsewhere = file.startswith("../") and self.program == ("pytest",)
        front = [self._from_here("conftest.py")] if is_elsewhere else []
        variables = participant.declared.variables.get(check.implementation, {})
        settings = [f"{name}={value}" for name, value in variables.items()]
        path = f"{self._from_here(file)}::{name}"
        limit = [] if self.max_memory == MAX_MEMORY else [f"--max-memory={self.max_memory:g}"]
        return shlex.join([*settings, *self.program, *front, path, *participant.options(check), *limit])

    def _from_here(self, file: str) -> str:
        return os.path.relpath(os.path.join(self.root, file), self.here)


PLAN = pytest.StashKey[Plan]()


def plan(config: pytest.Config, findings: Mapping[str, Finding], selection: Selection) -> Plan:
    """The plan of a session with these backends."""
    added = adapters(config)
    return Plan(
        narrowed_places(findings, config.option),
        selection,
        participants={
            name: Participant(registry.load_class(name), finding.version, recorded_deviations(name), added.get(name))
            for name, finding in findings.items()
        },
        backend=_backends(config),
        cache=cache_folder(config, "references"),
        max_memory=config.option.max_memory,
        shard=config.stash[SHARD],
        program=program.command(config),
        root=str(config.rootpath),
        here=str(program.locate(config)),
    )


def narrow(requested: list[str], offered: Iterable[Name]) -> tuple[Name, ...]:
    """What is offered, less what the command line leaves out."""
    return tuple(name for name in offered if not requested or name in requested)


def cache_folder(config: pytest.Config, name: str) -> Path | None:
    """None without a cache: with -p no:cacheprovider, or where it cannot be written."""
    with suppress(AttributeError, OSError):
        return config.cache.mkdir(f"conformance-{name}")
    return None


def narrowed_places(findings: Mapping[str, Finding], option: Any) -> list[Place]:
    return [
        replace(
            place,
            implementations={
                kind: narrow(option.implementation, names) for kind, names in place.implementations.items()
            },
            modes=narrow(option.mode, backend.modes if option.mode else place.modes),
            shares={} if option.mode else place.shares,
            directions=narrow(option.direction, place.directions),
            dtypes=tuple(option.dtype) or None,
            on_request=place.on_request - frozenset(option.implementation),
        )
        for name in narrow(option.backend, findings)
        for backend in [registry.load_class(name)]
        for place in map(backend.place, narrow(option.device, findings[name].devices))
    ]


def recorded_deviations(name: str) -> list[DeviationEntry]:
    """Without them most verdicts of a backend would be wrong, so a file that cannot be used ends the session."""
    try:
        return registry.deviations(name)
    except CaseFileError as error:
        raise pytest.UsageError(f"the recorded deviations cannot be used\n{error}") from error


def _backends(config: pytest.Config) -> Callable[[str], BackendProtocol]:
    """A backend by its name, imported once, which keeps what it compiles where pytest keeps what it knows.

    It can end the check that uses it, by MisbehaviourError, and nothing else.
    """
    folder = cache_folder(config, "compiled")

    @cache
    def backend(name: str) -> BackendProtocol:
        file, is_added = registry.source(name), registry.is_added(name)
        try:
            instance = Guarded(guarded(lambda: registry.get(name), "__init__", file, is_added), file, is_added)
        except MisbehaviourError:  # also of an instance that was made: it is refused at each check
            registry.get.cache_clear()
            raise
        if folder:
            instance.keep_compiled(folder / name)
        gc.freeze()  # modules and checks live to the end: no garbage collection need look at them again
        return cast(BackendProtocol, instance)

    return backend
