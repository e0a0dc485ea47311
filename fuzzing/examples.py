"""Examples: a seed and an index give a config, the same one in every session; a config that fails is shrunk.

Each example is a separate hypothesis run with a seed of its own, so that any worker can generate any example, and no
outcome influences another example.  hypothesis starts with the smallest example there is, so the second one is used.
(A longer run would mostly vary its earlier examples.)
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
from fuzzing.writing import format_case
from specs.arithmetic.formats import DTYPES
from specs.case.case import Config
from specs.case.memory import idle_layouts

Dtypes = tuple[str, ...]


def configs(index: int, dtypes: Sequence[str]) -> st.SearchStrategy[Config]:
    """Einsum and attention alternately, of these dtypes; only einsum if none of them is floating-point."""
    floats = [name for name in dtypes if DTYPES[name].kind == "float"]
    return attentions.configs(floats) if index % 2 and floats else equations.configs(dtypes)


def make_example(seed: int, index: int, dtypes: Dtypes) -> Config:
    """Example `index` of a seed."""
    examples: list[Config] = []
    _explore(seed, index, dtypes, examples.append)
    return examples[-1]


class ExampleFailedError(Exception):
    """Reports a failing example to hypothesis."""


def shrink(seed: int, index: int, dtypes: Dtypes, fails: Callable[[Config], bool], deadline: float) -> Config | None:
    """Shrink example `index` to the smallest config that `fails`, until time.monotonic() reaches `deadline`.

    None if the example does not fail a second time.
    """
    outcomes: dict[str, bool] = {}  # by its text, so that hypothesis gets the same answer when it tries a config again
    smallest: Config | None = None

    def examine(config: Config) -> None:
        nonlocal smallest
        text = format_case(config)
        if text not in outcomes:
            outcomes[text] = time.monotonic() < deadline and fails(config)
        if outcomes[text]:
            smallest = config  # the last to fail is the smallest: hypothesis runs it once more at the end
            raise ExampleFailedError

    with suppress(ExampleFailedError):
        _explore(seed, index, dtypes, examine, Phase.shrink)
    return smallest


def _explore(seed: int, index: int, dtypes: Dtypes, examine: Callable[[Config], Any], *extra_phases: Phase) -> None:
    digest = hashlib.sha256(f"{seed}/{index}".encode()).digest()

    @seeded(int.from_bytes(digest[:8], "little"))
    @settings(
        max_examples=2,
        phases=(Phase.generate, *extra_phases),
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
        idle = not config.expected_error and any(idle_layouts(config))
        examine(config.model_copy(update={"memory": "contiguous"}) if idle else config)

    explore()
