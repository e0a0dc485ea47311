"""Command line: `python -m specs check [FILES or directories]` and `python -m specs schema [--check]`.

A file in a folder called `deviations` holds recorded deviations, every other one holds cases.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from specs.case import schema
from specs.case.loading import discover, load
from specs.case.problems import CaseFileError, Problem
from specs.verdict import deviation

ROOT = Path(__file__).resolve().parent.parent
CHECKED = ("cases", "backends/deviations")  # what is checked where no path is given


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 when all is well, 1 when something has to be corrected, 2 for a wrong command line."""
    parser = argparse.ArgumentParser(prog="python -m specs", description="Case files, deviations and their schema.")
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="validate case files and recorded deviations, without any framework")
    check.add_argument("paths", nargs="*", type=Path, help=f"files or directories (default: {' and '.join(CHECKED)})")
    write = commands.add_parser("schema", help="write the JSON Schema of case files")
    write.add_argument("--check", action="store_true", help="only tell whether the schema file is up to date")
    options = parser.parse_args(arguments)
    if options.command == "schema":
        return _schema(only_check=options.check)
    default = [Path(os.path.relpath(ROOT / folder)) for folder in CHECKED if (ROOT / folder).is_dir()]
    if not options.paths and not (ROOT / "cases").is_dir():
        check.error("this copy of the suite has no cases of its own: name files or directories")
    try:
        files = discover(options.paths or default, ROOT)
    except FileNotFoundError as error:
        check.error(f"no such file or directory: {error}")
    if not files:
        check.error("no file (*.yaml) there")  # checking nothing must not look like success
    return _check(files)


def _check(files: list[Path]) -> int:
    of_deviations = [file for file in files if file.parent.name == "deviations"]
    of_cases = [file for file in files if file not in of_deviations]
    ids, problems = _cases(of_cases)
    counts = [_count(len(ids), "case")] if of_cases else []
    if of_deviations:
        entries, found = _deviations(of_deviations)
        problems += found
        counts.append(_count(len(entries), "deviation"))
        # They may name any case of the project; where a file of cases cannot be used, not all are known
        read = {file.resolve() for file in of_cases}
        project = discover([], ROOT) if (ROOT / "cases").is_dir() else []  # an installed copy has none
        others, unusable = _cases([file for file in project if file.resolve() not in read])
        if not problems and not unusable:
            problems += deviation.unknown_names(entries, ids | others, _required())
    if not problems:
        print(f"{' and '.join(counts)} in {_count(len(files), 'file')}: no problem found")
        return 0
    print(*problems, sep="\n")
    print(f"{_count(len(problems), 'problem')} in {_count(len({problem.file for problem in problems}), 'file')}")
    return 1


def _cases(files: Sequence[Path]) -> tuple[set[str], list[Problem]]:
    """Ids of the cases in these files, and what is wrong with them."""
    ids: set[str] = set()
    problems: list[Problem] = []
    for file in files:
        try:
            ids.update(case.id for case in load(file, ROOT))
        except CaseFileError as error:
            problems += error.problems
    return ids, problems


def _deviations(files: Sequence[Path]) -> tuple[list[deviation.Recorded], list[Problem]]:
    """The entries in these files, and what is wrong with them."""
    entries: list[deviation.Recorded] = []
    problems: list[Problem] = []
    for file in files:
        try:
            entries += deviation.load(file)
        except CaseFileError as error:
            problems += error.problems
    return entries, problems


def _required() -> set[str]:
    """Names of the packages that the project installs, whether or not they are installed here."""
    file = ROOT / "requirements.txt"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return {name[0] for line in lines if (name := re.match(r"[A-Za-z0-9._-]+", line))}


def _schema(*, only_check: bool) -> int:
    text = schema.render()
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
