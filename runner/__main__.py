"""`python -m runner PATH… [options]`: what `pytest` does in the project, for cases and adapters anywhere.

The run goes into the folder from which it is called.  Ids, and so inputs, are relative to it, or to the nearest folder
above that holds all that is named; within the project both are the project's.  A folder that is named stands for all
case files (`*.yaml`) below it, deviations aside.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from runner.program import PROJECT, SETTINGS
from specs.console import exit_with

# What `conftest.py` opens in the project
PLUGINS = (
    *("fuzzing.session", "runner.options", "runner.item", "runner.steps", "runner.collection", "runner.extent"),
    *("runner.hosts", "runner.session", "runner.leftovers"),
    "runner.crash",
    "runner.losses",
    "runner.watchdog",
)


def main(arguments: Sequence[str]) -> int:
    """The exit status of pytest."""
    front = ["-c", str(SETTINGS), f"--rootdir={root(Path.cwd(), arguments)}"]
    plugins = [option for name in PLUGINS for option in ("-p", name)]
    return int(pytest.main([*front, *arguments, *plugins]))  # in this order they see which others are turned off


def root(here: Path, arguments: Sequence[str]) -> Path:
    """The folder that ids are relative to: the present one, or the nearest above that holds all that is named.

    Within the project it is the project's.
    """
    if here.is_relative_to(PROJECT) and (PROJECT / "conftest.py").exists():
        return PROJECT
    words = (here / word.partition("::")[0] for word in arguments if not word.startswith("-"))
    named = [Path(os.path.abspath(path)) for path in words if path.exists()]
    return Path(os.path.commonpath([here, *(path if path.is_dir() else path.parent for path in named)]))


if __name__ == "__main__":
    exit_with(lambda: main(sys.argv[1:]))
