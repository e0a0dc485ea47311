"""Records as columns: the data of a page with tens of thousands of checks.

Ids and commands are stored verbatim.  Fields whose values repeat are stored as tables; other repetition is left to
compression (`reports.html`), which works better on columns than on rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from reports.formula import build_formula
from reports.read import RunError
from reports.script import build_command

PLACE, SETTING = ("backend", "device", "implementation"), ("mode", "dtype", "direction")
REPEATED = ("case", "verdict", "reason", "deviation", "bound", "weak", "repeatable", "output_dtype", "output_shape")
OWN = ("id", "again", "worst")
NUMBERS = ("error_ratio", "max_ulp", "max_abs", "rms", "bias", "seconds")
LONGEST_FIELD = 2000  # characters of a case's field shown on a page; literal operands can be very long


def to_columns(records: Sequence[Mapping[str, Any]], statements: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The records of a run as columns and tables, and their cases; raises RunError if a case has no statement.

    The cases are in the order of the `case` table; `script` is the command that prints a check as a program.
    """
    statement_of = {statement["case"]: statement for statement in statements}
    first_records: dict[str, Mapping[str, Any]] = {}
    for record in records:
        first_records.setdefault(record["case"], record)
    return {
        "cases": [_case(record, statement_of) for record in first_records.values()],
        "tables": {
            "place": to_table([record[name] for name in PLACE] for record in records),
            "setting": to_table([record[name] for name in SETTING] for record in records),
            **{name: to_table(record[name] for record in records) for name in REPEATED},
            "host": to_table(record.get("host") for record in records),
        },
        "columns": {
            **{name: [record[name] for record in records] for name in OWN},
            **{name: [_short(record[name]) for record in records] for name in NUMBERS},
            "script": [build_command(record) for record in records],
        },
    }


def to_table(values: Iterable[Any]) -> dict[str, list[Any]]:
    """The distinct values in order of first appearance, and for each input value its index among them (`of`)."""
    distinct: list[Any] = []
    places: dict[str, int] = {}
    of = []
    for value in values:
        place = places.setdefault(repr(value), len(distinct))
        if place == len(distinct):
            distinct.append(value)
        of.append(place)
    return {"values": distinct, "of": of}


def _case(record: Mapping[str, Any], statement_of: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The data of a case shown on the page; `names` are the letters of its operands in the formula."""
    statement = statement_of.get(record["case"])
    if statement is None:
        raise RunError(f"the run has no statement of the case {record['case']}: was its cases.jsonl cut off?")
    formula = build_formula(statement)
    config = {name: _field(value) for name, value in statement["config"].items() if value is not None}
    return {
        **{name: record[name] for name in ("case", "file", "line", "kind")},
        **{"about": config.pop("about", None), "source": config.pop("source", None), "config": config},
        **{name: statement[name] for name in ("data", "shapes")},
        "formula": formula.lines if formula else [],
        "notes": formula.notes if formula else [],
        "names": formula.names if formula else [],
    }


def _field(value: Any) -> Any:
    """A field unchanged, or the beginning of its JSON if that is too long."""
    text = json.dumps(value)
    return value if len(text) <= LONGEST_FIELD else text[:LONGEST_FIELD] + " …"


def _short(number: Any) -> Any:
    """A number rounded to four significant digits; the strings "inf" and "nan" are unchanged."""
    return float(f"{number:.4g}") if isinstance(number, float) else number
