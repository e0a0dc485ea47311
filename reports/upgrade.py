"""What an upgrade changes: `python -m reports upgrade OLD NEW -- PYTEST ARGUMENTS`, or `tox run -e upgrade -- …`.

Each side is one environment with the packages that it names and what the backends in question need besides, no other
framework.  What neither side names is as pinned for the suite, or, where that cannot be installed beside it, the newest
that can; the later side takes whatever it can from the earlier one, so that as little as possible differs.
Environments are kept and used again; pip's own cache keeps what they have in common.

Both run the same checks, one after the other, and the runs are compared.
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

ROOT = Path(__file__).resolve().parents[1]
SUITE, PINNED = ROOT / "requirements-suite.txt", ROOT / "requirements.txt"
READY = "ready.json"  # in an environment: what is installed, once all of it is

DESCRIPTION = """\
Build an environment for each side, run the same checks in both, and compare.  A side is one or more requirements:
"jax==0.8.1" or "numpy==2.3.5 jax==0.8.1".  Arguments after -- go to pytest, e.g. -- cases/einsum -n 2; without
--backend among them, the backends run that the packages belong to."""


class UpgradeError(Exception):
    """An environment cannot be made or a run cannot be done; says why and what to do."""


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
    parser.add_argument("--allow", action="append", default=[], metavar="PATTERN", help="as of `compare`")
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
    sides = [requirements(side) for side in (old, new)]
    backends = _backends([each for side in sides for each in side], arguments)
    runs = []
    earlier: Mapping[str, str] = {}
    for side in sides:
        environment = build(side, backends, work / "environments", earlier)
        earlier = environment.versions
        folder = work / "runs" / re.sub(r"[^\w.=<>~!-]+", "_", " ".join(map(str, side)))
        _run(environment, backends, arguments, folder)
        runs.append(folder)
    report = work / "compared"
    command = [str(environment.python), "-m", "reports", "compare", *map(str, runs)]
    command += [f"--html={report}.html", f"--markdown={report}.md", *(f"--allow={pattern}" for pattern in allow)]
    status = subprocess.run(command, cwd=ROOT).returncode
    print(f"\nruns: {runs[0]} {runs[1]}\nshown: {report}.html {report}.md")
    return status


def requirements(side: str) -> list[Requirement]:
    """`"numpy==2.3.5 jax==0.8.1"` → two requirements."""
    try:
        found = [Requirement(text) for text in side.split()]
    except InvalidRequirement as error:
        raise UpgradeError(f"{side!r} is not a list of requirements such as 'jax==0.8.1': {error}") from error
    if not found:
        raise UpgradeError("a side names no package: give for example 'jax==0.8.1'")
    return found


def _backends(named: Sequence[Requirement], arguments: Sequence[str]) -> list[str]:
    """Those that pytest's arguments ask for, else those that the packages belong to."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--backend", action="append", default=[])
    asked = parser.parse_known_args(list(arguments))[0].backend
    if asked:
        return list(dict.fromkeys(asked))
    packages = {canonicalize_name(each.name) for each in named}
    own = [name for name in registry.names() if canonicalize_name(registry.declare(name).distribution) in packages]
    found = own or [name for name in registry.names() if packages & set(_packages(name))]
    if not found:
        raise UpgradeError(
            f"no backend is known to depend on {', '.join(sorted(packages))}: say which to run, -- --backend NAME"
        )
    return found


def _packages(backend: str) -> list[str]:
    """The distributions that a backend's results depend on."""
    declared = registry.declare(backend)
    return [canonicalize_name(name) for name in (declared.distribution, *declared.related)]


# Environments ---------------------------------------------------------------------------------------------------------


def build(
    side: Sequence[Requirement], backends: Sequence[str], folder: Path, earlier: Mapping[str, str]
) -> Environment:
    """The environment of one side; `earlier` are the versions of the other, to be kept where possible."""
    named = {canonicalize_name(each.name) for each in side}
    pins: dict[str, Requirement] = {canonicalize_name(pin.name): pin for pin in _pins()}
    # Triton comes with torch where there is one
    needed = {
        "numpy",
        "ml-dtypes",
        *(name for backend in backends for name in _packages(backend)),
    } & pins.keys() - named
    free = [Requirement(name) for name in sorted(needed)]
    kept = [Requirement(f"{name}=={earlier[name]}") if name in earlier else pins[name] for name in sorted(needed)]
    failures = []
    for companions in (kept, free):
        wanted = sorted(map(str, (*side, *companions)))
        print(f"environment: {' '.join(wanted)}", flush=True)
        try:
            return _environment(wanted, folder)
        except UpgradeError as error:
            failures.append(error)
            print("  cannot be installed together", flush=True)
    raise failures[-1]


def _pins() -> Iterator[Requirement]:
    for line in PINNED.read_text(encoding="utf-8").splitlines():
        if line and line[0] not in "#-":
            yield Requirement(line)


def _environment(wanted: Sequence[str], folder: Path) -> Environment:
    """An environment with exactly these requirements and those of the suite, made if there is none yet."""
    key = json.dumps([sys.version, wanted, SUITE.read_text(encoding="utf-8")])
    place = folder / hashlib.sha256(key.encode()).hexdigest()[:12]
    python = place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not (place / READY).exists():
        _call([sys.executable, "-m", "venv", "--clear", "--without-pip", place], "a virtual environment cannot be made")
        _must_be_its_own(python, place)
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python]
        _install([*pip, "install", "--quiet", "-r", SUITE, *wanted], wanted)
        listed = json.loads(_call([*pip, "list", "--format=json"], "pip cannot list what it installed"))
        versions = {canonicalize_name(each["name"]): each["version"] for each in listed}
        (place / READY).write_text(json.dumps(versions), encoding="utf-8")
    return Environment(python, json.loads((place / READY).read_text(encoding="utf-8")))


def _must_be_its_own(python: Path, place: Path) -> None:
    """A damaged environment falls back to the Python that it was made from, and pip would install into that."""
    prefix = _call([python, "-c", "import sys; print(sys.prefix)"], f"{place} has no interpreter that runs").strip()
    if Path(prefix).resolve() != place.resolve():
        raise UpgradeError(f"{place} is no environment of its own, it belongs to {prefix}: remove it and start again")


def _call(command: Sequence[Any], told: str) -> str:
    ended = subprocess.run(list(map(str, command)), capture_output=True, text=True, errors="replace")
    if ended.returncode:
        raise UpgradeError(f"{told}: {_last(ended.stderr)}")
    return ended.stdout


def _install(command: Sequence[Any], wanted: Sequence[str]) -> None:
    ended = subprocess.run(list(map(str, command)), capture_output=True, text=True, errors="replace")
    if ended.returncode:
        raise UpgradeError(explained(ended.stderr, wanted))


def explained(said: str, wanted: Sequence[str]) -> str:
    """Why pip could not install what was wanted, in one message, from what it wrote."""
    together = " ".join(wanted)
    if found := re.search(r"requirement (\S+?)(?: \(from [^v][^)]*\))? \(from versions: ([^)]*)\)", said):
        versions = [version for version in found[2].split(", ") if version != "none"]
        python = ".".join(map(str, sys.version_info[:2]))
        offered = f"there are {', '.join(versions[-8:])}" if versions else "there is no such package"
        return f"{found[1]} cannot be installed on Python {python} here: {offered}"
    if found := re.search(r"The conflict is caused by:\n(.*?)\n\s*\n", said, re.DOTALL):
        causes = "; ".join(dict.fromkeys(line.strip() for line in found[1].splitlines() if line.strip()))
        return f"{together} cannot be installed together: {causes}.  Name a version of the other package that fits both"
    return f"{together} cannot be installed: {_last(said)}"


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "nothing was said"


# Runs -----------------------------------------------------------------------------------------------------------------


def _run(environment: Environment, backends: Sequence[str], arguments: Sequence[str], folder: Path) -> None:
    options = [] if any(each.startswith("--backend") for each in arguments) else [f"--backend={b}" for b in backends]
    command = [environment.python, "-m", "pytest", f"--report={folder}", *options, "-q", *arguments]
    print(f"\n{shlex.join(map(str, command))}", flush=True)
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    ended = subprocess.run(list(map(str, command)), cwd=ROOT, env=variables).returncode
    if ended not in (0, 1):  # 1: some checks fail, and that is what is to be compared
        raise UpgradeError(f"pytest ended with status {ended}, so there is no whole run in {folder} to compare")
