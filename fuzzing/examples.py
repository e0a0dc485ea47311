"""A seed and a number become a config, the same one in every session; a config that fails becomes a smaller one.

Each example is an exploration of hypothesis with a seed of its own, so that any worker can make any of them, and what
came of one has no influence on another.  hypothesis begins with the smallest example there is, so the one that counts
is the second.  (A longer exploration would mostly vary what it had before.)
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

from fuzzing import attentions, equations
from fuzzing.writing import text
from specs.arithmetic.formats import DTYPES
from specs.case.case import Config

Dtypes = tuple[str, ...]


def configs(index: int, dtypes: Sequence[str]) -> st.SearchStrategy[Config]:
    """Einsum and attention in turn, of these dtypes; without a floating one, einsum alone."""
    floats = [name for name in dtypes if DTYPES[name].kind == "float"]
    return attentions.configs(floats) if index % 2 and floats else equations.configs(dtypes)


def example(seed: int, index: int, dtypes: Dtypes) -> Config:
    """Example `index` of those that a seed stands for."""
    found: list[Config] = []
    _explore(seed, index, dtypes, found.append)
    return found[-1]


class FailsError(Exception):
    """How an example tells hypothesis that it fails."""


def shrunk(seed: int, index: int, dtypes: Dtypes, fails: Callable[[Config], bool], ends: float) -> Config | None:
    """The smallest config that `fails`, from example `index` on, found before time.monotonic() reaches `ends`.

    None if the example does not fail a second time.
    """
    known: dict[str, bool] = {}  # by its text, so that hypothesis gets the same answer when it asks again
    smallest: Config | None = None

    def examine(config: Config) -> None:
        nonlocal smallest
        said = text(config)
        if said not in known:
            known[said] = time.monotonic() < ends and fails(config)
        if known[said]:
            smallest = config  # the last to fail is the smallest: hypothesis runs it again at its end
            raise FailsError

    with suppress(FailsError):
        _explore(seed, index, dtypes, examine, Phase.shrink)
    return smallest


def _explore(seed: int, index: int, dtypes: Dtypes, examine: Callable[[Config], Any], *more: Phase) -> None:
    digest = hashlib.sha256(f"{seed}/{index}".encode()).digest()

    @seeded(int.from_bytes(digest[:8], "little"))
    @settings(
        max_examples=2,
        phases=(Phase.generate, *more),
        database=None,
        deadline=None,
        derandomize=False,
        print_blob=False,
        report_multiple_bugs=False,
        verbosity=Verbosity.quiet,
        suppress_health_check=list(HealthCheck),
    )
    @given(configs(index, dtypes))
    def explore(config: Config) -> None:
        examine(config)

    explore()
