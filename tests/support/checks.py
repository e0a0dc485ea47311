"""Backends and checks for tests, and whether a formulation of attention supports a config."""

from functools import cache
from pathlib import Path

import pytest

from backends.attention.base import Attention
from backends.base import Backend
from backends.discovery import registry
from specs.case.attention import AttentionConfig
from specs.case.case import Case, Config
from specs.verdict.check import Check


class Compiled:
    """The programs that frameworks compile, kept with those of the cases: other workers and sessions use them too."""

    folder: Path | None = None  # of this session

    @classmethod
    @cache
    def keep(cls, backend: Backend) -> None:
        if cls.folder:
            backend.keep_compiled(cls.folder / backend.name)


def framework(name: str) -> Backend:
    """The backend; skips the test where its framework is not installed."""
    try:
        backend = registry.get(name)
    except ModuleNotFoundError as error:
        pytest.skip(f"{name} is not installed: {error}")
    Compiled.keep(backend)
    return backend


def case_of(config: Config) -> Case:
    return Case("tests::case", "case", Path(__file__), 1, config)


def check_of(
    case: Case,
    implementation: str = "einsum",
    mode: str = "eager",
    dtype: str | None = None,
    direction: str = "forward",
) -> Check:
    """A check on a CPU, for any backend; the dtype is the case's first unless another is given."""
    return Check(case, "any", "cpu", implementation, mode, dtype or case.config.dtypes[0], direction)


def unsupported(
    formulation: type[Attention],
    config: AttentionConfig,
    direction: str = "forward",
) -> str | None:
    """Why a formulation does not support such attention on a CPU in float32, or None."""
    return formulation.unsupported(config, check_of(case_of(config), "any", dtype="float32", direction=direction))
