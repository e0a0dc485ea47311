"""Parse YAML 1.2 into plain data, with the position of every value and key.

PyYAML implements YAML 1.1, in which `no` and `on` are booleans, `1_000` and `12:30` are numbers and `1e-5` is text.  So
only its parser is used, and scalars are resolved here: by the core schema of YAML 1.2, plus hexadecimal floats
(`0x1.8p-3`), because case files need exact bits, and complex numbers (`1.5-2j`, `.nan+0j`).

The data is built from the parser's events instead of with `compose()`, which recurses in C, so that a file of nothing
but brackets crashes the process.  Events also give the position of an alias.  Anchors, aliases, merge keys and tags are
refused: case files share fields by `defaults`, and a reader should never have to look elsewhere for a value.
"""

from __future__ import annotations

import errno
import math
import pathlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import yaml

Path = tuple[str | int, ...]
MAX_DEPTH = 64  # levels of nesting; an array has fewer axes than that

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}
_NUMBER = re.compile(
    r"""(?P<decimal>[-+]?[0-9]+)
      | 0o(?P<octal>[0-7]+)
      | 0x(?P<hexadecimal>[0-9a-fA-F]+)
      | (?P<real>[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?)
      | (?P<bits>[-+]?0x[0-9a-fA-F]+(\.[0-9a-fA-F]*)?p[-+]?[0-9]+)""",
    re.VERBOSE,
)
_PART = r"([-+]?(?:\.inf|(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?)|\+?\.nan)"
COMPLEX = re.compile(rf"(?:{_PART}(?=[-+]))?{_PART}j")
_BASES = {"decimal": 10, "octal": 8, "hexadecimal": 16}


class Position(NamedTuple):
    """The beginning of something in a file; line and column count from 1."""

    line: int
    column: int


class Flaw(NamedTuple):
    """A mistake in the text at one position."""

    position: Position
    message: str


@dataclass(frozen=True)
class Document:
    """The content of a file.

    positions      path of each value, such as ("cases", "rows", "shapes", 0) → where the value begins
    key_positions  path of each value with a key → where the key begins
    """

    data: Any
    positions: Mapping[Path, Position]
    key_positions: Mapping[Path, Position]


class YamlError(Exception):
    """The text is not valid YAML, or uses a feature that is refused here.

    `document` is what could still be read (with the first of two equal keys, say), so that a caller can look for
    further mistakes; it is None after a syntax error.
    """

    def __init__(self, flaws: list[Flaw], document: Document | None) -> None:
        super().__init__("\n".join(f"{at.line}:{at.column}: {message}" for at, message in flaws))
        self.flaws = flaws
        self.document = document


def read(file: pathlib.Path) -> Document:
    """Parse a file; raises YamlError, and OSError if it cannot be read or is a pipe, which would be waited for."""
    if file.exists() and not (file.is_file() or file.is_dir()):
        raise OSError(errno.EINVAL, "Not a regular file")
    return parse(file.read_bytes())


def parse(content: bytes) -> Document:
    """Parse a file's bytes; the data of an empty file is None.  Raises YamlError."""
    text = _decode(content)
    builder = _Builder(yaml.parse(text, Loader=_LOADER))
    try:
        data = builder.document()
    except yaml.YAMLError as error:
        raise YamlError([*builder.flaws, _syntax_flaw(error, text)], None) from None
    document = Document(data, builder.positions, builder.key_positions)
    if builder.flaws:
        raise YamlError(builder.flaws, document)
    return document


def parse_scalar(text: str) -> Any:
    """The value of a plain (unquoted) scalar: `no` is text, `0o17` an integer, `1e-5` a float, `1-2j` complex.

    Raises OverflowError for a number too large for a float, ValueError for an integer with too many digits, and
    ArithmeticError for a number that is not zero but too small for a float.
    """
    if text in _WORDS:
        return _WORDS[text]
    if text.endswith("j") and (parts := COMPLEX.fullmatch(text)):
        return complex(*(float(parse_scalar((part or "0").removeprefix("+"))) for part in parts.groups()))
    match = _NUMBER.fullmatch(text)
    if match is None or match.lastgroup is None:
        return text
    form = match.lastgroup
    if form in _BASES:
        integer = int(match[form], _BASES[form])
        float(integer)  # raises OverflowError
        return integer
    number = float(text) if form == "real" else float.fromhex(text)
    if math.isinf(number):
        raise OverflowError
    if number == 0 and re.search(
        r"[1-9a-f]", re.split("p" if form == "bits" else "[eE]", text.lower())[0].lstrip("+-0x")
    ):
        raise ArithmeticError
    return number


class _Builder:
    """Builds data from parser events and collects flaws.  Recursion is limited to MAX_DEPTH."""

    def __init__(self, events: Iterator[Any]) -> None:
        self.events = events
        self.flaws: list[Flaw] = []
        self.positions: dict[Path, Position] = {}
        self.key_positions: dict[Path, Position] = {}

    def document(self) -> Any:
        data = None
        starts = 0
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                starts += 1
                if starts == 2:
                    self.add_flaw(event, "a second document begins (expected one document in a file)")
            elif isinstance(event, yaml.NodeEvent):
                value = self.node(event, ())
                data = value if starts == 1 else data
        self.positions.setdefault((), Position(1, 1))  # for an empty file
        return data

    def node(self, event: Any, path: Path) -> Any:
        self.positions.setdefault(path, _position(event))  # of two equal keys, the first counts
        if len(path) > MAX_DEPTH:
            raise yaml.MarkedYAMLError(
                problem=f"more than {MAX_DEPTH} levels of nesting", problem_mark=event.start_mark
            )
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            self.add_flaw(
                event, "anchors and aliases are not used here (write the value out, or state it in `defaults`)"
            )
        if isinstance(event, yaml.AliasEvent):
            return None
        if event.tag is not None:
            self.add_flaw(event, f"the tag {event.tag!r} is not used here (quote what should be text)")
        if isinstance(event, yaml.SequenceStartEvent):
            return [
                self.node(item, (*path, index)) for index, item in enumerate(self.events_until(yaml.SequenceEndEvent))
            ]
        if isinstance(event, yaml.MappingStartEvent):
            return self.mapping(path)
        return self.scalar(event)

    def mapping(self, path: Path) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for event in self.events_until(yaml.MappingEndEvent):
            key = self.key(event, path)
            value_path = (*path, "?" if key is None else key)
            repeated = key in data
            if repeated:
                line = self.key_positions[value_path].line
                self.add_flaw(event, f"the key {key!r} is given twice (the first is on line {line})")
            self.key_positions.setdefault(value_path, _position(event))
            value = self.node(next(self.events), value_path)
            if key is not None and not repeated:
                data[key] = value
        return data

    def key(self, event: Any, path: Path) -> str | None:
        """The key, or None if it is refused because it is not text or is a merge key."""
        value = self.scalar(event) if isinstance(event, yaml.ScalarEvent) else self.node(event, (*path, "?"))
        if isinstance(value, str) and not (value == "<<" and event.implicit[0]):
            return value
        if value == "<<":
            self.add_flaw(event, "merge keys are not used here (state what is shared in `defaults`)")
        else:
            self.add_flaw(event, "this key is not text (expected a name; quote it if it is one)")
        return None

    def scalar(self, event: Any) -> Any:
        if not event.implicit[0]:  # quoted
            return event.value
        try:
            return parse_scalar(event.value)
        except (OverflowError, ValueError):  # ValueError: more digits than Python converts
            self.add_flaw(event, f"the number {event.value[:40]} is too large (write .inf for infinity)")
        except ArithmeticError:
            self.add_flaw(event, f"the number {event.value[:40]} is too small (write 0 for zero)")
        return 0

    def events_until(self, end: type[yaml.Event]) -> Iterator[Any]:
        while not isinstance(event := next(self.events), end):
            yield event

    def add_flaw(self, event: Any, message: str) -> None:
        self.flaws.append(Flaw(_position(event), message))


def _position(event: Any) -> Position:
    return Position(event.start_mark.line + 1, event.start_mark.column + 1)


def _decode(content: bytes) -> str:
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8")
        message = f"byte {content[error.start]:#04x} is not UTF-8 (expected a file saved as UTF-8)"
        raise YamlError([Flaw(_end_position(before), message)], None) from None


def _syntax_flaw(error: yaml.YAMLError, text: str) -> Flaw:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        position = Position(error.problem_mark.line + 1, error.problem_mark.column + 1)
        context = f" ({error.context})" if error.context else ""
        return Flaw(position, f"not valid YAML: {error.problem}{context}")
    # The only other error is a character that YAML forbids everywhere, so its first occurrence is the position.
    character = chr(getattr(error, "character", 0))
    position = _end_position(text.partition(character)[0])
    return Flaw(position, f"not valid YAML: the character {character!r} is not allowed")


def _end_position(text: str) -> Position:
    return Position(text.count("\n") + 1, len(text) - text.rfind("\n"))
