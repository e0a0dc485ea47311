"""A row of a backend's precision table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from specs.verdict.check import Check

# The fields of a check on which a declaration can depend, besides the kind of its case
PLACE_FIELDS = ("device", "implementation", "mode", "dtype")


@dataclass(frozen=True)
class Declaration:
    """One row of a backend's precision table: what differs from the default, and where it applies (glob patterns)."""

    formats: Mapping[str, str | bool]
    kind: str = "*"
    device: str = "*"
    implementation: str = "*"
    mode: str = "*"
    dtype: str = "*"
    direction: str = field(default="*", kw_only=True)
    reason: str = field(default="", kw_only=True)

    def applies(self, check: Check) -> bool:
        patterns = {name: getattr(self, name) for name in ("kind", *PLACE_FIELDS, "direction")}
        return all(
            pattern == "*" or fnmatchcase(check.case.kind if name == "kind" else getattr(check, name), pattern)
            for name, pattern in patterns.items()
        )
