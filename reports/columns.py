"""Records as columns: what a page holds of tens of thousands of checks.

An id and a command are those of the record, as they are.  Fields whose values repeat are tables; whatever else repeats
is left to compression (`reports.html`), which finds more of it in columns than in rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from reports.formula import formula
from reports.read import RunError
from reports.script import command

PLACE, SETTING = ("backend", "device", "implementation"), ("mode", "dtype", "direction")
REPEATED = ("case", "verdict", "reason", "deviation", "bound", "weak", "repeatable", "output_dtype", "output_shape")
OWN = ("id", "again", "worst")
NUMBERS = ("error_ratio", "max_ulp", "max_abs", "rms", "bias", "seconds")
LONGEST_FIELD = 2000  # characters of a case's field that a page shows; literal operands can be pages


def columns(records: Sequence[Mapping[str, Any]], statements: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The records of a run by columns and tables, and their cases; RunError where a case was not written.

    The cases are in the order of their table, and `script` is the command that prints a check as a program.
    """
    stated = {each["case"]: each for each in statements}
    first: dict[str, Mapping[str, Any]] = {}
    for record in records:
        first.setdefault(record["case"], record)
    return {
        "cases": [_case(record, stated) for record in first.values()],
        "tables": {
            "place": table([record[name] for name in PLACE] for record in records),
            "setting": table([record[name] for name in SETTING] for record in records),
            **{name: table(record[name] for record in records) for name in REPEATED},
        },
        "columns": {
            **{name: [record[name] for record in records] for name in OWN},
            **{name: [_short(record[name]) for record in records] for name in NUMBERS},
            "script": [command(record) for record in records],
        },
    }


def table(values: Iterable[Any]) -> dict[str, list[Any]]:
    """Each value once, in the order in which it was first met, and for all of them (`of`) their places there."""
    distinct: list[Any] = []
    places: dict[str, int] = {}
    of = []
    for value in values:
        place = places.setdefault(repr(value), len(distinct))
        if place == len(distinct):
            distinct.append(value)
        of.append(place)
    return {"values": distinct, "of": of}


def _case(record: Mapping[str, Any], stated: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What a page shows of a case; `names` are the letters that the formula gives to the operands."""
    statement = stated.get(record["case"])
    if statement is None:
        raise RunError(f"the run does not say what the case {record['case']} is: was its cases.jsonl cut off?")
    found = formula(statement)
    config = {name: _field(value) for name, value in statement["config"].items() if value is not None}
    return {
        **{name: record[name] for name in ("case", "file", "line", "kind")},
        **{"about": config.pop("about", None), "source": config.pop("source", None), "config": config},
        **{name: statement[name] for name in ("data", "shapes")},
        "formula": found.lines if found else [],
        "notes": found.notes if found else [],
        "names": found.names if found else [],
    }


def _field(value: Any) -> Any:
    """A field as it is, or the beginning of its text where it is long."""
    text = json.dumps(value)
    return value if len(text) <= LONGEST_FIELD else text[:LONGEST_FIELD] + " …"


def _short(number: Any) -> Any:
    """Four digits of a number; "inf" and "nan" stay as they are."""
    return float(f"{number:.4g}") if isinstance(number, float) else number
