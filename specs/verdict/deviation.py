"""Known differences, as data: which checks and versions, what is observed, whose choice or fault it is, and why.

The observation that an entry records is checked on every run (`specs.verdict.observation`).  An entry is stale where a
check that it matches does not show the difference; that check fails.  Reading the files computes no array, so
`python -m specs check` stays fast.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import filter as filter_names
from fnmatch import translate
from functools import cache, cached_property, lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from pydantic import Field, ValidationError, field_validator, model_validator

from specs.case import yaml12
from specs.case.case import Case
from specs.case.common import DTypeName, Numbers
from specs.case.model import Model
from specs.case.problems import CaseFileError, Problem, field_problems, suggest
from specs.verdict import processor
from specs.verdict.check import Check
from specs.verdict.direction import DIRECTIONS
from specs.verdict.properties import PROPERTIES, Property

# Fields of an observation that exclude all others; those that are only in the second set may come with a dtype
EXCLUSIVE_WITHOUT_DTYPE = frozenset({"error", "accepts", "shape", "disconnected"})
EXCLUSIVE = EXCLUSIVE_WITHOUT_DTYPE | {"result", "computed_in", "value"}
ATTENTION_ONLY = frozenset({"scale_rounded_to", "fully_masked", "causal", "masked_values"})
FormatName = Literal["float64", "float32", "tf32", "float16", "bfloat16"]
Step = Literal["multiply", "accumulate", "intermediate", "weights", "softmax"]  # as of `specs.arithmetic.precision`
FEWEST = 4  # letters or digits of a message that tell it from others
STEPS: tuple[Step, ...] = get_args(Step)


Condition = Annotated[str, Field(pattern=r"^!?[a-z0-9_]+(\|[a-z0-9_]+)*$")]


class Match(Model):
    """Which checks: every field that is given must match one of its patterns at least (`*`, `?` as in file names)."""

    case: list[str] | str = Field(description="Case id, e.g. `attention/masks::fully_masked_row*`.")
    kind: list[str] | str = Field(default="*", description="einsum or attention.")
    implementation: list[str] | str = Field(default="*", description="Implementation.")
    mode: list[str] | str = Field(default="*", description="Mode.")
    device: list[str] | str = Field(default="*", description="Device.")
    dtype: list[str] | str = Field(default="*", description="Element type.")
    direction: list[str] | str = Field(default="*", description="The direction: forward, grad.")

    def applies(self, facts: Mapping[str, Any]) -> bool:
        """Whether a check with these values of the fields above matches; a record has all of them."""
        return all(matches(facts[name], getattr(self, name)) for name in type(self).model_fields)


def describe(check: Check) -> dict[str, Any]:
    """The values of a check that a `Match` can name."""
    return {**vars(check), "case": check.case.id, "kind": check.case.kind}


def matches(value: str, patterns: list[str] | str) -> bool:
    """Whether a value matches at least one pattern."""
    return patterns == "*" or _one_of(tuple(_as_list(patterns))).fullmatch(value) is not None


@cache
def _one_of(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """Patterns as in file names, in one expression: a session matches them a million times."""
    return re.compile("|".join(map(translate, patterns)))


class Observation(Model):
    """What the framework does instead.

    Either exactly one of error, accepts, shape, disconnected, result, computed_in and value, of which the last three
    may be combined with another dtype; or one or more of the conditions under which the result is right: another dtype,
    a lower precision, a scale rounded to a format, another reading of the case.
    """

    error: Literal[True] | str | None = Field(
        default=None, description="It refuses a valid case; as text: with a message that contains this."
    )
    accepts: Literal[True] | None = Field(default=None, description="It computes something where it should refuse.")
    dtype: DTypeName | None = Field(
        default=None, description="The output has this dtype, and is right for it unless something else is said."
    )
    value: Literal["nan", "zeros", "zero_signs"] | None = Field(
        default=None,
        description="Every element that differs from the reference is NaN, or zero, or a zero of the other sign.",
    )
    shape: Literal["other"] | None = Field(default=None, description="The output has another shape.")
    disconnected: Literal[True] | None = Field(
        default=None, description="Of every operand whose gradient is not right there is none."
    )
    result: Numbers | None = Field(default=None, description="The output holds exactly these numbers.")
    computed_in: FormatName | None = Field(
        default=None,
        description="Integers are computed in this format; where they are beyond the dtype's range, anything.",
    )
    implicit_output: Literal["by_appearance"] | None = Field(
        default=None, description="Right if the labels of an output left out come in the order in which they appear."
    )
    precision: dict[Step, FormatName] | None = Field(
        default=None, description="Right for a lower precision: {accumulate: float16}, {multiply: tf32} …"
    )
    scale_rounded_to: FormatName | None = Field(
        default=None, description="Right for a scale of the scores that was rounded to this format."
    )
    fully_masked: Literal["zeros", "mean", "unmasked", "nan"] | None = Field(
        default=None,
        description="Right if a query without any key yields this. `mean`, of all values: a finite number replaces its "
        "scores. `unmasked`: a finite number is added to its scores.",
    )
    causal: Literal["none", "top_left", "bottom_right"] | None = Field(
        default=None, description="Right if the causal mask is aligned like this."
    )
    masked_values: Literal["ignored", "spread"] | None = Field(
        default=None, description="Right if masked values that are not finite count for nothing, or as 0 times them."
    )

    @field_validator("error")
    @classmethod
    def _message(cls, error: str | bool | None) -> str | bool | None:
        if isinstance(error, str) and sum(map(str.isalnum, error)) < FEWEST:
            raise ValueError(f"{error!r} may be in any message (expected at least {FEWEST} letters or digits, or true)")
        return error

    @model_validator(mode="after")
    def _check_combination(self) -> Observation:
        fields = self.model_fields_set
        too_many = fields & EXCLUSIVE and len(fields - {"dtype"}) > 1
        if not fields or too_many or (fields & EXCLUSIVE_WITHOUT_DTYPE and len(fields) > 1):
            raise ValueError(f"say one of {', '.join(sorted(EXCLUSIVE))}, or what the result is right for")
        return self

    @property
    def may_be_silent(self) -> bool:
        """Whether a check may pass although the entry is true: lower precision can give a right result by luck."""
        return self.dtype is None and (self.precision is not None or self.computed_in is not None)

    def __str__(self) -> str:
        return format_observation(self.model_dump(exclude_unset=True))


def format_observation(observed: Mapping[str, Any]) -> str:
    """The observation of a deviation file or a record as text; a precision that is equal in all steps is named once."""
    fields = dict(observed)
    if formats := fields.get("precision"):
        same = len(formats) == len(STEPS) and len(set(formats.values())) == 1
        steps = (f"{step} {name}" for step, name in formats.items())
        fields["precision"] = formats["multiply"] if same else " ".join(steps)
    return ", ".join(f"{name}: {value}" for name, value in fields.items())


class Deviation(Model):
    """One known difference of one backend."""

    match: Match = Field(description="Which checks show it.")
    versions: dict[str, str] = Field(default={}, description="Package → version specifier under which it is known.")
    processor: list[Condition] = Field(
        default=[],
        description="What the processor must have, as Linux names its features, where kernels are chosen by that: "
        "`avx512_vnni|avx_vnni` (one of them), `!avx512_vnni` (not).",
    )
    observed: Observation = Field(description="What is observed, and checked.")
    grade: Literal["choice", "limitation", "bug"] = Field(
        description="choice: both readings are defensible. limitation: not offered. bug: wrong."
    )
    reason: str = Field(min_length=10, description="One sentence: what differs and why.")
    link: str | None = Field(default=None, description="The maintainers' thread or documentation.")
    when: list[Property] | None = Field(
        default=None,
        description="It may also be observed in cases that no entry names, such as a user's own or a generated one, "
        "if they have all of these properties ([]: in any case).",
    )

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
        return self.match.applies(describe(check)) and self.is_known_here

    def names(self, case: Case) -> bool:
        """Whether one of its patterns names the case, or the cases of its file; `*` and whole folders name none."""
        patterns = [pattern for pattern in _as_list(self.match.case) if "::" in pattern]
        return matches(case.id, patterns)

    def may_apply(self, check: Check) -> bool:
        """Whether it may be observed in a check of a case that no entry names, such as a generated one."""
        if self.when is None or not self.is_known_here:
            return False
        if self.observed.model_fields_set & ATTENTION_ONLY and check.case.kind != "attention":
            return False
        any_case = self.match.model_copy(update={"case": "*"})
        return any_case.applies(describe(check)) and all(PROPERTIES[name](check.case.config) for name in self.when)

    @property
    def is_known_here(self) -> bool:
        """Whether the installed versions and this processor are ones for which the difference is recorded."""
        return all(map(_installed, self.versions, self.versions.values())) and processor.meets_all(self.processor)


@lru_cache(maxsize=256)  # the metadata of a package is a file, and would be read for every check
def _installed(package: str, specifier: str) -> bool:
    try:
        return SpecifierSet(specifier).contains(version(package), prereleases=True)
    except PackageNotFoundError:
        return False


@dataclass(frozen=True)
class DeviationEntry:
    """A deviation and its position in a file; the line is that of its `match`.

    `certain` is True where every check that it matches must show it; otherwise a right result does not make it stale.
    """

    deviation: Deviation
    file: Path
    line: int
    column: int = 1
    certain: bool = True

    @cached_property
    def cases(self) -> re.Pattern[str]:
        """Of the ids of the cases that it names."""
        return _one_of(tuple(_as_list(self.deviation.match.case)))

    @property
    def is_general(self) -> bool:
        """Whether it is recorded for cases of every topic."""
        return all("*" in pattern.partition("::")[0] for pattern in _as_list(self.deviation.match.case))

    @property
    def must_show(self) -> bool:
        """Whether a right result makes the entry stale."""
        return self.certain and not self.deviation.observed.may_be_silent

    @property
    def place(self) -> str:
        return f"{self.file.name}:{self.line}"


def load(path: Path) -> list[DeviationEntry]:
    """Read the deviations of one file, none if it does not exist; raises CaseFileError with all its problems."""
    if not path.exists():
        return []
    try:
        document = yaml12.read(path)
    except OSError as error:
        raise CaseFileError([Problem(path, 1, 1, f"the file cannot be read: {error.strerror}")]) from error
    except yaml12.YamlError as error:
        raise CaseFileError([Problem(path, *flaw.position, flaw.message) for flaw in error.flaws]) from error
    if not isinstance(document.data, list):
        raise CaseFileError([Problem(path, 1, 1, "a deviation file is a list of deviations, each beginning with `- `")])
    entries: list[DeviationEntry] = []
    problems: list[Problem] = []
    for index, entry in enumerate(document.data):
        start = document.positions[index,]
        try:
            entries.append(DeviationEntry(Deviation.model_validate(entry), path, *start))
        except ValidationError as error:
            for problem in field_problems(error, Deviation, entry):
                positions = document.key_positions if problem.at_key else document.positions
                problems.append(Problem(path, *positions.get((index, *problem.path), start), problem.message))
    if problems:
        raise CaseFileError(sorted(problems))
    return entries


def find_named_entries(entries: Iterable[DeviationEntry], check: Check) -> list[DeviationEntry]:
    """Deviations that name the check: where one of them must be observed, a right result makes it stale."""
    case = check.case.id  # that few entries name, so that the rest is seldom looked at
    return [entry for entry in entries if entry.cases.fullmatch(case) and entry.deviation.applies(check)]


def find_possible_entries(entries: Sequence[DeviationEntry], check: Check) -> list[DeviationEntry]:
    """Deviations that may be observed in a check of a case that no entry names; none where an entry names it.

    These are the entries whose `when` is true of the case, alone and in every combination that can occur together.
    """
    if any(entry.deviation.names(check.case) for entry in entries):
        return []
    possible = [entry for entry in entries if entry.deviation.may_apply(check)]
    combinable = [entry for entry in possible if not entry.deviation.observed.model_fields_set & EXCLUSIVE]
    sizes = range(2, len(combinable) + 1)
    combinations = itertools.chain.from_iterable(itertools.combinations(combinable, size) for size in sizes)
    return [_combine([entry]) for entry in possible] + [_combine(combination) for combination in combinations]


def _combine(entries: Sequence[DeviationEntry]) -> DeviationEntry:
    """One entry whose observation is that of all these entries together."""
    fields: dict[str, Any] = {}
    for entry in entries:
        for name, value in entry.deviation.observed.model_dump(exclude_unset=True).items():
            fields[name] = {**fields.get(name, {}), **value} if isinstance(value, dict) else value
    first = entries[0]
    deviation = first.deviation.model_copy(
        update={
            "observed": Observation.model_validate(fields),
            "reason": " ".join(dict.fromkeys(entry.deviation.reason for entry in entries)),
        }
    )
    return replace(first, deviation=deviation, certain=False)


def find_unknown_names(
    entries: Collection[DeviationEntry], cases: Collection[str], modes: Collection[str], packages: Collection[str]
) -> Iterator[Problem]:
    """Problems of entries that would silently never apply, because nothing has a name that they match or require.

    `cases` holds the ids of all cases, `modes` those of all backends.  A package is known if it is in `packages` or
    installed.
    """
    known_names = {
        "case": cases,
        "kind": ("einsum", "attention"),
        "mode": modes,
        "dtype": get_args(DTypeName),
        "direction": DIRECTIONS,
    }
    for entry in entries:
        match, versions = entry.deviation.match, entry.deviation.versions
        unmatched = (
            "; ".join([f"match.{field}: {pattern!r} matches no {field}", *filter(None, [suggest(pattern, names)])])
            for field, names in known_names.items()
            for pattern in _as_list(getattr(match, field))
            if pattern not in names and not filter_names(names, pattern)
        )
        unknown_packages = (
            f"versions: {package!r} is no package that is required or installed"
            for package in versions
            if package not in packages and not _installed(package, "")
        )
        for message in (*unmatched, *unknown_packages):
            yield Problem(entry.file, entry.line, entry.column, message)


def _as_list(patterns: list[str] | str) -> list[str]:
    return [patterns] if isinstance(patterns, str) else patterns
