"""Command line: `python -m specs check [FILES or directories]`, `schema [--check]` and `reach [FEATURE …]`.

Files in a folder named `deviations` contain recorded deviations, all others contain cases.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from specs.case import schema
from specs.case.loading import discover, find_namesakes, load
from specs.case.problems import CaseFileError, Problem
from specs.console import exit_with
from specs.reach import fields, reach, text
from specs.verdict import deviation

Names = Mapping[str, Collection[str]]

ROOT = Path(__file__).resolve().parent.parent
DEFAULT_FOLDERS = ("cases", "backends/deviations")


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 for success, 1 if something must be corrected, 2 for a wrong command line."""
    parser = argparse.ArgumentParser(prog="python -m specs", description="Case files, deviations and their schema.")
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="validate case files and recorded deviations, without any framework")
    check.add_argument(
        "paths",
        nargs="*",
        type=Path,
        help=f"files or directories (default: {' and '.join(DEFAULT_FOLDERS)}; outside the project the current one)",
    )
    check.add_argument(
        "--adapter",
        action="append",
        default=[],
        metavar="FILE",
        help="a backend of your own: its names count too, and its deviations are checked",
    )
    write = commands.add_parser("schema", help="write the JSON Schema of case files")
    write.add_argument("--check", action="store_true", help="only report whether the schema file is up to date")
    meet = commands.add_parser("reach", help="which features of cases meet, and what meets in no case")
    meet.add_argument("features", nargs="*", metavar="FEATURE", help="show what these features meet, in full")
    options = parser.parse_args(arguments)
    if options.command == "reach":
        return _reach(options.features)
    if options.command == "schema":
        return _schema(only_check=options.check)
    if Path.cwd().is_relative_to(ROOT) and (ROOT / "cases").is_dir():
        default = [Path(os.path.relpath(ROOT / folder)) for folder in DEFAULT_FOLDERS if (ROOT / folder).is_dir()]
    else:
        default = [Path()]
    try:
        files = discover(options.paths or default, ROOT)
    except FileNotFoundError as error:
        check.error(f"no such file or directory: {error}")
    if not files:
        check.error("no file (*.yaml) found")  # checking nothing must not look like success
    try:
        declared, beside = _declared(options.adapter)
    except ValueError as error:
        check.error(f"--adapter {error}")
    known = {file.resolve() for file in files}
    return _check(files + [file for file in beside if file.resolve() not in known], declared)


def _declared(adapters: Sequence[str]) -> tuple[Names, list[Path]]:
    """The modes and implementations of all backends and adapters, and the files of deviations beside these adapters.

    Imports no framework.  Raises ValueError for an adapter that cannot be used.
    """
    from backends.discovery import registry  # the only part of `specs` that knows backends

    try:
        files = [registry.deviation_file(registry.add(adapter)) for adapter in adapters]
    except registry.AdapterError as error:
        raise ValueError(str(error)) from error
    return registry.declared_names(), [Path(os.path.relpath(file)) for file in files if file.exists()]


def _check(files: list[Path], declared: Names) -> int:
    deviation_files = [file for file in files if file.parent.name == "deviations"]
    case_files = [file for file in files if file not in deviation_files]
    ids, problems = _load_cases(case_files, declared)
    counts = [_format_count(len(ids), "case")] if case_files else []
    if deviation_files:
        entries, deviation_problems = _load_deviations(deviation_files)
        problems += deviation_problems
        counts.append(_format_count(len(entries), "deviation"))
        # Deviations may name any case of the project; if a case file is invalid, not all names are known
        loaded = {file.resolve() for file in case_files}
        project_files = discover([], ROOT) if (ROOT / "cases").is_dir() else []  # an installed copy has none
        other_ids, other_problems = _load_cases(
            [file for file in project_files if file.resolve() not in loaded], declared
        )
        if not problems and not other_problems:
            problems += deviation.find_unknown_names(entries, ids | other_ids, declared["modes"], _required_packages())
    if not problems:
        print(f"{' and '.join(counts)} in {_format_count(len(files), 'file')}: no problem found")
        return 0
    print(*problems, sep="\n")
    bad_files = {problem.file for problem in problems}
    print(f"{_format_count(len(problems), 'problem')} in {_format_count(len(bad_files), 'file')}")
    return 1


def _load_cases(files: Sequence[Path], declared: Names) -> tuple[set[str], list[Problem]]:
    """The ids of the cases in these files, and the problems of the files."""
    ids: set[str] = set()
    problems: list[Problem] = []
    for one, other in find_namesakes(files, ROOT):
        problems.append(Problem(other, 1, 1, f"its cases have the ids of those in {one}: rename one of the files"))
    for file in files:
        try:
            ids.update(case.id for case in load(file, ROOT, declared))
        except CaseFileError as error:
            problems += error.problems
    return ids, problems


def _load_deviations(files: Sequence[Path]) -> tuple[list[deviation.DeviationEntry], list[Problem]]:
    """The entries in these files, and the problems of the files."""
    entries: list[deviation.DeviationEntry] = []
    problems: list[Problem] = []
    for file in files:
        try:
            entries += deviation.load(file)
        except CaseFileError as error:
            problems += error.problems
    return entries, problems


def _required_packages() -> set[str]:
    """Names of the packages that the project requires, whether or not they are installed."""
    file = ROOT / "requirements.txt"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return {name[0] for line in lines if (name := re.match(r"[A-Za-z0-9._-]+", line))}


def _reach(features: Sequence[str]) -> int:
    if not (ROOT / "cases").is_dir():
        print("this installation of the suite has no cases")
        return 2
    try:
        table = reach.reach_of(case for file in discover([], ROOT) for case in load(file, ROOT))
    except CaseFileError as error:  # what such a file has is not known
        print(*error.problems, sep="\n")
        return 1
    try:
        for feature in features:
            print(*text.describe_feature(table, feature), sep="\n")
    except LookupError as error:
        print(error.args[0])
        return 2
    if features:
        return 0
    missing = list(fields.missing_rows())
    print(*text.summarize(table), *missing, sep="\n")
    return 1 if missing or reach.gaps(table) else 0


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


def _format_count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


if __name__ == "__main__":
    exit_with(main)
