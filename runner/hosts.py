"""The hosts of a session's workers, as `--tx` names them: asked what they are before any worker starts.

A run states one Python and one version of each package, and its plan is made from the frameworks of one machine; so a
host where any of that differs is refused.  Processors may differ: then each record states its host.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from backends.discovery import registry
from backends.discovery.inventory import VARIABLES
from reports import environment
from reports.environment import PACKAGES, describe_host
from reports.suite import digests_of_sources
from runner.program import is_runner

HERE = "here"
MOST_DIFFERENCES = 5
OF_DEVICES = ("CUDA_", "HIP_", "NVIDIA_", "ROCR_")  # which devices there are is a matter of each host
# Source for an interpreter elsewhere, in the folder in which its worker will start
READ_SUITE = """
import os, sys
from pathlib import Path
sys.path.insert(0, os.getcwd())
answer = None
if os.path.exists("conftest.py"):
    try:
        from reports.suite import digests_of_sources
        answer = digests_of_sources(Path.cwd())
    except Exception as error:
        answer = f"{type(error).__name__}: {error}"
channel.send(answer)
"""
SET_VARIABLES = """
import os
prefixes, variables = channel.receive()
for name in [name for name in os.environ if name.startswith(tuple(prefixes))]:
    del os.environ[name]
os.environ.update(variables)
"""


@dataclass(frozen=True)
class Host:
    """A machine and its interpreter: what `describe_host` says of it there, and how many workers it has."""

    facts: Mapping[str, Any]
    workers: int

    def as_json(self) -> dict[str, Any]:
        """What a run states of it."""
        names = ("platform", "machine", "processor", "cpus")
        return {**{name: self.facts[name] for name in names}, "workers": self.workers}

    def __str__(self) -> str:
        return f"{self.workers} on {self.facts['processor']} with {self.facts['cores']} cores"


HOSTS = pytest.StashKey[dict[str, Host]]()


def meet(config: pytest.Config) -> dict[str, Host]:
    """The hosts by name, if a worker runs anywhere but in this interpreter; else none.

    Raises UsageError for a host that does not answer, or on which no part of this run can be computed.
    """
    if not config.pluginmanager.has_plugin("dsession"):
        return {}
    from execnet import XSpec
    from xdist.workermanage import parse_tx_spec_config  # remembers the import path for its workers

    specs = [XSpec(text) for text in parse_tx_spec_config(config)]
    elsewhere = {spec._spec: spec for spec in specs if not _is_this_interpreter(spec)}
    if not elsewhere:
        return {}
    is_copied = _refuse_what_is_not_there(config, [spec for spec in elsewhere.values() if _has_own_folder(spec)])
    packages = _packages()
    here = describe_host(packages)
    facts = {text: _ask(config, spec, packages, here, is_copied) for text, spec in elsewhere.items()}
    names = [host_name(spec) for spec in specs]
    found = {host_name(spec): facts.get(spec._spec, here) for spec in specs}
    return {host: Host(of_host, names.count(host)) for host, of_host in found.items()}


def host_name(spec: Any) -> str:
    """The host of a worker, as `--tx` names it, without its user."""
    if address := spec.ssh or spec.vagrant_ssh:
        return str(address.split()[-1].rpartition("@")[2])
    return str(spec.socket.partition(":")[0] if spec.socket else spec.via or HERE)


def _is_this_interpreter(spec: Any) -> bool:
    return bool(spec.popen and not (spec.python or spec.chdir or spec.via))


def _has_own_folder(spec: Any) -> bool:
    """Whether pytest-xdist starts its workers in another folder than this one."""
    return bool(not spec.popen or spec.chdir)


def _packages() -> list[str]:
    """All that a run states the versions of."""
    classes = map(registry.load_class, registry.names())
    return list(
        dict.fromkeys([*PACKAGES, *(name for found in classes for name in (found.distribution, *found.related))])
    )


# What is refused ------------------------------------------------------------------------------------------------------


def _refuse_what_is_not_there(config: pytest.Config, specs: Sequence[Any]) -> bool:
    """Whether pytest-xdist copies the project to these workers; UsageError for anything that they would lack."""
    if not specs:
        return False
    option, root, first = config.option, config.rootpath, f"--tx {specs[0]._spec}"
    if is_runner(config):
        raise pytest.UsageError(
            f"{first}: `python -m runner` computes here only; start `pytest` in a copy of the project"
        )
    copied = [Path(folder).resolve() for folder in (*option.rsyncdir, *config.getini("rsyncdirs"))]
    for word in config.invocation_params.args:
        path = Path(str(word).partition("::")[0])
        if path.exists() and not any(path.is_relative_to(folder) for folder in copied):
            hint = "name it by its full path" if not path.is_absolute() else "leave it out, or select by -k"
            raise pytest.UsageError(f"{first}: {word} is not known there: {hint}, below a folder that --rsyncdir names")
    is_copied = any(root.is_relative_to(folder) for folder in copied)
    if is_copied and config.args_source is not pytest.Config.ArgsSource.ARGS:
        raise pytest.UsageError(
            f"{first}: name what is to run, such as {root / 'cases'}: workers start above their copy"
        )
    for file in option.adapter:
        if not (config.invocation_params.dir / file).resolve().is_relative_to(root):
            raise pytest.UsageError(f"{first}: --adapter={file} is not there: put it into the project")
    return is_copied


def _ask(
    config: pytest.Config, spec: Any, packages: Sequence[str], here: Mapping[str, Any], is_copied: bool
) -> Mapping[str, Any]:
    """What a host is; UsageError if it cannot be asked, or not be used."""
    import execnet
    from execnet.gateway_bootstrap import HostNotFound

    group, start = execnet.Group(execmodel="main_thread_only"), f"--tx {spec._spec}: "
    try:
        for proxy in config.option.px:
            group.makegateway(proxy)
        gateway = group.makegateway(spec._spec)
        channel = gateway.remote_exec(environment)
        channel.send(list(packages))
        facts = channel.receive()
        if differences := list(_differences(config, facts, here)):
            raise pytest.UsageError(f"{start}{_sentence(spec, differences)}")
        if _has_own_folder(spec) and not is_copied:
            suite = gateway.remote_exec(READ_SUITE).receive()
            if reason := _other_suite(suite, digests_of_sources(config.rootpath)):
                raise pytest.UsageError(f"{start}{reason}; make both the same, or let --rsyncdir copy this one")
    except HostNotFound as error:
        raise pytest.UsageError(f"{start}{host_name(spec)} cannot be reached by ssh") from error
    except (OSError, EOFError, AssertionError, execnet.RemoteError) as error:
        if spec.ssh and isinstance(error, BrokenPipeError):  # ssh ended before the first word was written to it
            raise pytest.UsageError(f"{start}{host_name(spec)} cannot be reached by ssh, or hangs up") from error
        message = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        python = spec.python or "python"
        raise pytest.UsageError(f"{start}no Python answers as `{python}` on {host_name(spec)} ({message})") from error
    finally:
        group.terminate(timeout=5)
    return facts


def _differences(config: pytest.Config, there: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[str]:
    if there["python"] != here["python"]:
        yield f"Python is {there['python']}, not {here['python']}"
    for package in dict.fromkeys([*here["packages"], *there["packages"]]):
        versions = [facts["packages"].get(package) for facts in (there, here)]
        if versions[0] != versions[1]:
            yield f"{package} is {versions[0] or 'not installed'}, not {versions[1] or 'absent'}"
    if there["accelerators"] != here["accelerators"] and config.option.device != ["cpu"]:
        listed = ", ".join(there["accelerators"]) or "none"
        yield f"the accelerators are {listed}, not {', '.join(here['accelerators']) or 'none'} (--device cpu uses none)"


def _sentence(spec: Any, differences: Sequence[str]) -> str:
    listed = "; ".join(differences[:MOST_DIFFERENCES])
    more = f" and {len(differences) - MOST_DIFFERENCES} more differ" if len(differences) > MOST_DIFFERENCES else ""
    advice = "install the same there, or run there by itself and compare the runs (python -m reports compare)"
    where = "there" if (host := host_name(spec)) == HERE else f"on {host}"
    return f"{where} {listed}{more}.  A run has one environment: {advice}"


def _other_suite(there: Any, here: Mapping[str, str]) -> str | None:
    if there is None:
        return "the folder of its workers holds no copy of the project (//chdir=FOLDER names one)"
    if isinstance(there, str):
        return f"the suite cannot be imported in its copy of the project ({there})"
    other = [folder for folder, digest in here.items() if there.get(folder) != digest]
    return f"its copy of the project has other {' and '.join(other)}" if other else None


# Hooks ----------------------------------------------------------------------------------------------------------------


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_newgateway(gateway: Any) -> None:
    """Let a worker elsewhere have the variables that numbers depend on, before it imports anything."""
    if _is_this_interpreter(gateway.spec):
        return
    names = [*VARIABLES, *(f"{backend.upper()}_" for backend in registry.names())]
    prefixes = [prefix for prefix in names if prefix not in OF_DEVICES]
    variables = {name: text for name, text in os.environ.items() if name.startswith(tuple(prefixes))}
    channel = gateway.remote_exec(SET_VARIABLES)
    channel.send((prefixes, variables))
    channel.waitclose()
