"""Known differences, as data: which checks and versions, what is observed, whose choice or fault it is, and why.

What an entry says is observed is itself checked.  An entry that matches a check which no longer shows the difference
is stale, and fails.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import numpy as np
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from pydantic import Field, field_validator, model_validator

from specs.bound import Reference, rounded
from specs.case import AttentionConfig, DTypeName, Model
from specs.check import Check
from specs.comparison import compare, components, error_ratio
from specs.formats import FORMATS, Array, dtype_name


class Match(Model):
    """Which checks: every field given must match, one pattern of its list at least (`*` and `?` as in file names)."""

    case: list[str] | str = Field(description="Case id, e.g. `attention/masks::fully_masked_row*`.")
    implementation: list[str] | str = Field(default="*", description="Implementation.")
    mode: list[str] | str = Field(default="*", description="Mode.")
    device: list[str] | str = Field(default="*", description="Device.")
    dtype: list[str] | str = Field(default="*", description="Element type.")
    direction: list[str] | str = Field(default="*", description="forward or grad.")

    def applies(self, check: Check) -> bool:
        actual = {name: getattr(check, name) for name in type(self).model_fields if name != "case"}
        actual["case"] = check.case.id
        return all(_matches(value, getattr(self, name)) for name, value in actual.items())


def _matches(value: str, patterns: list[str] | str) -> bool:
    return any(fnmatchcase(value, pattern) for pattern in ([patterns] if isinstance(patterns, str) else patterns))


class Observed(Model):
    """What the framework does instead; exactly one field."""

    error: Literal[True] | str | None = Field(
        default=None, description="It refuses a valid case; as text: with a message that contains this."
    )
    accepts: Literal[True] | None = Field(default=None, description="It computes something where it should refuse.")
    dtype: DTypeName | None = Field(default=None, description="The output has this dtype.")
    value: Literal["nan", "zeros"] | None = Field(
        default=None, description="Every element that differs from the reference is NaN, or zero."
    )
    precision: dict[str, str] | None = Field(
        default=None, description="It is right for a lower precision: {accumulate: float16}, {multiply: tf32} …"
    )
    fully_masked: Literal["zeros", "mean", "nan"] | None = Field(
        default=None, description="What a query without any key yields here."
    )
    causal: Literal["none", "top_left", "bottom_right"] | None = Field(
        default=None, description="How the causal mask is aligned here."
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> Observed:
        if len(self.model_fields_set) != 1:
            raise ValueError(f"say exactly one thing that is observed: {', '.join(type(self).model_fields)}")
        return self

    @field_validator("precision")
    @classmethod
    def _known_formats(cls, formats: dict[str, str] | None) -> dict[str, str] | None:
        if formats and (unknown := set(formats.values()) - set(FORMATS)):
            raise ValueError(f"unknown format {', '.join(unknown)}; known: {', '.join(FORMATS)}")
        return formats


class Deviation(Model):
    """One known difference of one backend."""

    match: Match = Field(description="Which checks show it.")
    versions: dict[str, str] = Field(default={}, description="Package → version specifier under which it is known.")
    observed: Observed = Field(description="What is observed, and checked.")
    grade: Literal["choice", "limitation", "bug"] = Field(
        description="choice: both readings are defensible. limitation: not offered. bug: wrong."
    )
    reason: str = Field(min_length=10, description="One sentence: what differs and why.")
    link: str | None = Field(default=None, description="The maintainers' thread or documentation.")

    @field_validator("versions")
    @classmethod
    def _specifiers(cls, versions: dict[str, str]) -> dict[str, str]:
        for package, specifier in versions.items():
            try:
                SpecifierSet(specifier)
            except InvalidSpecifier:
                raise ValueError(f"{package}: {specifier!r} is no version specifier, e.g. '>=0.4.31'") from None
        return versions

    def applies(self, check: Check) -> bool:
        return self.match.applies(check) and all(map(_installed, self.versions, self.versions.values()))


def _installed(package: str, specifier: str) -> bool:
    try:
        return SpecifierSet(specifier).contains(version(package), prereleases=True)
    except PackageNotFoundError:
        return False


@dataclass(frozen=True)
class Recorded:
    """A deviation and where it is written."""

    deviation: Deviation
    file: Path
    line: int

    @property
    def place(self) -> str:
        return f"{self.file.name}:{self.line}"


def shows(
    observed: Observed,
    check: Check,
    outcome: Array | Exception,
    expected: Reference | None,
    reevaluate: Callable[..., Reference],
) -> bool:
    """Whether the outcome of a check is what `observed` says.

    `expected` is None for a case that must be refused.  `reevaluate(precision=..., config=...)` gives the reference
    under another declared precision or for another statement of the case.
    """
    if isinstance(outcome, Exception):
        if observed.error is None or expected is None:
            return False
        return observed.error is True or observed.error in f"{type(outcome).__name__}: {outcome}"
    if observed.accepts:
        return expected is None
    if expected is None:
        return False
    if observed.dtype:
        return dtype_name(outcome.dtype) == observed.dtype and observed.dtype != check.dtype
    if outcome.shape != expected.shape or outcome.dtype != expected.dtype.numpy or expected.precision is None:
        return False
    if observed.value:
        ratio = error_ratio(components(outcome), expected.value, _error(expected), expected.precision)
        wrong = components(outcome)[ratio > 1]
        return bool(wrong.size) and bool(np.all(np.isnan(wrong) if observed.value == "nan" else wrong == 0))
    if observed.precision:
        other = reevaluate(precision=expected.precision.but(**observed.precision))
    else:
        assert isinstance(check.case.config, AttentionConfig)
        said = {name: getattr(observed, name) for name in observed.model_fields_set}
        other = reevaluate(config=check.case.config.model_copy(update=said))
    return not compare(outcome, other).problem


def _error(expected: Reference) -> Array:
    return np.broadcast_to(np.asarray(expected.error), rounded(expected.value).shape)
