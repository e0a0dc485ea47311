"""The answer in words, in the order in which one asks: the same sections for every way of showing them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from reports.compare.change import FACTOR, FLOOR, Change
from reports.compare.model import Comparison, OneSided, Side

Tone = Literal["good", "bad", "plain"]


@dataclass(frozen=True)
class Section:
    """A question, the answer in a sentence, and the evidence as a table; the last column may be long."""

    title: str
    said: str
    heads: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    tone: Tone = "plain"


def sections(found: Comparison) -> list[Section]:
    """All of them; one without anything to say says that."""
    return [
        Section("Is it safe?", verdict(found), tone=_tone(found)),
        _head(found),
        _changes(found, "failing", "Newly failing", f"No check newly fails{_still(found)}."),
        _changes(found, "behaviour", "Behaviour changed", "No check behaves otherwise."),
        _errors(found),
        _bits(found),
        _speed(found),
        _changes(found, "mended", "Mended", "Nothing that failed is right now."),
        _not_compared(found),
    ]


# Is it safe -----------------------------------------------------------------------------------------------------------


def verdict(found: Comparison) -> str:
    """One sentence, and a second one where something is needed to read the first."""
    checks = _count(found.compared, "check")
    if not found.compared:
        return "Not known: no check ran in both runs."
    if not found.regressed:
        told = f"all {checks} that ran in both runs behave as before" if not found.changes else _harmless(found, checks)
        sentence = f"Safe: {told}." if found.known else f"Not known, because the new run is not whole; so far {told}."
    else:
        sentence = f"Not safe: {_regressions(found)}; {checks} compared."
    return sentence + _allowed(found)


def _harmless(found: Comparison, checks: str) -> str:
    others = sum(not change.worse for change in found.changes)
    changed = f"{_count(others, 'check')} changed, and not for the worse" if others else "what is worse is allowed"
    return f"nothing became worse in the {checks} that ran in both runs ({changed})"


def _regressions(found: Comparison) -> str:
    kinds = [change.kind for change in found.regressions]
    counts = {
        "{} newly fail": kinds.count("failing"),
        "{} behave otherwise": kinds.count("behaviour"),
        "{} have a larger error": kinds.count("error ratio"),
    }
    told = [text.format(_count(count, "check")) for text, count in counts.items() if count]
    told += [f"errors grew in {_count(len(found.errors), 'group')}"] if found.errors else []
    told += [f"{name} cannot be used" for name in found.lost]
    return ", ".join(told).replace("1 check newly fail", "1 check newly fails").replace(
        "1 check behave ", "1 check behaves "
    ).replace("1 check have", "1 check has")  # fmt: skip


def _allowed(found: Comparison) -> str:
    allowed = sum(change.allowed for change in found.changes)
    said = f"  {_count(allowed, 'change')} for the worse {'is' if allowed == 1 else 'are'} allowed." if allowed else ""
    return said + "".join(f"  `--allow {pattern}` allowed nothing." for pattern in found.unused)


def _tone(found: Comparison) -> Tone:
    return "good" if found.known and not found.regressed else "bad"


# What was compared ----------------------------------------------------------------------------------------------------


def _head(found: Comparison) -> Section:
    sides = (found.old, found.new)
    rows: list[tuple[str, ...]] = [
        ("run", *(side.name for side in sides)),
        ("begun", *(str(side.facts.get("started") or "?") for side in sides)),
        *((each.name, _value(each.old), _value(each.new)) for each in found.differences),
    ]
    warnings = [f"{label} run: {text}." for label, side in _sides(found) for text in side.warnings]
    said = " ".join(warnings) or ("The runs differ in:" if found.differences else "Made alike: no version differs.")
    heads = ("", "old", "new")
    return Section("What was compared", said, heads, tuple(rows), "bad" if warnings else "plain")


def _sides(found: Comparison) -> list[tuple[str, Side]]:
    return [("The old", found.old), ("The new", found.new)]


def _value(value: Any) -> str:
    return "-" if value is None else ", ".join(map(str, value)) if isinstance(value, list) else str(value)


# Changes of single checks ---------------------------------------------------------------------------------------------

CHANGE_HEADS = ("", "checks", "what", "case", "on", "modes and dtypes", "before", "after", "one of them")


def _changes(found: Comparison, kind: str, title: str, nothing: str) -> Section:
    members = [change for change in found.changes if change.kind == kind]
    lost = [("✕", "all", "cannot be used", "every case", name, "", "ran", reason, "") for name, reason in
            found.lost.items() if kind == "failing"]  # fmt: skip
    if not members and not lost:
        return Section(title, nothing)
    worse = sum(change.worse and not change.allowed for change in members)
    groups = _grouped(members)
    said = f"{_count(len(members), 'check')} in {_count(len(groups), 'group')}"
    if kind == "behaviour":
        said += f"; {worse or 'none'} for the worse"
    if kind == "failing":
        said += _still(found)
    tone: Tone = "bad" if worse or lost else "plain"
    return Section(title, said + ".", CHANGE_HEADS, (*lost, *map(_row, groups)), tone)


def _still(found: Comparison) -> str:
    return f"; {_count(found.still_failing, 'check')} failed already" if found.still_failing else ""


def _grouped(changes: Iterable[Change]) -> list[list[Change]]:
    """Changes of one case on one implementation that say the same, numbers apart; in the order of their first."""
    groups: dict[tuple[Any, ...], list[Change]] = {}
    for change in changes:
        where = (change.where[name] for name in ("case", "backend", "device", "implementation"))
        said = (re.sub(r"[\d.]+(e[+-]\d+)?", "#", text) for text in (change.what, change.before, change.after))
        key = (change.kind, change.worse, change.allowed, change.same_bits, *where, *said)
        groups.setdefault(key, []).append(change)
    return list(groups.values())


def _row(group: list[Change]) -> tuple[str, ...]:
    first = group[0]
    where = first.where
    varying = [
        " ".join(dict.fromkeys(change.where[name] for change in group)) for name in ("mode", "dtype", "direction")
    ]
    mark = "allowed" if first.allowed else "✕" if first.worse else "○"
    after = first.after + (" (the same bits as before: the suite judges otherwise)" if first.same_bits else "")
    place = f"{where['backend']} {where['device']} {where['implementation']}"
    told = (first.what, where["case"], place, " | ".join(varying), first.before, after, where["id"])
    return mark, str(len(group)), *told


# Groups ---------------------------------------------------------------------------------------------------------------


def _errors(found: Comparison) -> Section:
    title = "Error ratio grown"
    single = [change for change in found.changes if change.kind == "error ratio"]
    rule = f"more than {FACTOR:g} times the earlier one and more than {FLOOR:g} of the bound"
    if not single and not found.errors:
        return Section(title, f"No error ratio grew past the limit ({rule}), and no group's errors grew as a whole.")
    rows = []
    for shift in found.errors:
        factor, place = f"group grown {shift.factor:.2g} times", _place(shift.group)
        medians = (f"{shift.before:.3g} of the bound", f"{shift.after:.3g} of the bound")
        rows.append(("✕", str(shift.checks), factor, "all with other bits", place, "", *medians, ""))
    said = f"{_count(len(single), 'check')} past the limit ({rule}); {_count(len(found.errors), 'group')} as a whole."
    return Section(title, said, CHANGE_HEADS, (*rows, *map(_row, _grouped(single))), "bad")


def _bits(found: Comparison) -> Section:
    changed = sum(each.changed for each in found.bits)
    if not changed:
        return Section("Bits changed", "Every result that could be compared has the same bits.")
    said = f"{_count(changed, 'result')} {'has' if changed == 1 else 'have'} other bits and the same verdict."
    heads = ("changed", "of", "cases of", "on", "dtype")
    rows = [
        (str(e.changed), str(e.of), e.group["family"], f"{e.group['backend']} {e.group['implementation']}",
         e.group["dtype"])
        for e in found.bits
    ]  # fmt: skip
    return Section("Bits changed", said, heads, tuple(rows))


def _speed(found: Comparison) -> Section:
    title, yardstick = "Speed changed", found.speed.yardstick
    if yardstick is None:
        why = "no backend ran that kept its version, so how busy the machine was is not known"
        return Section(title, f"Speed is not compared: {why}.")
    if not found.speed.shifts:
        return Section(title, "No group of checks clearly became slower or faster.")
    said = f"Measured against backends that kept their version, which took {yardstick:.2f} times as long as before."
    heads = ("times as long", "checks", "agreeing", "on", "median before", "median after")
    ordered = sorted(found.speed.shifts, key=lambda shift: -shift.factor)
    rows = [
        (f"{s.factor:.2f}", str(s.checks), f"{s.share:.0%}", _place(s.group), _seconds(s.before), _seconds(s.after))
        for s in ordered
    ]
    return Section(title, said, heads, tuple(rows))


def _place(group: dict[str, Any]) -> str:
    return " ".join(group.values())


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 0.1 else f"{value * 1e3:.3g} ms"


# What could not be compared -------------------------------------------------------------------------------------------


def _not_compared(found: Comparison) -> Section:
    rows = [*_one_sided("old", found.only_old), *_one_sided("new", found.only_new)]
    rows += [("both", "", f"case {case}, which states something else") for case in found.edited]
    if found.not_judged:
        rows.append(("both", str(found.not_judged), "could not be judged in the old run (error)"))
    if not rows:
        return Section("Not compared", "Every check ran in both runs.")
    alone = [sum(each.checks for each in side) for side in (found.only_old, found.only_new)]
    said = f"{_count(alone[0], 'check')} ran in the old run only, {alone[1]} in the new run only."
    return Section("Not compared", said, ("run", "checks", "what"), tuple(rows))


def _one_sided(label: str, missing: Sequence[OneSided]) -> Iterator[tuple[str, ...]]:
    for each in missing:
        yield label, str(each.checks), each.what


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
