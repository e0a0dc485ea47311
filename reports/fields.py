"""What a run's files must hold for the reports to read them: the required fields and their types.

`record.schema.json` describes all of the format, for other programs; this is the part without which nothing can be
shown, checked for each of many thousands of lines.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

from specs.verdict.record import VERDICTS, find_contradiction

Types = tuple[type, ...]
TEXT, NUMBER, LIST, OBJECT, FLAG = (str,), (int, float, str), (list,), (dict,), (bool,)
NOTHING = type(None)
NUMBERS_AS_TEXT = ("error_ratio", "max_ulp", "max_abs", "rms", "bias")  # such as "inf"

RECORD: Final[Mapping[str, Types]] = {
    **dict.fromkeys(("id", "file", "case", "kind", "backend", "device"), TEXT),
    **dict.fromkeys(("implementation", "mode", "dtype", "direction", "verdict", "reason", "again"), TEXT),
    "line": (int,),
    "deviation": (dict, NOTHING),
    "observed": (dict, NOTHING),
    "repeatable": (bool, NOTHING),
    "weak": (dict, NOTHING),
    "seconds": (int, float),
    **dict.fromkeys(NUMBERS_AS_TEXT, (*NUMBER, NOTHING)),
    "worst": (dict, NOTHING),
    "output_dtype": (str, NOTHING),
    "output_shape": (list, NOTHING),
    "digest": (str, NOTHING),
    "nan": (int, str, NOTHING),
    "infinite": (int, str, NOTHING),
    "bound": OBJECT,
}
CASE: Final[Mapping[str, Types]] = {
    "case": TEXT,
    "kind": TEXT,
    "config": OBJECT,
    "data": TEXT,
    "shapes": (dict, NOTHING),
}
FACTS: Final[Mapping[str, Types]] = {"complete": FLAG, "backends": OBJECT}
# What an older version of the suite may not have written, and what stands for it
LATER: Final[Mapping[str, tuple[Types, Any]]] = {
    "started": (TEXT, ""),
    "finished": ((str, NOTHING), None),
    "exit_status": ((int, NOTHING), None),
    "unmet": (OBJECT, {}),
    "selection": (OBJECT, {}),
    "broken_case_files": (OBJECT, {}),
    "stale_deviations": (LIST, []),
    "packages": (OBJECT, {}),
    "suite": (OBJECT, {}),
    "verdicts": (OBJECT, {}),
    "command": (TEXT, ""),
    "ended_in": (TEXT, ""),
    "hosts": (OBJECT, {}),
    "checksums": (OBJECT, {}),
    "silent_deviations": ((dict, NOTHING), None),
    "changes": ((dict, NOTHING), None),
}
# Of the values of a mapping
INNER: Final[Mapping[str, Types]] = {
    **dict.fromkeys(("backends", "hosts"), OBJECT),
    **dict.fromkeys(("unmet", "checksums"), TEXT),
    "silent_deviations": FLAG,
    "broken_case_files": LIST,
    "verdicts": (int,),
}
FINDING = ("version", "reason", "next_step")
WORDS = {str: "text", int: "an integer", float: "a number", list: "a list", dict: "an object", bool: "true or false"}
WORDS |= {NOTHING: "null"}


def parse(text: str) -> Any:
    """A value of JSON; ValueError for anything that JSON has not, or that would exhaust its reader."""
    try:
        return json.loads(text, parse_constant=_refuse, parse_float=_number, parse_int=_integer)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def completed(facts: dict[str, Any]) -> dict[str, Any]:
    """The facts with what stands for those that readers ask for and that are not there."""
    asked = ("started", "finished", "exit_status", "unmet", "broken_case_files", "stale_deviations", "command")
    missing = {name: LATER[name][1] for name in (*asked, "hosts", "checksums") if name not in facts}
    findings = {name: dict.fromkeys(FINDING) | finding for name, finding in facts["backends"].items()}
    selection = {"paths": [], "backend": [], **facts.get("selection", {})}
    plain = {"python": "", "platform": "", "processor": "", "cpus": None}
    return {**plain, **facts, **missing, "backends": findings, "selection": selection}


def flaw(data: Mapping[str, Any], required: Mapping[str, Types]) -> str | None:
    """What is wrong with an object that must have these fields; None if nothing is."""
    for name, types in required.items():
        if name not in data:
            return f"there is no `{name}`"
        if wrong := _wrong_type(f"`{name}`", data[name], types):
            return wrong
    if required is RECORD:
        return _flaw_of_record(data)
    return _flaw_of_facts(data) if required is FACTS else None


def _flaw_of_record(record: Mapping[str, Any]) -> str | None:
    if record["verdict"] not in VERDICTS:
        return f"`verdict` is {record['verdict']!r:.60}, where one of {', '.join(VERDICTS)} is required"
    if record["weak"] and not {"reason", "mark"} <= record["weak"].keys():
        return "`weak` has no `reason` and `mark`"
    for name in NUMBERS_AS_TEXT:
        if isinstance(record[name], str):
            try:
                float(record[name])
            except ValueError:
                return f"`{name}` is {record[name]!r:.60}, which is no number"
    ratio = record["error_ratio"]
    return find_contradiction(record["verdict"], ratio if ratio is None else float(ratio))


def _flaw_of_facts(data: Mapping[str, Any]) -> str | None:
    for name, (types, _) in LATER.items():
        if name in data and (wrong := _wrong_type(f"`{name}`", data[name], types)):
            return wrong
    for name, types in INNER.items():
        for key, value in (data.get(name) or {}).items():
            if wrong := _wrong_type(f"`{key:.60}` in `{name}`", value, types):
                return wrong
    return None


def _wrong_type(place: str, value: Any, types: Types) -> str | None:
    if type(value) in types:
        return None
    given = WORDS.get(type(value), "something else")
    return f"{place} is {given}, where {' or '.join(WORDS[kind] for kind in types)} is required"


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text:.40} is larger than any number that can be read")
    return number


def _integer(text: str) -> int:
    if len(text) > 17:
        raise ValueError(f"{text:.20}… is larger than any integer that the suite writes")
    return int(text)
