"""The frozen `Case` that is made of one entry of a case file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from specs.case.attention import AttentionConfig
from specs.case.einsum import EinsumConfig

Config = EinsumConfig | AttentionConfig


@dataclass(frozen=True, eq=False)
class Case:
    """One named computation; a case is equal to itself alone, so that it can be a key.

    id     unique over a run, and what inputs are derived from unless it has a seed: `einsum/products::rows_by_rows`
    name   the entry's name within its file; members of a sweep are `long_sums/1024`
    file   the YAML file; line is where the entry begins (1-based)
    """

    id: str
    name: str
    file: Path
    line: int
    config: Config

    @property
    def kind(self) -> Literal["einsum", "attention"]:
        return self.config.kind

    @property
    def rng_key(self) -> str:
        """The key from which the case's random numbers are derived."""
        return self.id if self.config.seed is None else f"seed {self.config.seed}"
