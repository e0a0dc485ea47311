"""`python -m reports script ID`: a check as a program that needs only its framework, for a bug report."""

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
from specs.verdict.explain import format_fields
from specs.verdict.place import Place, iter_checks

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = re.compile(r"(?:[A-Za-z_]\w*=\S* )+")


def build_command(record: Mapping[str, Any]) -> str:
    """The shell command that prints a record's check as a program, with the same inputs and environment variables.

    Environment variables that an implementation needs are in front of the record's own command, as `NAME=value`.
    """
    variables = ENVIRONMENT.match(record["again"])
    recipe = record["bound"].get("data")
    words = ["python", "-m", "reports", "script", record["id"], *(["--data", recipe] if recipe else [])]
    words += [word for word in shlex.split(record["again"]) if word.startswith("--adapter=")]
    return (variables[0] if variables else "") + shlex.join(words)


def add(commands: Any) -> None:
    parser = commands.add_parser("script", help="a check as a program that needs only its framework")
    parser.add_argument("id", help="as in a record: FILE::CASE[BACKEND-DEVICE-IMPLEMENTATION-MODE-DTYPE]")
    parser.add_argument(
        "--data", metavar="RECIPE", help="designed inputs instead of the case's own: exact, ramp, equal"
    )
    parser.add_argument(
        "--run", dest="folder", type=Path, metavar="DIR", help="include the outcome of the check in this run"
    )
    about = "add the backend that this file defines"
    parser.add_argument("--adapter", action="append", default=[], metavar="FILE", help=about)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    try:
        for file in options.adapter:
            registry.add(file)
        check = find_check(options.id, _root(options.id))
        if options.data:
            check = _designed(check, options.data)
        lines = [options.id, f"{check.case.kind}: {format_fields(check)}"]
        if options.folder:
            lines += _describe_outcome(options.folder, options.id)
        print(script(check, "\n".join(lines)), end="")
    except (ScriptError, registry.AdapterError) as error:
        print(f"script: {error}", file=sys.stderr)
        return 2
    return 0


def _root(id: str) -> Path:
    """The folder that an id is relative to: the current folder if it has such a file, else the project."""
    return Path.cwd() if (Path.cwd() / id.partition("::")[0]).exists() else ROOT


def _designed(check: Check, recipe: str) -> Check:
    """The check on designed inputs only; raises ScriptError if it has no such recipe."""
    recipes = designed.applicable_recipes(check.case, check.dtype) if check.direction == "forward" else ()
    if recipe not in recipes:
        raise ScriptError(
            f"--data {recipe}: besides its case's own data, this check can use: {', '.join(recipes) or 'no other'}"
        )
    return replace(check, case=designed.with_recipe(check.case, recipe))


def _describe_outcome(folder: Path, id: str) -> list[str]:
    """Versions and outcome of the check in a run; raises RunError without a run, ScriptError without a record of it."""
    run = read(folder)
    record = next((record for record in run.records() if record["id"] == id), None)
    if record is None:
        raise ScriptError(f"{folder} has no record of {id}")
    versions = run.facts["backends"].get(record["backend"], {}).get("versions") or {}
    version_text = ", ".join(f"{name} {version}" for name, version in versions.items())
    if TOGETHER in record["reason"]:
        raise ScriptError(
            f"{id}: {record['reason']}.  A program that compares single elements would find each of them right; "
            f"run the check instead: {record['again']}"
        )
    environment = [f"{version_text} on Python {run.facts['python']}, {run.facts['platform']}"]
    return [*environment, f"{record['verdict']}: {record['reason']}".rstrip(": ")]


def find_check(id: str, root: Path) -> Check:
    """The check with this id, on whatever device it names; raises ScriptError if there is none."""
    file, _, name = id.partition("::")
    place_parts = name.rpartition("[")[2].rstrip("]").split("-")
    if not name or len(place_parts) < 5:
        raise ScriptError(f"{id}: an id is FILE::CASE[BACKEND-DEVICE-IMPLEMENTATION-MODE-DTYPE], as in a record")
    if place_parts[0] not in registry.names():
        raise ScriptError(f"{id}: no backend is called {place_parts[0]!r} (known: {', '.join(registry.names())})")
    try:
        cases = load(root / file, root)
    except (OSError, CaseFileError) as error:
        raise ScriptError(f"{id}: its cases cannot be read: {error}") from error
    declared = registry.load_class(place_parts[0])
    implementations, modes = dict(declared.implementations), tuple(declared.modes)
    place = Place(place_parts[0], place_parts[1], implementations, modes, declared.directions)
    match = next((check for case in cases for check in iter_checks(case, [place]) if check.name == name), None)
    if match is None:
        elsewhere = "-keras" in name and place_parts[0] != host()
        hint = f"; Keras runs on {host()} here, unless {VARIABLE} says otherwise" if elsewhere else ""
        raise ScriptError(f"{id}: {file} has no such check{hint}")
    return match
