"""Command line: `python -m specs check [FILES or directories]` and `python -m specs schema [--check]`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from specs import schema
from specs.loading import discover, load
from specs.problems import CaseFileError, Problem

ROOT = Path(__file__).resolve().parent.parent


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 when all is well, 1 when something has to be corrected, 2 for a wrong command line."""
    parser = argparse.ArgumentParser(prog="python -m specs", description="Case files and their schema.")
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="validate case files, without any framework")
    check.add_argument("paths", nargs="*", type=Path, help="files or directories (default: the project's cases/)")
    write = commands.add_parser("schema", help="write the JSON Schema of case files")
    write.add_argument("--check", action="store_true", help="only tell whether the schema file is up to date")
    options = parser.parse_args(arguments)
    if options.command == "schema":
        return _schema(only_check=options.check)
    try:
        files = discover(options.paths or [Path(os.path.relpath(ROOT / "cases"))], ROOT)
    except FileNotFoundError as error:
        check.error(f"no such file or directory: {error}")
    if not files:
        check.error("no case file (*.yaml) there")  # checking nothing must not look like success
    return _check(files)


def _check(files: list[Path]) -> int:
    cases = 0
    problems: list[Problem] = []
    for file in files:
        try:
            cases += len(load(file, ROOT))
        except CaseFileError as error:
            problems += error.problems
    if not problems:
        print(f"{_count(cases, 'case')} in {_count(len(files), 'file')}: no problem found")
        return 0
    print(*problems, sep="\n")
    print(f"{_count(len(problems), 'problem')} in {_count(len({problem.file for problem in problems}), 'file')}")
    return 1


def _schema(*, only_check: bool) -> int:
    text = schema.text()
    name = os.path.relpath(schema.SCHEMA_PATH)
    current = schema.SCHEMA_PATH.read_text(encoding="utf-8") if schema.SCHEMA_PATH.exists() else None
    if only_check and text != current:
        print(f"{name} is out of date: run `python -m specs schema`")
        return 1
    if only_check:
        print(f"{name} is up to date")
        return 0
    schema.SCHEMA_PATH.write_text(text, encoding="utf-8")
    print(f"{name} written")
    return 0


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


if __name__ == "__main__":
    sys.exit(main())
