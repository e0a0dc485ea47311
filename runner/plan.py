"""What a session runs, and where: decided before anything is collected, and the same in all workers.

A plan is made of what was found out about the backends and of what the command line leaves, so that workers of
pytest-xdist collect the same items without importing a framework.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import pytest

from backends import registry
from backends.base import Backend
from backends.inventory import Finding
from runner import program
from runner.options import SHARD, adapters
from runner.sharding import Shard
from specs.case.problems import CaseFileError
from specs.verdict.check import Check
from specs.verdict.deviation import Recorded
from specs.verdict.place import Place

Name = TypeVar("Name", bound=str)


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
    program     the words with which a session is started
    """

    places: list[Place]
    backend: Callable[[str], Backend]
    deviations: Mapping[str, Sequence[Recorded]]
    defaults: Mapping[str, tuple[str, ...]]
    on_request: Mapping[str, frozenset[str]]
    variables: Mapping[str, Mapping[str, Mapping[str, str]]]
    versions: Mapping[str, str | None]
    adapters: Mapping[str, str]
    cache: Path | None
    shard: Shard | None
    program: tuple[str, ...]

    def command(self, check: Check, nodeid: str) -> str:
        """The shell command that runs this check and nothing else."""
        asked = [] if check.mode in self.defaults.get(check.backend, ()) else ["--mode", check.mode]
        if check.implementation in self.on_request.get(check.backend, ()) and not check.case.config.implementations:
            asked += ["--implementation", check.implementation]
        # As two words pytest would take the path for that of a test
        adapter = [f"--adapter={self.adapters[check.backend]}"] if check.backend in self.adapters else []
        # For a file elsewhere pytest itself would not look here
        front = ["conftest.py"] if nodeid.startswith("../") and self.program == ("pytest",) else []
        variables = self.variables.get(check.backend, {}).get(check.implementation, {})
        settings = [f"{name}={value}" for name, value in variables.items()]
        return shlex.join([*settings, *self.program, *front, nodeid, *asked, *adapter])


PLAN = pytest.StashKey[Plan]()


def plan(config: pytest.Config, findings: Mapping[str, Finding]) -> Plan:
    """The plan of a session in which this was found of its backends."""
    offers = {name: registry.declare(name) for name in findings}
    return Plan(
        _places(findings, config.option),
        backend=_backends(config),
        deviations={name: _deviations(name) for name in findings},
        defaults={name: offer.default_modes for name, offer in offers.items()},
        on_request={name: offer.on_request for name, offer in offers.items()},
        variables={name: offer.variables for name, offer in offers.items()},
        versions={name: finding.version for name, finding in findings.items()},
        adapters=adapters(config),
        cache=cache_folder(config, "references"),
        shard=config.stash[SHARD],
        program=program.command(config),
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
        for backend in [registry.declare(name)]
        for place in map(backend.place, asked(option.device, findings[name].devices))
    ]


def _deviations(name: str) -> list[Recorded]:
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
