"""Where a run's files are not as their format says: looked for once reading them has failed.

Readers check what all of them need (`reports.fields`); this checks all that `record.schema.json` describes, and the
fields of cases by their models, which would take too long for each of many thousands of lines.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from reports.folders import CASES, RECORDS, RUN
from specs.verdict.statement import read_config

SCHEMA: Final = Path(__file__).with_name("record.schema.json")
TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def find_damage(folder: Path) -> str | None:
    """The first such place in a folder, as a sentence that begins with file and line; None if there is none."""
    definitions = json.loads(SCHEMA.read_text(encoding="utf-8"))["$defs"]
    definitions["run"].pop("required")  # an older version of the suite wrote fewer facts
    for part, name in (("case", CASES), ("record", RECORDS), ("run", RUN)):
        for place, value in _values(folder / name):
            for flaw in _flaws(value, definitions[part], definitions, ""):
                return f"{place}: {flaw}"
            if part == "case" and (wrong := _flaw_of_config(value)):
                return f"{place}: {wrong}"
    return None


def _values(file: Path) -> Iterator[tuple[str, Any]]:
    """What a file holds, with its places; only of lines that can be read at all, as readers tell of the others."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
        lines = [text] if file.name == RUN else text.split("\n")
        for number, line in enumerate(lines, 1):
            if line:
                yield str(file) if file.name == RUN else f"{file}:{number}", json.loads(line)
    except (OSError, ValueError, RecursionError):
        return


def _flaws(value: Any, schema: Mapping[str, Any], definitions: Mapping[str, Any], place: str) -> Iterator[str]:
    """What is wrong with a value, by those words of JSON Schema that this schema uses; none for fields it lacks."""
    if reference := schema.get("$ref"):
        yield from _flaws(value, definitions[reference.rpartition("/")[2]], definitions, place)
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and type(value) not in [type_ for kind in kinds for type_ in TYPES[kind]]:
        yield f"`{place}` is {value!r:.60}, where {' or '.join(kinds)} is required"
    elif "enum" in schema and value not in schema["enum"]:
        yield f"`{place}` is {value!r:.60}, where one of {', '.join(schema['enum'])} is required"
    elif "pattern" in schema and isinstance(value, str) and not re.search(schema["pattern"], value):
        yield f"`{place}` is {value!r:.60}, which is no number"
    elif isinstance(value, dict):
        inner = schema.get("properties", {})
        others = schema.get("additionalProperties")
        yield from (f"there is no `{_join(place, name)}`" for name in schema.get("required", ()) if name not in value)
        for name, item in value.items():
            if isinstance(of_item := inner.get(name, others), dict):
                yield from _flaws(item, of_item, definitions, _join(place, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _flaws(item, schema.get("items", {}), definitions, f"{place}[{index}]")


def _join(place: str, name: str) -> str:
    return f"{place}.{name:.60}" if place else f"{name:.60}"


def _flaw_of_config(statement: Mapping[str, Any]) -> str | None:
    """What is wrong with the fields of a case."""
    try:
        read_config(statement)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, ("config", *first["loc"])))
        return f"`{field}` is wrong: {first['msg'][0].lower()}{first['msg'][1:]}"
    return None
