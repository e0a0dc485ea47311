"""How much of the suite a session runs: whether it is all of it, and the short name of its run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fuzzing import session as fuzzing
from runner.options import NARROWING
from runner.program import PROJECT, is_runner


def is_whole(config: pytest.Config) -> bool:
    """Whether a session runs every case on every backend, in the standard or full tier."""
    return config.option.tier != "smoke" and not fuzzing.runs_only_examples(config) and not any(_parts(config))


def name(config: pytest.Config) -> str:
    """The tier and what narrows it, for the name of a folder: `standard`, `full-jax-jit`, `standard-products`."""
    first = "fuzz" if fuzzing.runs_only_examples(config) else config.option.tier
    return "-".join([first, *(re.sub(r"[^A-Za-z0-9._]+", "_", part).strip("_") for part in _parts(config))])


def _parts(config: pytest.Config) -> Iterator[str]:
    """What narrows a session, each in a word or two; nothing for one that runs all there is."""
    option = config.option
    for argument in config.args:
        path, _, case = argument.partition("::")
        if case or not _holds_all(config, config.invocation_params.dir / path):
            yield case or Path(path).stem or "here"
    for option_name in NARROWING:
        yield from getattr(option, option_name)
    yield from filter(None, (option.keyword, option.markexpr))
    if option.shard:
        yield f"shard_{option.shard}"
    others = ("deselect", "ignore", "ignore_glob", "lf", "stepwise")
    yield from (other for other in others if getattr(option, other, None))


def _holds_all(config: pytest.Config, path: Path) -> bool:
    """Whether a path that is named stands for all cases: in the project those below `cases`, elsewhere a folder."""
    if is_runner(config) and config.rootpath != PROJECT:
        return path.is_dir()
    return path.resolve() in (config.rootpath / "cases", config.rootpath)
