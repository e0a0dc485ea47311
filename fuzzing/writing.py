"""A config as the text of a case file, ready to be pasted: one case, each field on a line of its own."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

from specs.case.case import Case, Config

LONGEST = 300  # of an `about`


def name(config: Config) -> str:
    """Made of what the config says, so that equal examples have equal names: `fuzzed_3fa2c1d0`."""
    said = json.dumps([config.kind, config.model_dump(exclude_unset=True, exclude={"about"})])
    return f"fuzzed_{hashlib.sha256(said.encode()).hexdigest()[:8]}"


def case(config: Config, file: Path) -> Case:
    """The case that `text` states."""
    return Case(f"fuzz::{name(config)}", name(config), file, 4, config)


def text(config: Config, about: str = "") -> str:
    """A case file with this one case."""
    said = config.model_dump(exclude_unset=True, exclude={"about"})
    if about:
        said = {"about": about if len(about) <= LONGEST else about[: LONGEST - 1] + "…", **said}
    fields = "".join(f"    {field}: {_flow(value)}\n" for field, value in said.items())
    schema = "# yaml-language-server: $schema=../../specs/case.schema.json\n"
    return f"{schema}kind: {config.kind}\ncases:\n  {name(config)}:\n{fields}"


def _flow(value: Any) -> str:
    """YAML 1.2 in flow style; text as JSON has it, non-finite numbers as YAML has them."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return {math.inf: ".inf", -math.inf: "-.inf"}.get(value, ".nan")
    return json.dumps(value)
