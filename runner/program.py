"""Which of the two programs a session is: `pytest` in the project, or `python -m runner` anywhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
SETTINGS = Path(__file__).resolve().with_name("settings") / "pyproject.toml"  # the project's own, also where installed


STARTED = "conformance_started"  # what workers are told: root of ids, folders of session and run, unusable adapters


def is_runner(config: pytest.Config) -> bool:
    """Whether it is `python -m runner`, in this process or in the one that this worker belongs to."""
    return config.inipath == SETTINGS


def home(config: pytest.Config) -> Path:
    """Whose folder `.conformance` is made in: the project's, or the one from which the runner was called."""
    return config.invocation_params.dir if is_runner(config) and config.rootpath != PROJECT else config.rootpath


def locate(config: pytest.Config, file: str | Path = "") -> Path:
    """A file that the command line names, or the folder in which the session was started.

    For a worker on another host it is that of the copy there, if it is within the project.
    """
    started = getattr(config, "workerinput", {}).get(STARTED)
    path = Path(os.path.abspath(Path(started["here"] if started else config.invocation_params.dir, file)))
    if started and path.is_relative_to(started["root"]):
        return config.rootpath / path.relative_to(started["root"])
    return path


def command(config: pytest.Config) -> tuple[str, ...]:
    """How the program is called again."""
    return ("python", "-m", "runner") if is_runner(config) else ("pytest",)
