"""Records as columns: what a page holds of tens of thousands of checks, in about a tenth of their size.

Whatever repeats stands in a list once, and a column holds its places there: cases, places (backend, device,
implementation), settings (mode, dtype, direction), reasons.  An id is made again of these, and so is a command.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from reports.formula import formula
from reports.read import RunError
from specs.verdict.record import VERDICTS

PLACE, SETTING = ("backend", "device", "implementation"), ("mode", "dtype", "direction")
TABLES = ("places", "settings", "reasons", "deviations", "outputs", "bounds", "commands")
LONGEST_FIELD = 2000  # characters of a case's field that a page shows; literal operands can be pages


class Table:
    """Each value once, in the order in which it was first seen."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self.places: dict[str, int] = {}

    def add(self, value: Any) -> int:
        """The place of a value."""
        key = value if isinstance(value, str) else repr(value)
        place = self.places.setdefault(key, len(self.values))
        if place == len(self.values):
            self.values.append(value)
        return place


def columns(records: Iterable[Mapping[str, Any]], statements: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The records of a run by columns, their tables and their cases; RunError where a case was not written."""
    stated = {each["case"]: each for each in statements}
    tables = {name: Table() for name in TABLES}
    cases: dict[str, int] = {}
    shown: list[dict[str, Any]] = []
    rows: list[tuple[Any, ...]] = []
    odd_ids: dict[int, str] = {}
    for number, record in enumerate(records):
        case = cases.setdefault(record["case"], len(cases))
        if case == len(shown):
            shown.append(_case(record, stated))
        if record["id"] != _usual_id(record):
            odd_ids[number] = record["id"]
        worst = record["worst"] or {}
        before, _, after = record["again"].partition(shlex.quote(record["id"]))
        rows.append(
            (
                case,
                tables["places"].add([record[name] for name in PLACE]),
                tables["settings"].add([record[name] for name in SETTING]),
                VERDICTS.index(record["verdict"]),
                tables["reasons"].add(record["reason"]),
                tables["deviations"].add(record["deviation"]),
                tables["outputs"].add([record["output_dtype"], record["output_shape"]]),
                tables["bounds"].add(record["bound"]),
                tables["commands"].add([before, after]),
                _short(record["error_ratio"]),
                _short(record["max_ulp"]),
                _short(record["max_abs"]),
                _short(record["rms"]),
                _short(record["bias"]),
                _short(record["seconds"]),
                record["repeatable"],
                tables["reasons"].add(_weakness(record["weak"])),
                ",".join(map(str, worst.get("index", []))),
                worst.get("expected", ""),
                worst.get("got", ""),
                worst.get("bound", ""),
            )
        )
    names = (
        *("case", "place", "setting", "verdict", "reason", "deviation", "output", "bound", "command"),
        *("ratio", "ulp", "abs", "rms", "bias", "seconds", "repeatable", "weak", "index", "expected", "got", "limit"),
    )
    by_column = zip(*rows, strict=True) if rows else ((),) * len(names)
    return {
        "count": len(rows),
        "columns": dict(zip(names, by_column, strict=True)),
        "cases": shown,
        "odd_ids": odd_ids,
        **{name: table.values for name, table in tables.items()},
    }


def _usual_id(record: Mapping[str, Any]) -> str:
    name = record["case"].partition("::")[2]
    parts = [record[part] for part in (*PLACE, "mode", "dtype")] + ["grad"] * (record["direction"] == "grad")
    return f"{record['file']}::{name}[{'-'.join(parts)}]"


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


def _weakness(weak: Mapping[str, Any] | None) -> str:
    """Why a check proves little, and what its case says to that."""
    if weak is None:
        return ""
    return f"{weak['reason']} ({weak['mark'] or 'its case does not say why it is worth having'})"


def _field(value: Any) -> Any:
    """A field as it is, or the beginning of its text where it is long."""
    text = json.dumps(value)
    return value if len(text) <= LONGEST_FIELD else text[:LONGEST_FIELD] + " …"


def _short(number: Any) -> Any:
    """Four digits of a number; "inf" and "nan" stay as they are."""
    return float(f"{number:.4g}") if isinstance(number, float) else number
