"""Compare two runs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from reports.compare.change import Change, find_changes
from reports.compare.model import Comparison, Difference, OneSided, Side
from reports.compare.outcome import Record
from reports.compare.shift import compare_speed, count_changed_bits, family, find_grown_errors
from reports.read import Run

# Fields of a case that select its checks but do not affect what a check computes
IGNORED_FIELDS = frozenset({"about", "source", "dtypes", "gradient", "modes", "implementations"})
KINDS = ("failing", "behaviour", "error ratio", "fixed")
# From coarse to fine: the first of these whose value the other run lacks is the reason why a check is missing there
DIMENSIONS = ("backend", "device", "implementation", "mode", "dtype", "direction")


def side(run: Run) -> Side:
    """A run as one side of a comparison; raises RunError if a record cannot be read."""
    records = {record["id"]: record for record in run.records()}
    return Side(str(run.folder), run.facts, records, _statements(run), tuple(_warnings(run)))


def compare(old: Side, new: Side, allow: Sequence[str] = ()) -> Comparison:
    """What changed; `allow` are patterns (`*` and `?`) of the ids of checks whose changes are accepted."""
    new = replace(new, warnings=(*new.warnings, *_left_out(old, new)))
    edited = {case for case, statement in new.statements.items() if old.statements.get(case, statement) != statement}
    common = [name for name in new.records if name in old.records]
    pairs = [(old.records[name], new.records[name]) for name in common if new.records[name]["case"] not in edited]
    judged = [pair for pair in pairs if pair[0]["verdict"] != "error"]
    patterns = {pattern: compile_glob(pattern) for pattern in allow}
    used: set[str] = set()
    changes = [_allowed(change, patterns, used) for pair in judged for change in find_changes(*pair)]
    changes.sort(key=lambda change: (KINDS.index(change.kind), not change.worse, change.allowed))
    same = [pair for pair in judged if _same_verdict(*pair)]
    return Comparison(
        old=old,
        new=new,
        compared=len(judged),
        differences=tuple(find_differences(old.facts, new.facts)),
        lost=_lost(old, new),
        edited=tuple(sorted(edited)),
        changes=tuple(changes),
        errors=tuple(find_grown_errors(same)),
        bits=tuple(count_changed_bits(same)),
        speed=compare_speed(same if _same_machine(old.facts, new.facts) else [], _same_versions(old.facts, new.facts)),
        only_old=tuple(count_one_sided(old, new)),
        only_new=tuple(count_one_sided(new, old)),
        still_failing=sum({old["verdict"], new["verdict"]} <= {"fail", "error"} for old, new in pairs),
        not_judged=len(pairs) - len(judged),
        unused=tuple(pattern for pattern in allow if pattern not in used),
    )


def compile_glob(pattern: str) -> re.Pattern[str]:
    """`*` and `?` as in file names; brackets are literal, because ids of checks contain them."""
    parts = ({"*": ".*", "?": "."}.get(character, re.escape(character)) for character in pattern)
    return re.compile("".join(parts), re.DOTALL)


def _allowed(change: Change, patterns: Mapping[str, re.Pattern[str]], used: set[str]) -> Change:
    matching = {text for text, pattern in patterns.items() if change.worse and pattern.fullmatch(change.where["id"])}
    used |= matching
    return replace(change, allowed=True) if matching else change


def _same_verdict(old: Record, new: Record) -> bool:
    return old["verdict"] == new["verdict"] and old["verdict"] != "error"


# What the runs were made with -----------------------------------------------------------------------------------------


def find_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Difference]:
    """Versions, settings, devices and parts of the suite, as flat names such as `jax.settings.enable_x64`."""
    one, other = _flat(old), _flat(new)
    for name in dict.fromkeys([*one, *other]):
        before, after = one.get(name), other.get(name)
        if before != after:
            yield Difference(name, before, after)


def _flat(facts: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {
        name: facts.get(name) for name in ("tier", "project", "python", "platform", "machine", "cpus")
    }
    flat |= {f"suite: {name}": text for name, text in facts.get("suite", {}).items()}
    flat |= facts.get("packages", {})
    for name, backend in facts.get("backends", {}).items():
        flat[f"{name}: devices"] = ", ".join(backend.get("devices") or {}) or None
        flat |= {f"{name}: {setting}": value for setting, value in (backend.get("settings") or {}).items()}
    return flat


def _same_machine(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    return all(old.get(name) == new.get(name) for name in ("platform", "machine", "cpus"))


def _same_versions(old: Mapping[str, Any], new: Mapping[str, Any]) -> set[str]:
    """Backends with the same versions on both sides; none if the Python versions differ."""
    if old.get("python") != new.get("python"):
        return set()
    before, after = old.get("backends", {}), new.get("backends", {})
    return {name for name in before if name in after and before[name].get("versions") == after[name].get("versions")}


def _warnings(run: Run) -> Iterator[str]:
    yield from run.gaps()
    for file in run.facts["broken_case_files"]:
        yield f"{file} could not be used, so none of its cases ran"


def _left_out(old: Side, new: Side) -> Iterator[str]:
    """What a session did not run of what it selected, where the other side has more."""
    selection = new.facts.get("selection") or {}
    if selection.get("left_out") and old.records.keys() - new.records.keys():
        yield f"{selection['left_out']:,} of the {selection['checks']:,} checks that it selected were left out"


def _statements(run: Run) -> dict[str, Any]:
    """What each case computes, by id."""
    return {
        statement["case"]: {name: value for name, value in statement["config"].items() if name not in IGNORED_FIELDS}
        for statement in run.cases()
    }


# What ran on one side only --------------------------------------------------------------------------------------------


def _lost(old: Side, new: Side) -> dict[str, str]:
    """Backends that had checks in the old run, and were found broken in the new run, with the reason."""
    ran = {record["backend"] for record in old.records.values()}
    backends = {name: facts for name, facts in new.facts.get("backends", {}).items() if name in ran}
    return {name: str(facts.get("reason")) for name, facts in backends.items() if facts.get("status") == "broken"}


def count_one_sided(here: Side, there: Side) -> list[OneSided]:
    """The checks that only `here` has, counted by the coarsest reason why they did not run `there`, largest first."""
    present = {name: {record[name] for record in there.records.values()} for name in DIMENSIONS}
    present["family"] = {family(record["case"]) for record in there.records.values()}
    present["case"] = {record["case"] for record in there.records.values()}
    offered = {(record["backend"], record["implementation"]) for record in there.records.values()}
    missing = Counter(
        _missing(record, present, offered) for name, record in here.records.items() if name not in there.records
    )
    return [OneSided(what, count) for what, count in missing.most_common()]


def _missing(record: Record, present: Mapping[str, set[str]], offered: set[tuple[str, str]]) -> str:
    for name in DIMENSIONS:
        if record[name] not in present[name]:
            return f"{name} {record[name]}"
    if (record["backend"], record["implementation"]) not in offered:
        return f"implementation {record['implementation']} of {record['backend']}"
    if family(record["case"]) not in present["family"]:
        return f"cases of {family(record['case'])}"
    if record["case"] not in present["case"]:
        return f"case {record['case']}"
    return f"single checks of {family(record['case'])}"
