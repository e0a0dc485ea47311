"""What is named on the command line and cannot be read is refused before anything runs; what is not read is listed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.collection import folders_of_cases, named_paths, relative
from specs.case.loading import discover, find_namesakes
from specs.verdict.record import make_encodable

SUFFIXES = (".yaml", ".yml")  # in whatever case: of these only `.yaml` is a case file
MOST = 5  # names in a line


def refuse_unreadable_files(config: pytest.Config) -> None:
    """Raise UsageError for a case file that pytest would overlook, such as a pipe or a link that leads nowhere, whose
    name is not UTF-8, so that no id could be printed, sent or written, or whose cases have the ids of another's.
    """
    paths = named_paths(config)
    existing = [path for path in paths if path.exists()]
    files = discover(existing, config.rootpath) if existing else []  # pytest refuses the others
    for file in [*(path for path in paths if path.is_symlink() and not path.exists()), *files]:
        if not file.exists():
            raise pytest.UsageError(f"{make_encodable(str(file))}: this link leads to no file")
        if not file.is_file():
            raise pytest.UsageError(f"{file}: this is not a regular file")
        if (name := str(file)) != make_encodable(name):
            raise pytest.UsageError(f"{make_encodable(name)}: the name of this file is not printable UTF-8: rename it")
    collected = [file for file in files if not any(_is_skipped(file, folder, config) for folder in paths)]
    for one, other in find_namesakes(collected, config.rootpath):
        raise pytest.UsageError(f"{one} and {other} have cases with the same ids: rename one of the files")


def describe_unread(config: pytest.Config) -> str | None:
    """What in the folders that were named looks like case files and is not read; None if there is nothing."""
    cases = config.rootpath / "cases"
    folders = [*folders_of_cases(config), *(path for path in named_paths(config) if path.is_relative_to(cases))]
    names = [relative(path, config.rootpath) for folder in folders for path in _unread(folder, config)]
    if not names:
        return None
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return make_encodable(f"not read, for the name or the folder: {', '.join(names[:MOST])}{more}")


def _unread(folder: Path, config: pytest.Config) -> Iterator[Path]:
    """The files of a folder that look like case files and are not collected, by their name or that of their folder."""
    for file in sorted(folder.rglob("*")):
        if file.suffix.lower() not in SUFFIXES or file.is_dir() or file.parent.name == "deviations":
            continue
        if file.suffix != ".yaml" or _is_skipped(file, folder, config):
            yield file


def _is_skipped(file: Path, folder: Path, config: pytest.Config) -> bool:
    """Whether a file is below one of those folders in `folder` that pytest does not enter, such as `build`."""
    between = [parent for parent in file.parents if parent != folder and parent.is_relative_to(folder)]
    return any(config.hook.pytest_ignore_collect(collection_path=parent, config=config) for parent in between)
