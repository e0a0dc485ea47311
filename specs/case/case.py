"""The `Case`: one entry of a case file, or one member of its sweep."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from specs.case.attention import AttentionConfig
from specs.case.einsum import EinsumConfig

Config = EinsumConfig | AttentionConfig


@dataclass(frozen=True, eq=False)
class Case:
    """One named computation; compared and hashed by identity, so that it can be a dictionary key.

    id     unique in a run; inputs are derived from it unless the case has a seed: `einsum/products::rows_by_rows`
    name   the entry's name in its file; for a member of a sweep `long_sums/1024`
    file   the YAML file
    line   where the entry begins (1-based)
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
