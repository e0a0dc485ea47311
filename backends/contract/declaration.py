"""A row of a backend's precision table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from specs.case.attention import AttentionConfig
from specs.case.case import Config
from specs.case.features import features
from specs.verdict.check import Check

# The fields of a check on which a declaration can depend, besides the kind of its case
PLACE_FIELDS = ("device", "implementation", "mode", "dtype")


@dataclass(frozen=True)
class Declaration:
    """One row of a backend's precision table: what differs from the default, and where it applies (glob patterns).

    feature  of an attention that has it, as `specs.case.features` names it
    """

    formats: Mapping[str, str | bool]
    kind: str = "*"
    device: str = "*"
    implementation: str = "*"
    mode: str = "*"
    dtype: str = "*"
    direction: str = field(default="*", kw_only=True)
    feature: str = field(default="*", kw_only=True)
    reason: str = field(default="", kw_only=True)

    def applies(self, check: Check) -> bool:
        patterns = {name: getattr(self, name) for name in ("kind", *PLACE_FIELDS, "direction")}
        return self._has_feature(check.case.config) and all(
            pattern == "*" or fnmatchcase(check.case.kind if name == "kind" else getattr(check, name), pattern)
            for name, pattern in patterns.items()
        )

    def _has_feature(self, config: Config) -> bool:
        if self.feature == "*":
            return True
        return isinstance(config, AttentionConfig) and any(fnmatchcase(x, self.feature) for x in features(config))
