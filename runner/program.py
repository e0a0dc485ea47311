"""Which of the two programs a session is: `pytest` in the project, or `python -m runner` anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
SETTINGS = Path(__file__).resolve().with_name("settings") / "pyproject.toml"  # the project's own, also where installed


def is_runner(config: pytest.Config) -> bool:
    """Whether it is `python -m runner`, in this process or in the one that this worker belongs to."""
    return config.inipath == SETTINGS


def home(config: pytest.Config) -> Path:
    """Whose folder `.conformance` is made in: the project's, or the one from which the runner was called."""
    return config.invocation_params.dir if is_runner(config) and config.rootpath != PROJECT else config.rootpath


def command(config: pytest.Config) -> tuple[str, ...]:
    """How the program is called again."""
    return ("python", "-m", "runner") if is_runner(config) else ("pytest",)
