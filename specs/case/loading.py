"""Load the cases of a YAML file, or raise all problems of the file with their positions.

`defaults` are merged into every entry (the entry's own key wins), a `sweep` makes one case of every combination, and
each result is validated by the model of its kind.  Validation errors are reported in the terms of a case file, at the
position where the value is written: in the entry, in its sweep, or in the defaults.
"""

from __future__ import annotations

import itertools
import math
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import Field, ValidationError, create_model, model_validator
from pydantic_core import PydanticCustomError

from specs.case import yaml12
from specs.case.attention import AttentionConfig
from specs.case.case import Case, Config
from specs.case.einsum import EinsumConfig
from specs.case.literals import find_misstatements
from specs.case.memory import idle_layouts
from specs.case.model import Model
from specs.case.problems import CaseFileError, FieldProblem, Problem, field_problems
from specs.case.semantics import find_contradiction
from specs.case.yaml12 import Document, Flaw, Position

MAX_SWEEP_CASES = 1000  # cases of one entry; more is probably a mistake, and would slow down every run

M = TypeVar("M", bound=Model)


CaseName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class CaseFile(Model):
    """Cases of one topic; each is computed by every backend and compared with the reference."""

    kind: Literal["einsum", "attention"] = Field(
        description="What the cases compute; determines which fields they have."
    )
    about: str | None = Field(default=None, max_length=300, description="The topic of the file, in one sentence.")
    defaults: dict[str, Any] = Field(
        default={}, description="Default values of fields, for cases that do not set them."
    )
    cases: dict[CaseName, dict[str, Any]] = Field(min_length=1, description="The cases, by snake_case name.")


class Sweep(Model):
    """Lists of values for fields; makes one case for each combination, with later fields varying fastest."""

    @model_validator(mode="after")
    def _check_size(self) -> Sweep:
        lengths = [len(getattr(self, name)) for name in self.model_fields_set]
        if not lengths:
            raise PydanticCustomError("empty_sweep", "sweep is empty (expected at least one field with its values)")
        if math.prod(lengths) > MAX_SWEEP_CASES:
            template = "sweep makes {count} cases (expected at most {limit})"
            raise PydanticCustomError("large_sweep", template, {"count": math.prod(lengths), "limit": MAX_SWEEP_CASES})
        return self


def _entry_model(config: type[Model]) -> type[Model]:
    """A model with the config's fields and `sweep`, which has a list of values for each of them."""
    lists: dict[str, Any] = {
        name: (Annotated[list[Any], Field(min_length=1)], Field(default=[], description=f"Values of {name}."))
        for name in config.model_fields
    }
    sweep = create_model(config.__name__.replace("Config", "Sweep"), __base__=Sweep, __doc__=Sweep.__doc__, **lists)
    description = "Makes one case for each combination of these values; later fields vary fastest."
    return create_model(
        config.__name__.replace("Config", "Entry"),
        __base__=config,
        __doc__=config.__doc__,
        sweep=(sweep | None, Field(default=None, description=description)),
    )


CONFIGS: dict[str, type[EinsumConfig] | type[AttentionConfig]] = {"einsum": EinsumConfig, "attention": AttentionConfig}
ENTRIES = {kind: _entry_model(config) for kind, config in CONFIGS.items()}


def discover(paths: Iterable[Path], root: Path) -> list[Path]:
    """The case files in the given files and directories, sorted; those of the project if no path is given.

    A file that is given counts whatever its suffix.  Raises FileNotFoundError for a path that does not exist.
    """
    files: set[Path] = set()
    for path in list(paths) or [root / "cases"]:
        if not path.exists():
            raise FileNotFoundError(path)
        files.update((file for file in path.rglob("*.yaml") if not file.is_dir()) if path.is_dir() else [path])
    return sorted(files)


def load_usable(paths: Iterable[Path], root: Path) -> Iterator[tuple[Path, list[Case]]]:
    """Each file that can be used, with its cases; the problems of the others are reported where they are collected."""
    for path in paths:
        try:
            cases = load(path, root)
        except CaseFileError:
            continue
        yield path, cases


def find_namesakes(files: Sequence[Path], root: Path) -> Iterator[tuple[Path, Path]]:
    """Pairs of different files that have cases with the same ids: files of one name outside the project."""
    by_identifier: dict[str, list[Path]] = {}
    for file in {os.path.realpath(file): file for file in files if file.is_file()}.values():
        by_identifier.setdefault(_identifier(file, root), []).append(file)
    for first, *others in by_identifier.values():
        for other in others:
            ids, of_other = (
                {case.id for _, cases in load_usable([file], root) for case in cases} for file in (first, other)
            )
            if ids & of_other:
                yield first, other


def load(path: Path, root: Path, declared: Mapping[str, Collection[str]] | None = None) -> list[Case]:
    """The cases of one file; raises CaseFileError with all problems, including cases that contradict themselves.

    `declared` has the names that backends declare (`modes`, `implementations`; those of a kind of case, and those that
    run in a mode, at `einsum` and `einsum jit`); without it every name is accepted.
    """
    flaws: list[Flaw] = []
    cases: list[Case] = []
    document: Document | None
    try:
        document = yaml12.read(path)
    except OSError as error:
        raise CaseFileError([Problem(path, 1, 1, f"the file cannot be read: {error.strerror}")]) from error
    except yaml12.YamlError as error:
        flaws, document = list(error.flaws), error.document
    if document is not None:
        reader = _Reader(document, path, _identifier(path, root), declared)
        reader.read()
        cases, flaws = reader.cases, flaws + reader.flaws
    if flaws:
        raise CaseFileError([Problem(path, *position, message) for position, message in sorted(set(flaws))])
    return cases


def _identifier(path: Path, root: Path) -> str:
    file = path.resolve().with_suffix("")
    for folder in (root.resolve() / "cases", root.resolve()):
        if file.is_relative_to(folder):
            return file.relative_to(folder).as_posix()
    return file.name


# From a document to cases

Origins = dict[str, tuple[yaml12.Path, ...]]


class _Fields(NamedTuple):
    """Fields merged from several places.

    path     the mapping that they belong to: () for the file, ("cases", name) for an entry, ("defaults",)
    data     the merged mapping, or whatever the file has instead
    origins  paths where a field is written, if not under `path`; for a merged mapping several, the winning one first
    """

    path: yaml12.Path
    data: Any
    origins: Origins

    def origins_of(self, field: Any) -> tuple[yaml12.Path, ...]:
        return self.origins.get(field, ((*self.path, field),))


class _Reader:
    """Reads one document into `cases` and `flaws`, both in reading order."""

    def __init__(
        self, document: Document, path: Path, identifier: str, declared: Mapping[str, Collection[str]] | None
    ) -> None:
        self.document = document
        self.path = path
        self.identifier = identifier
        self.declared = declared
        self.cases: list[Case] = []
        self.flaws: list[Flaw] = []
        self.idle_layouts: list[Flaw] = []  # memory layouts that change nothing in some case
        self.used_layouts: set[Position] = set()

    def read(self) -> None:
        self.read_content()
        # A sweep, or the defaults, may state a layout that only some of their cases can have
        self.flaws += [flaw for flaw in self.idle_layouts if flaw.position not in self.used_layouts]

    def read_content(self) -> None:
        content = self.document.data
        self.flaws += self.check(CaseFile, CaseFile, _Fields((), content, {}))[1]
        if not isinstance(content, dict):
            return
        kind, defaults, entries = (content.get(key, {}) for key in ("kind", "defaults", "cases"))
        if not (isinstance(kind, str) and kind in CONFIGS and isinstance(defaults, dict) and isinstance(entries, dict)):
            return  # without these, any message about an entry would be a guess
        if self.declared is not None and kind in self.declared:
            self.declared = {**self.declared, "implementations": self.declared[kind]}
        self.check_incomplete(ENTRIES[kind], _Fields(("defaults",), defaults, {}))
        for name, entry in entries.items():
            if isinstance(entry, dict):
                inherited: Origins = {field: (("defaults", field),) for field in defaults if field not in entry}
                self.read_entry(kind, name, _Fields(("cases", name), {**defaults, **entry}, inherited))

    def read_entry(self, kind: str, name: str, entry: _Fields) -> None:
        members = {name: entry}
        if "sweep" in entry.data:
            if not self.check_incomplete(ENTRIES[kind], entry):
                return
            members = self.members(name, entry)
        start = self.document.key_positions[entry.path]
        names_by_flaw: dict[Flaw, list[str]] = {}
        for member_name, member in members.items():
            config, flaws = self.check(CONFIGS[kind], ENTRIES[kind], member)
            if config is not None:
                case = Case(f"{self.identifier}::{member_name}", member_name, self.path, start.line, config)
                self.cases.append(case)
                flaws = self.meaning(case, member) or flaws
                if not flaws and config.expected_error is None:
                    self.note_layouts(case.config, member)
            for flaw in flaws:
                names_by_flaw.setdefault(flaw, []).append(member_name)
        for flaw, names in names_by_flaw.items():
            in_some_members = flaw.position == start and len(names) < len(members)
            self.flaws.append(Flaw(start, f"{flaw.message} (in {_join(names)})") if in_some_members else flaw)

    def meaning(self, case: Case, member: _Fields) -> list[Flaw]:
        """Why a case whose fields are right cannot be computed."""
        misstated = list(find_misstatements(case.config))
        if misstated:
            return [Flaw(self.position(member, path, at_key=False), message) for path, message in misstated]
        message = find_contradiction(case) or self.nowhere(case)
        return [Flaw(self.document.key_positions[member.path], message)] if message else []

    def note_layouts(self, config: Config, member: _Fields) -> None:
        """Note where the memory layouts of a valid case are written, and which of them change nothing."""

        def position(name: str | None) -> Position:
            return self.position(member, ("memory",) if name is None else ("memory", name), at_key=False)

        idle = [Flaw(position(name), message) for name, message in idle_layouts(config)]
        stated = config.memory if isinstance(config.memory, dict) else (None,)
        self.idle_layouts += idle
        self.used_layouts |= {position(name) for name in stated} - {flaw.position for flaw in idle}

    def nowhere(self, case: Case) -> str | None:
        """Why no backend would compute a case that names both modes and implementations."""
        modes, implementations = case.config.modes, case.config.implementations
        if self.declared is None or case.kind not in self.declared or modes is None or implementations is None:
            return None
        if any(name in self.declared.get(f"{case.kind} {mode}", ()) for mode in modes for name in implementations):
            return None
        return f"no backend runs {_join(implementations)} in mode {_join(modes)}, so the case would never be computed"

    def members(self, name: str, entry: _Fields) -> dict[str, _Fields]:
        """The members of the entry's sweep, by name; notes duplicate names as flaws."""
        members: dict[str, _Fields] = {}
        for label, member in _combinations(entry):
            member_name = f"{name}/{label}" if label else name
            if member_name in members:
                message = f"two members of the sweep are named {member_name!r} (expected values that differ)"
                self.flaws.append(Flaw(self.position(entry, ("sweep",), at_key=True), message))
            members[member_name] = member
        return members

    def check(self, model: type[M], wording: type[Model], fields: _Fields) -> tuple[M | None, list[Flaw]]:
        """The validated model, or None and its flaws; `wording` is the model whose keys are suggested."""
        try:
            return model.model_validate(fields.data, context=self.declared), []
        except ValidationError as error:
            return None, [self.flaw(fields, problem) for problem in field_problems(error, wording, fields.data)]

    def check_incomplete(self, model: type[Model], fields: _Fields) -> bool:
        """Note the flaws of fields that others may still complete or replace; return whether their sweep is usable."""
        try:
            model.model_validate(fields.data, context=self.declared)
        except ValidationError as error:
            permanent = [problem for problem in field_problems(error, model, fields.data) if not problem.fixable]
            self.flaws += [self.flaw(fields, problem) for problem in permanent]
            return not any(problem.path[:1] == ("sweep",) for problem in permanent)
        return True

    def flaw(self, fields: _Fields, problem: FieldProblem) -> Flaw:
        return Flaw(self.position(fields, problem.path, at_key=problem.at_key), problem.message)

    def position(self, fields: _Fields, path: yaml12.Path, *, at_key: bool) -> Position:
        """Where a value or its key is written; for one that is not written, the nearest value that contains it."""
        values, keys = self.document.positions, self.document.key_positions
        if not path:
            return keys.get(fields.path, values[fields.path])
        candidates = [(*origin, *path[1:]) for origin in fields.origins_of(path[0])]
        if at_key and (key := next((keys[candidate] for candidate in candidates if candidate in keys), None)):
            return key
        parents = (candidate[: len(candidate) - cut] for cut in range(len(path) + 1) for candidate in candidates)
        return next(values[parent] for parent in parents if parent in values)


def _combinations(entry: _Fields) -> Iterator[tuple[str, _Fields]]:
    """Label and fields of each member of a valid sweep; for a null sweep, the entry itself with an empty label."""
    sweep = entry.data["sweep"] or {}
    base = {field: value for field, value in entry.data.items() if field != "sweep"}
    (sweep_path,) = entry.origins_of("sweep")
    for choice in itertools.product(*(enumerate(values) for values in sweep.values())):
        data, origins = dict(base), dict(entry.origins)
        for field, (index, value) in zip(sweep, choice, strict=True):
            data[field], origins[field] = value, ((*sweep_path, field, index),)
            if isinstance(value, dict) and isinstance(base.get(field), dict):
                data[field] = {**base[field], **value}
                origins[field] += entry.origins_of(field)
        yield "-".join(_label(value) for _, value in choice), _Fields(entry.path, data, origins)


def _label(value: Any) -> str:
    """A swept value as part of a name: depends on the value alone, without characters that are special in test ids."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        separator = "," if any(isinstance(item, list | dict) for item in value) else "x"
        return separator.join(map(_label, value)) or "empty"
    return re.sub(r"[\s\[\]:/\\]", "", str(value)) or "empty"


def _join(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
