"""Problems of a file, reported to its author: where, what is wrong, and what was expected instead.

pydantic reports errors in the terms of its models; here they become one sentence per mistake, in the terms of the YAML
file.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from specs.case import yaml12

LONGEST_MESSAGE = 1000  # characters


@dataclass(frozen=True, order=True)
class Problem:
    """One mistake in a case file; its text begins with file:line:column, which editors and terminals link."""

    file: Path
    line: int
    column: int
    message: str

    def __post_init__(self) -> None:
        if len(self.message) > LONGEST_MESSAGE:  # it quotes a text without end
            object.__setattr__(self, "message", f"{self.message[:LONGEST_MESSAGE]}…")

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


class CaseFileError(Exception):
    """A file cannot be used; `problems` has everything that is wrong with it, in file order."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


class FieldProblem(NamedTuple):
    """What is wrong with the value at `path`, or with its key.

    at_key   whether the key is wrong, not the value
    fixable  whether setting other fields, or the missing one, could still fix it
    """

    path: yaml12.Path
    message: str
    at_key: bool = False
    fixable: bool = False


_EXPECTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "is_instance_of": "a complex number",  # the only class that a field is checked against
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "literal_error": "{expected}",
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
    "finite_number": "a finite number",
    "too_short": "a length of at least {min_length}",
    "too_long": "a length of at most {max_length}",
    "string_too_long": "at most {max_length} characters",
}


def field_problems(error: ValidationError, model: type[BaseModel], data: Any) -> Iterator[FieldProblem]:
    """One problem per mistake; errors of a union's branches become a single one that lists all accepted types."""
    type_errors: dict[yaml12.Path, list[ErrorDetails]] = {}
    for details in error.errors(include_url=False):
        path, rest = _path_within(data, details["loc"])
        if details["type"] in _EXPECTED and "[key]" not in rest:
            type_errors.setdefault(path, []).append(details)
        elif details["type"] != "default_factory_not_called":  # a consequence of another error
            yield _other_problem(details, path, model)
    containers = {path[:length] for path in type_errors for length in range(len(path))}
    for path, group in type_errors.items():
        if path not in containers:  # if an item is wrong, the list itself is not
            yield FieldProblem(
                path, f"{_format_path(path)} is {_describe(group[0]['input'])} ({_format_expected(group)})"
            )


def _other_problem(details: ErrorDetails, path: yaml12.Path, model: type[BaseModel]) -> FieldProblem:
    name, context = str(details["loc"][-1] if details["loc"] else ""), details.get("ctx", {})
    match details["type"]:
        case "missing":
            message = f"missing field {name!r} (expected: {_description(model, (*path, name))})"
            return FieldProblem(path, message, at_key=True, fixable=True)
        case "extra_forbidden":
            valid = list(_model_at(model, path[:-1]).model_fields)
            advice = suggest(name, valid) or f"expected {join_or(valid)}"
            return FieldProblem(path, f"unknown key {name!r} ({advice})", at_key=True)
        case "literal_error":
            return FieldProblem(path, f"unknown key {path[-1]!r} (expected {context['expected']})", at_key=True)
        case "string_pattern_mismatch" if name == "[key]":
            message = f"{path[-1]!r} is not a name (expected snake_case, such as 'two_by_three')"
            return FieldProblem(path, message, at_key=True)
        case "string_pattern_mismatch":
            message = f"{_format_path(path)} is {_describe(details['input'])} (expected: {_description(model, path)})"
            return FieldProblem(path, message)
        case "value_error":
            prefix = f"{_format_path(path)}: " if path else ""
            return FieldProblem(path, f"{prefix}{context['error']}", fixable=True)
    return FieldProblem(path, details["msg"])


def _path_within(data: Any, location: Sequence[str | int]) -> tuple[yaml12.Path, list[str | int]]:
    """Split pydantic's location into a value's path and the other steps: branches of a union, or `[key]`."""
    path: list[str | int] = []
    rest: list[str | int] = []
    step: Any
    for step in location:
        if (isinstance(data, dict) and step in data) or (isinstance(data, list) and step in range(len(data))):
            path.append(step)
            data = data[step]
        else:
            rest.append(step)
    return tuple(path), rest


def _model_at(model: type[BaseModel], path: yaml12.Path) -> type[BaseModel]:
    for step in path:
        annotation = model.model_fields[str(step)].annotation
        choices = (annotation, *get_args(annotation))
        model = next(choice for choice in choices if isinstance(choice, type) and issubclass(choice, BaseModel))
    return model


def _description(model: type[BaseModel], path: yaml12.Path) -> str:
    """The description of the field at a path; for an item of a list, that of the field which has the list."""
    while isinstance(path[-1], int):
        path = path[:-1]
    return (_model_at(model, path[:-1]).model_fields[str(path[-1])].description or "").rstrip(".")


def _format_expected(group: list[ErrorDetails]) -> str:
    """For instance `expected a number or 'lowest'`, with the allowed word nearest to the input, if any is near."""
    contexts = [details.get("ctx", {}) for details in group]
    phrases = [_EXPECTED[details["type"]].format(**context) for details, context in zip(group, contexts, strict=True)]
    if "a number" in phrases and "a whole number" in phrases:
        phrases.remove("a whole number")
    allowed = [word for context in contexts for word in re.findall(r"'([^']*)'", str(context.get("expected", "")))]
    return "; ".join(filter(None, [f"expected {join_or(phrases)}", suggest(group[0]["input"], allowed)]))


def suggest(word: Any, valid: Iterable[str]) -> str:
    """A question that names the valid word nearest to this one; "" if none is near."""
    matches = difflib.get_close_matches(word, valid, n=1) if isinstance(word, str) else []
    return f"did you mean {matches[0]!r}?" if matches else ""


def _describe(value: Any) -> str:
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"the text {value if len(value) <= 40 else value[:40] + '…'!r}"
    if isinstance(value, list | dict):
        kind = "list" if isinstance(value, list) else "mapping"
        return f"a {kind}" if value else f"an empty {kind}"
    return str(value)


def _format_path(path: yaml12.Path) -> str:
    """A path as text: `shapes[0][1]`, `mask.fill`."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return "".join(steps).removeprefix(".") or "the file"


def join_or(phrases: Sequence[str]) -> str:
    *most, last = phrases
    return f"{', '.join(most)}{',' if len(most) > 1 else ''} or {last}" if most else last
