"""What an upgrade changes: `python -m reports upgrade OLD NEW -- PYTEST ARGUMENTS`, or `tox run -e upgrade -- …`.

Each side is one environment with the packages that it names and whatever else the backends in question need, but no
other framework.  Packages that neither side names have the versions pinned for the suite or, if those cannot be
installed together with the named ones, the newest that can; the later side reuses the versions of the earlier one where
possible, so that as little as possible differs.  Environments are kept and reused; pip's own cache holds what they have
in common.

Both sides run the same checks, one after the other, and the runs are compared.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from backends.discovery import registry
from specs.case.loading import discover

ROOT = Path(__file__).resolve().parents[1]
SUITE, PINNED = ROOT / "requirements-suite.txt", ROOT / "requirements.txt"
READY = "ready.json"  # in an environment: the installed versions, written once everything is installed

DESCRIPTION = """\
Build an environment for each side, run the same checks in both, and compare.  A side is one or more requirements:
"jax==0.8.1" or "numpy==2.3.5 jax==0.8.1".  Arguments after -- go to pytest, e.g. -- cases/einsum -n 2; without
--backend among them, the backends that use the packages run."""


class UpgradeError(Exception):
    """An environment or a run could not be made; the message says why and what to do."""


@dataclass(frozen=True)
class Environment:
    """An installation: its interpreter, and the version of each package in it."""

    python: Path
    versions: Mapping[str, str]


def add(commands: Any) -> None:
    parser = commands.add_parser("upgrade", help="what an upgrade of a framework changes", description=DESCRIPTION)
    parser.add_argument("old", help="requirements of the earlier side, in one argument")
    parser.add_argument("new", help="requirements of the later side")
    parser.add_argument("--work", type=Path, default=Path(".upgrade"), help="environments and runs (default .upgrade)")
    parser.add_argument("--allow", action="append", default=[], metavar="PATTERN", help="as in `compare`")
    parser.add_argument("pytest", nargs="*", help="arguments of pytest, after --")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    try:
        return upgrade(options.old, options.new, options.pytest, options.work.resolve(), options.allow)
    except UpgradeError as error:
        print(f"upgrade: {error}", file=sys.stderr)
        return 2


def upgrade(old: str, new: str, arguments: Sequence[str], work: Path, allow: Sequence[str] = ()) -> int:
    """The exit status of the comparison."""
    sides = [parse_requirements(side) for side in (old, new)]
    backends = _backends([requirement for side in sides for requirement in side], arguments)
    environments: list[Environment] = []
    for side in sides:
        earlier = environments[-1].versions if environments else {}
        environments.append(build(side, backends, work / "environments", earlier))
    folders = [work / "runs" / re.sub(r"[^\w.=<>~!-]+", "_", " ".join(map(str, side))) for side in sides]
    support = [folder.with_name(f"{folder.name}.support.json") for folder in folders]
    for environment, file in zip(environments, support, strict=True):
        write_support(environment.python, backends, file)
    for environment, folder in zip(environments, folders, strict=True):
        _run(environment, backends, [*(f"--support={file}" for file in support), *arguments], folder)
    report = work / "compared"
    command = [str(environments[-1].python), "-m", "reports", "compare", *map(str, folders)]
    command += [f"--html={report}.html", f"--markdown={report}.md", *(f"--allow={pattern}" for pattern in allow)]
    status = subprocess.run(command, cwd=ROOT).returncode
    print(f"\nruns: {folders[0]} {folders[1]}\nreports: {report}.html {report}.md")
    return status


def parse_requirements(side: str) -> list[Requirement]:
    """`"numpy==2.3.5 jax==0.8.1"` → two requirements."""
    try:
        parsed = [Requirement(text) for text in side.split()]
    except InvalidRequirement as error:
        raise UpgradeError(f"{side!r} is not a list of requirements such as 'jax==0.8.1': {error}") from error
    if not parsed:
        raise UpgradeError("a side names no package: write for example 'jax==0.8.1'")
    return parsed


def _backends(requirements: Sequence[Requirement], arguments: Sequence[str]) -> list[str]:
    """The backends that pytest's arguments name, else those that the packages belong to."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--backend", action="append", default=[])
    requested = parser.parse_known_args(list(arguments))[0].backend
    if requested:
        return list(dict.fromkeys(requested))
    packages = {canonicalize_name(requirement.name) for requirement in requirements}
    own = [name for name in registry.names() if canonicalize_name(registry.load_class(name).distribution) in packages]
    backends = own or [name for name in registry.names() if packages & set(_packages(name))]
    if not backends:
        raise UpgradeError(
            f"no backend is known to depend on {', '.join(sorted(packages))}: name one to run, -- --backend NAME"
        )
    return backends


def _packages(backend: str) -> list[str]:
    """The distributions that a backend's results depend on."""
    declared = registry.load_class(backend)
    return [canonicalize_name(name) for name in (declared.distribution, *declared.related)]


# Environments ---------------------------------------------------------------------------------------------------------


def build(
    side: Sequence[Requirement], backends: Sequence[str], folder: Path, earlier: Mapping[str, str]
) -> Environment:
    """The environment of one side; `earlier` are the versions on the other side, reused where possible."""
    names = {canonicalize_name(requirement.name) for requirement in side}
    pins: dict[str, Requirement] = {canonicalize_name(pin.name): pin for pin in _pins()}
    # Triton is installed with torch where it exists
    needed = {
        "numpy",
        "ml-dtypes",
        *(name for backend in backends for name in _packages(backend)),
    } & pins.keys() - names
    free = [Requirement(name) for name in sorted(needed)]
    pinned = [Requirement(f"{name}=={earlier[name]}") if name in earlier else pins[name] for name in sorted(needed)]
    failures = []
    for companions in (pinned, free):
        requirements = sorted(map(str, (*side, *companions)))
        print(f"environment: {' '.join(requirements)}", flush=True)
        try:
            return _environment(requirements, folder)
        except UpgradeError as error:
            failures.append(error)
            print("  cannot be installed together", flush=True)
    raise failures[-1]


def _pins() -> Iterator[Requirement]:
    for line in PINNED.read_text(encoding="utf-8").splitlines():
        if line and line[0] not in "#-":
            yield Requirement(line)


def _environment(requirements: Sequence[str], folder: Path) -> Environment:
    """The environment with exactly these requirements and those of the suite, created if it does not exist."""
    key = json.dumps([sys.version, requirements, SUITE.read_text(encoding="utf-8")])
    environment_folder = folder / hashlib.sha256(key.encode()).hexdigest()[:12]
    python = environment_folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not (environment_folder / READY).exists():
        _call(
            [sys.executable, "-m", "venv", "--clear", "--without-pip", environment_folder],
            "a virtual environment cannot be created",
        )
        _must_be_its_own(python, environment_folder)
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python]
        _install([*pip, "install", "--quiet", "-r", SUITE, *requirements], requirements)
        packages = json.loads(_call([*pip, "list", "--format=json"], "pip cannot list what it installed"))
        versions = {canonicalize_name(package["name"]): package["version"] for package in packages}
        (environment_folder / READY).write_text(json.dumps(versions), encoding="utf-8")
    return Environment(python, json.loads((environment_folder / READY).read_text(encoding="utf-8")))


def _must_be_its_own(python: Path, folder: Path) -> None:
    """Raise UpgradeError for a damaged environment: it would run the base Python, and pip would install into that."""
    prefix = _call([python, "-c", "import sys; print(sys.prefix)"], f"{folder} has no interpreter that runs").strip()
    if Path(prefix).resolve() != folder.resolve():
        raise UpgradeError(
            f"{folder} is not an environment of its own, it belongs to {prefix}: remove it and start again"
        )


def _call(command: Sequence[Any], message: str) -> str:
    completed = subprocess.run(list(map(str, command)), capture_output=True, text=True, errors="replace")
    if completed.returncode:
        raise UpgradeError(f"{message}: {_last_line(completed.stderr)}")
    return completed.stdout


def _install(command: Sequence[Any], requirements: Sequence[str]) -> None:
    completed = subprocess.run(list(map(str, command)), capture_output=True, text=True, errors="replace")
    if completed.returncode:
        raise UpgradeError(explain_failure(completed.stderr, requirements))


def explain_failure(output: str, requirements: Sequence[str]) -> str:
    """One message about why pip could not install the requirements, from pip's output."""
    together = " ".join(requirements)
    if match := re.search(r"requirement (\S+?)(?: \(from [^v][^)]*\))? \(from versions: ([^)]*)\)", output):
        versions = [version for version in match[2].split(", ") if version != "none"]
        python = ".".join(map(str, sys.version_info[:2]))
        offered = f"there are {', '.join(versions[-8:])}" if versions else "there is no such package"
        return f"{match[1]} cannot be installed on Python {python} here: {offered}"
    if match := re.search(r"The conflict is caused by:\n(.*?)\n\s*\n", output, re.DOTALL):
        causes = "; ".join(dict.fromkeys(line.strip() for line in match[1].splitlines() if line.strip()))
        return f"{together} cannot be installed together: {causes}.  Name a version of the other package that fits both"
    return f"{together} cannot be installed: {_last_line(output)}"


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "there was no output"


# Runs -----------------------------------------------------------------------------------------------------------------


def write_support(python: Path, backends: Sequence[str], file: Path) -> None:
    """Write what the backends of an environment do not support, so that both sides run the same part of a tier.

    A backend that cannot be used there is left out: the run itself says why.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for backend in backends:
        command = [python, "-m", "backends.discovery.inventory", backend, *discover([], ROOT)]
        answer = subprocess.run(list(map(str, command)), cwd=ROOT, env=_variables(), capture_output=True, text=True)
        lines += [line for line in answer.stdout.splitlines()[-1:] if line.startswith("{")]
    file.write_text("\n".join(lines), encoding="utf-8")


def _variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}


def _run(environment: Environment, backends: Sequence[str], arguments: Sequence[str], folder: Path) -> None:
    options = (
        [] if any(argument.startswith("--backend") for argument in arguments) else [f"--backend={b}" for b in backends]
    )
    command = [environment.python, "-m", "pytest", f"--report={folder}", *options, "-q", *arguments]
    print(f"\n{shlex.join(map(str, command))}", flush=True)
    status = subprocess.run(list(map(str, command)), cwd=ROOT, env=_variables()).returncode
    if status not in (0, 1):  # 1: some checks fail, which is what the comparison is about
        raise UpgradeError(f"pytest ended with status {status}, so there is no whole run in {folder} to compare")
