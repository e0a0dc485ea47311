"""`python -m reports script ID`: a check as a program that needs only its framework, for a report of a bug."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from backends.attention.keras import VARIABLE, host
from backends.discovery import registry
from backends.standalone.program import ScriptError, script
from reports.read import read
from specs.case.loading import load
from specs.case.problems import CaseFileError
from specs.inputs import designed
from specs.verdict.aggregate import TOGETHER
from specs.verdict.check import Check
from specs.verdict.direction import DIRECTIONS
from specs.verdict.explain import fields
from specs.verdict.place import Place, checks

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = re.compile(r"(?:[A-Za-z_]\w*=\S* )+")


def command(record: Mapping[str, Any]) -> str:
    """The shell command that prints a record's check as a program, on the inputs and in the environment of that check.

    The variables that an implementation asks for stand before the command that runs the check, as `NAME=value`.
    """
    variables = ENVIRONMENT.match(record["again"])
    recipe = record["bound"].get("data")
    words = ["python", "-m", "reports", "script", record["id"], *(["--data", recipe] if recipe else [])]
    return (variables[0] if variables else "") + shlex.join(words)


def add(commands: Any) -> None:
    parser = commands.add_parser("script", help="a check as a program that needs only its framework")
    parser.add_argument("id", help="as in a record: FILE::CASE[BACKEND-DEVICE-IMPLEMENTATION-MODE-DTYPE]")
    parser.add_argument(
        "--data", metavar="RECIPE", help="designed inputs instead of the case's own: exact, ramp, equal"
    )
    parser.add_argument("--run", dest="folder", type=Path, metavar="DIR", help="say what this run found of the check")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    try:
        check = find(options.id, _root(options.id))
        if options.data:
            check = _designed(check, options.data)
        told = [options.id, f"{check.case.kind}: {fields(check)}"]
        if options.folder:
            told += _found(options.folder, options.id)
        print(script(check, "\n".join(told)), end="")
    except ScriptError as error:
        print(f"script: {error}", file=sys.stderr)
        return 2
    return 0


def _root(id: str) -> Path:
    """What an id is relative to: the present folder where it has such a file, else the project."""
    return Path.cwd() if (Path.cwd() / id.partition("::")[0]).exists() else ROOT


def _designed(check: Check, recipe: str) -> Check:
    """The check on designed inputs alone; ScriptError where it has none such."""
    known = designed.applicable_recipes(check.case, check.dtype) if check.direction == "forward" else ()
    if recipe not in known:
        raise ScriptError(
            f"--data {recipe}: this check is made on its case's own data and on: {', '.join(known) or 'no other'}"
        )
    return replace(check, case=designed.with_recipe(check.case, recipe))


def _found(folder: Path, id: str) -> list[str]:
    """What a run says of the check; raises RunError where there is no run."""
    found = read(folder)
    record = next((each for each in found.records() if each["id"] == id), None)
    if record is None:
        raise ScriptError(f"{folder} has no record of {id}")
    versions = found.facts["backends"].get(record["backend"], {}).get("versions") or {}
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    if TOGETHER in record["reason"]:
        raise ScriptError(
            f"{id}: {record['reason']}.  A program of a few numbers would find each of them right; "
            f"run the check instead: {record['again']}"
        )
    told = [f"{named} on Python {found.facts['python']}, {found.facts['platform']}"]
    return [*told, f"{record['verdict']}: {record['reason']}".rstrip(": ")]


def find(id: str, root: Path) -> Check:
    """The check that an id names, on whatever device it says; raises ScriptError where there is none."""
    file, _, name = id.partition("::")
    where = name.rpartition("[")[2].rstrip("]").split("-")
    if not name or len(where) < 5:
        raise ScriptError(f"{id}: an id is FILE::CASE[BACKEND-DEVICE-IMPLEMENTATION-MODE-DTYPE], as in a record")
    if where[0] not in registry.names():
        raise ScriptError(f"{id}: no backend is called {where[0]!r} (known: {', '.join(registry.names())})")
    try:
        cases = load(root / file, root)
    except (OSError, CaseFileError) as error:
        raise ScriptError(f"{id}: its cases cannot be read: {error}") from error
    declared = registry.declare(where[0])
    place = Place(where[0], where[1], dict(declared.implementations), declared.modes, tuple(DIRECTIONS))
    found = next((check for case in cases for check in checks(case, [place]) if check.name == name), None)
    if found is None:
        elsewhere = "-keras" in name and where[0] != host()
        hint = f"; Keras runs on {host()} here, unless {VARIABLE} says otherwise" if elsewhere else ""
        raise ScriptError(f"{id}: {file} has no such check{hint}")
    return found
