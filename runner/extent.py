"""How much of the suite a session runs: whether it is all of it, the short name of its run, and what is left out.

What the tier and the options of the suite select is known before anything is collected.  Whatever makes it less, be it
`-k`, `--lf`, `--deselect`, `--ignore` or a plugin, is seen by the number of checks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fuzzing import session as fuzzing
from runner.collection import MADE, named_in, relative, selected_files
from runner.item import CheckItem
from runner.options import NARROWING
from runner.plan import PLAN
from runner.program import PROJECT, is_runner
from specs.case.loading import load_usable

SELECTION = pytest.StashKey[dict[str, Any]]()  # what narrowed the session, as its run states it
EXTENT = "conformance_extent"  # what a worker says of it


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


# Checks that are left out ---------------------------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """State how many checks are selected, in all shards, and how many of them are left out; keep those of the shard."""
    config = session.config
    if PLAN not in config.stash:
        return
    items = [item for item in session.items if isinstance(item, CheckItem)]
    selected = _count_selected(config)
    extent = {"checks": selected, "left_out": selected - len({item.nodeid for item in items})}
    if (output := getattr(config, "workeroutput", None)) is not None:
        output[EXTENT] = extent
    _state(config, extent)
    if shard := config.stash[PLAN].shard:
        others = {item for item in items if not shard.has(item.nodeid)}
        config.hook.pytest_deselected(items=list(others))
        session.items[:] = [item for item in session.items if item not in others]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """The process that writes the run collects nothing where others compute."""
    _state(node.config, getattr(node, "workeroutput", {}).get(EXTENT, {}))


def _state(config: pytest.Config, extent: dict[str, int]) -> None:
    config.stash.get(SELECTION, {}).update(extent)


def _count_selected(config: pytest.Config) -> int:
    """How many checks the paths, the tier and the options of the suite select, whether their files were read or not."""
    plan, made = config.stash[PLAN], config.stash.get(MADE, {})
    whole = [] if fuzzing.runs_only_examples(config) else selected_files(config)
    count = sum(len(made[file]) for file in whole if file in made)
    for file, cases in load_usable([file for file in whole if file not in made], config.rootpath):
        count += sum(1 for case in cases for _ in plan.checks(case, relative(file, config.rootpath)))
    for file in made.keys() - set(whole):
        named = named_in(file, config)
        count += sum(name in named or name.partition("[")[0] in named for name in made[file])
    return count
