"""What is wrong with a file, told to the person who wrote it: where, what was found, what was expected instead.

pydantic reports in the terms of its models; here that becomes one sentence in the terms of the YAML file for each
mistake that a person made.
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


@dataclass(frozen=True, order=True)
class Problem:
    """One mistake in a case file; as text it is what editors and terminals turn into a link."""

    file: Path
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


class CaseFileError(Exception):
    """A file cannot be used; `problems` is everything that is wrong with it, in the order of the file."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


class FieldProblem(NamedTuple):
    """What is wrong with the value at `path` of some fields, or with its key.

    mendable  whether another field, or another value for a missing one, could still make it right
    """

    path: yaml12.Path
    message: str
    at_key: bool = False
    mendable: bool = False


_EXPECTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "is_instance_of": "a complex number",  # the only class that a field of ours is held to
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "literal_error": "{expected}",
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "at least {ge}",
    "too_short": "a length of at least {min_length}",
    "string_too_long": "at most {max_length} characters",
}


def field_problems(error: ValidationError, model: type[BaseModel], data: Any) -> Iterator[FieldProblem]:
    """One complaint per mistake: what the branches of a union each refuse is told once, with all that they accept."""
    refusals: dict[yaml12.Path, list[ErrorDetails]] = {}
    for details in error.errors(include_url=False):
        path, rest = _path_within(data, details["loc"])
        if details["type"] in _EXPECTED and "[key]" not in rest:
            refusals.setdefault(path, []).append(details)
        elif details["type"] != "default_factory_not_called":  # a consequence of another error
            yield _other_complaint(details, path, model)
    containers = {path[:length] for path in refusals for length in range(len(path))}
    for path, group in refusals.items():
        if path not in containers:  # a list is right as such where one of its items is wrong
            yield FieldProblem(path, f"{_written(path)} is {_described(group[0]['input'])} ({_expectation(group)})")


def _other_complaint(details: ErrorDetails, path: yaml12.Path, model: type[BaseModel]) -> FieldProblem:
    name, context = str(details["loc"][-1] if details["loc"] else ""), details.get("ctx", {})
    match details["type"]:
        case "missing":
            message = f"missing field {name!r} (expected: {_description(model, (*path, name))})"
            return FieldProblem(path, message, at_key=True, mendable=True)
        case "extra_forbidden":
            valid = list(_model_at(model, path[:-1]).model_fields)
            advice = _nearest(name, valid) or f"expected {_either(valid)}"
            return FieldProblem(path, f"unknown key {name!r} ({advice})", at_key=True)
        case "literal_error":
            return FieldProblem(path, f"unknown key {path[-1]!r} (expected {context['expected']})", at_key=True)
        case "string_pattern_mismatch" if name == "[key]":
            message = f"{path[-1]!r} is not a name (expected snake_case, such as 'two_by_three')"
            return FieldProblem(path, message, at_key=True)
        case "string_pattern_mismatch":
            message = f"{_written(path)} is {_described(details['input'])} (expected: {_description(model, path)})"
            return FieldProblem(path, message)
        case "value_error":
            where = f"{_written(path)}: " if path else ""
            return FieldProblem(path, f"{where}{context['error']}", mendable=True)
    return FieldProblem(path, details["msg"])


def _path_within(data: Any, location: Sequence[str | int]) -> tuple[yaml12.Path, list[str | int]]:
    """Splits pydantic's location into the path of a value and the steps that name branches of a union or `[key]`."""
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
    """Of the field at a path, or of the one in whose list it is."""
    while isinstance(path[-1], int):
        path = path[:-1]
    return (_model_at(model, path[:-1]).model_fields[str(path[-1])].description or "").rstrip(".")


def _expectation(group: list[ErrorDetails]) -> str:
    """`expected a number or 'lowest'`, and the nearest of the words that are allowed."""
    contexts = [details.get("ctx", {}) for details in group]
    phrases = [_EXPECTED[details["type"]].format(**context) for details, context in zip(group, contexts, strict=True)]
    if "a number" in phrases and "a whole number" in phrases:
        phrases.remove("a whole number")
    allowed = [word for context in contexts for word in re.findall(r"'([^']*)'", str(context.get("expected", "")))]
    return "; ".join(filter(None, [f"expected {_either(phrases)}", _nearest(group[0]["input"], allowed)]))


def _nearest(word: Any, valid: Iterable[str]) -> str:
    matches = difflib.get_close_matches(word, valid, n=1) if isinstance(word, str) else []
    return f"did you mean {matches[0]!r}?" if matches else ""


def _described(value: Any) -> str:
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


def _written(path: yaml12.Path) -> str:
    """A path as a reader would write it: `shapes[0][1]`, `mask.fill`."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return "".join(steps).removeprefix(".") or "the file"


def _either(phrases: Sequence[str]) -> str:
    *most, last = phrases
    return f"{', '.join(most)}{',' if len(most) > 1 else ''} or {last}" if most else last
