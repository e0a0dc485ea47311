"""A row of a backend's precision table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property

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
        return all(
            fnmatchcase(check.case.kind if name == "kind" else getattr(check, name), pattern)
            for name, pattern in self._stated
        ) and self._has_feature(check.case.config)

    @cached_property
    def _stated(self) -> list[tuple[str, str]]:
        """Field and pattern of what is not left open: a session asks every row about every check."""
        patterns = ((name, getattr(self, name)) for name in ("kind", *PLACE_FIELDS, "direction"))
        return [(name, pattern) for name, pattern in patterns if pattern != "*"]

    def _has_feature(self, config: Config) -> bool:
        if self.feature == "*":
            return True
        return isinstance(config, AttentionConfig) and any(fnmatchcase(x, self.feature) for x in features(config))
