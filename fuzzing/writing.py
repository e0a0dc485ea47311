"""Write a config as a case file with one case, each field on a line of its own, ready to be pasted."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

from specs.case.case import Case, Config

LONGEST = 300  # of an `about`


def case_name(config: Config) -> str:
    """A name with a hash of the config, so that equal examples have equal names: `fuzzed_3fa2c1d0`."""
    content = json.dumps([config.kind, config.model_dump(exclude_unset=True, exclude={"about"})])
    return f"fuzzed_{hashlib.sha256(content.encode()).hexdigest()[:8]}"


def make_case(config: Config, file: Path) -> Case:
    """The case that the text of `format_case` defines."""
    return Case(f"fuzz::{case_name(config)}", case_name(config), file, 4, config)


def format_case(config: Config, about: str = "") -> str:
    """The text of a case file with only this case."""
    fields = config.model_dump(exclude_unset=True, exclude={"about"})
    if about:
        fields = {"about": about if len(about) <= LONGEST else about[: LONGEST - 1] + "…", **fields}
    lines = "".join(f"    {field}: {_format_flow(value)}\n" for field, value in fields.items())
    schema = "# yaml-language-server: $schema=../../specs/case.schema.json\n"
    return f"{schema}kind: {config.kind}\ncases:\n  {case_name(config)}:\n{lines}"


def _format_flow(value: Any) -> str:
    """YAML 1.2 in flow style; strings in JSON's notation, non-finite numbers in YAML's."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_format_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_format_flow, value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return {math.inf: ".inf", -math.inf: "-.inf"}.get(value, ".nan")
    return json.dumps(value)
