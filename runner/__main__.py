"""`python -m runner PATH… [options]`: what `pytest` does in the project, for cases and adapters anywhere.

Ids, inputs and the run's folder belong to the folder from which it is called; within the project, to the project.  A
folder that is named stands for all case files (`*.yaml`) below it, deviations aside.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from runner.program import PROJECT, SETTINGS

# What `conftest.py` opens in the project
PLUGINS = ("fuzzing.session", "runner.options", "runner.item", "runner.collection", "runner.session", "runner.crash")


def main(arguments: Sequence[str]) -> int:
    """The exit status of pytest."""
    here = Path.cwd()
    within = here.is_relative_to(PROJECT) and (PROJECT / "conftest.py").exists()
    front = ["-c", str(SETTINGS), f"--rootdir={PROJECT if within else here}"]
    plugins = [option for name in PLUGINS for option in ("-p", name)]
    return int(pytest.main([*front, *plugins, *arguments]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
