"""A comparison in words, the most important question first: the same sections for every output format."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from reports.compare.change import FACTOR, FLOOR, Change
from reports.compare.model import Comparison, OneSided, Side

Tone = Literal["good", "bad", "plain"]


@dataclass(frozen=True)
class Section:
    """A question, the answer in a sentence, and the evidence as a table; the last column may be long."""

    title: str
    answer: str
    heads: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    tone: Tone = "plain"

    def as_json(self) -> dict[str, Any]:
        """As `run.json` holds it, where the answer is called `said`."""
        fields = asdict(self)
        return {"title": fields.pop("title"), "said": fields.pop("answer"), **fields}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        return cls(**{"answer" if name == "said" else name: value for name, value in data.items()})


def build_sections(comparison: Comparison) -> list[Section]:
    """All sections, always the same ones; a section without findings says so."""
    return [
        Section("Is it safe?", summarize(comparison), tone=_tone(comparison)),
        _head(comparison),
        _changes(comparison, "failing", "Newly failing", f"No check newly fails{_count_still_failing(comparison)}."),
        _changes(comparison, "behaviour", "Behaviour changed", "No check behaves differently."),
        _errors(comparison),
        _bits(comparison),
        _speed(comparison),
        _changes(comparison, "fixed", "Fixed", "No check that failed is right now."),
        _not_compared(comparison),
    ]


# Is it safe -----------------------------------------------------------------------------------------------------------


def summarize(comparison: Comparison) -> str:
    """Whether the change is safe, in one sentence, with a second one about `--allow` where it was used."""
    checks = _count(comparison.compared, "check")
    if not comparison.compared:
        return "Not known: no check ran in both runs."
    if not comparison.regressed:
        state = f"all {checks} that ran in both runs behave as before"
        if comparison.changes:
            state = _harmless(comparison, checks)
        sentence = f"Safe: {state}."
        if not comparison.is_conclusive:
            sentence = f"Not known, because the new run is not whole; so far {state}."
    else:
        sentence = f"Not safe: {_regressions(comparison)}; {checks} compared."
    return sentence + _allowed(comparison)


def _harmless(comparison: Comparison, checks: str) -> str:
    others = sum(not change.worse for change in comparison.changes)
    changed = (
        f"{_count(others, 'check')} changed, but not for the worse"
        if others
        else "all changes for the worse are allowed"
    )
    return f"nothing became worse in the {checks} that ran in both runs ({changed})"


def _regressions(comparison: Comparison) -> str:
    kinds = [change.kind for change in comparison.regressions]
    counts = {
        "{} newly fail": kinds.count("failing"),
        "{} behave differently": kinds.count("behaviour"),
        "{} have a larger error": kinds.count("error ratio"),
    }
    parts = [text.format(_count(count, "check")) for text, count in counts.items() if count]
    parts += [f"errors grew in {_count(len(comparison.errors), 'group')}"] if comparison.errors else []
    parts += [f"{name} cannot be used" for name in comparison.lost]
    return ", ".join(parts).replace("1 check newly fail", "1 check newly fails").replace(
        "1 check behave ", "1 check behaves "
    ).replace("1 check have", "1 check has")  # fmt: skip


def _allowed(comparison: Comparison) -> str:
    count = sum(change.allowed for change in comparison.changes)
    text = f"  {_count(count, 'change')} for the worse {'is' if count == 1 else 'are'} allowed." if count else ""
    return text + "".join(f"  `--allow {pattern}` allowed nothing." for pattern in comparison.unused)


def _tone(comparison: Comparison) -> Tone:
    return "good" if comparison.is_conclusive and not comparison.regressed else "bad"


# What was compared ----------------------------------------------------------------------------------------------------


def _head(comparison: Comparison) -> Section:
    sides = (comparison.old, comparison.new)
    rows: list[tuple[str, ...]] = [
        ("run", *(side.name for side in sides)),
        ("started", *(str(side.facts.get("started") or "?") for side in sides)),
        *((difference.name, _value(difference.old), _value(difference.new)) for difference in comparison.differences),
    ]
    warnings = [f"{label} run: {text}." for label, side in _sides(comparison) for text in side.warnings]
    answer = " ".join(warnings) or (
        "The runs differ in:" if comparison.differences else "No version or setting differs."
    )
    heads = ("", "old", "new")
    return Section("What was compared", answer, heads, tuple(rows), "bad" if warnings else "plain")


def _sides(comparison: Comparison) -> list[tuple[str, Side]]:
    return [("The old", comparison.old), ("The new", comparison.new)]


def _value(value: Any) -> str:
    return "-" if value is None else ", ".join(map(str, value)) if isinstance(value, list) else str(value)


# Changes of single checks ---------------------------------------------------------------------------------------------

CHANGE_HEADS = ("", "checks", "what", "case", "on", "modes and dtypes", "before", "after", "one of them")


def _changes(comparison: Comparison, kind: str, title: str, if_none: str) -> Section:
    members = [change for change in comparison.changes if change.kind == kind]
    lost = [("✕", "all", "cannot be used", "every case", name, "", "ran", reason, "") for name, reason in
            comparison.lost.items() if kind == "failing"]  # fmt: skip
    if not members and not lost:
        return Section(title, if_none)
    worse = sum(change.worse and not change.allowed for change in members)
    groups = _grouped(members)
    answer = f"{_count(len(members), 'check')} in {_count(len(groups), 'group')}"
    if kind == "behaviour":
        answer += f"; {worse or 'none'} for the worse"
    if kind == "failing":
        answer += _count_still_failing(comparison)
    tone: Tone = "bad" if worse or lost else "plain"
    return Section(title, answer + ".", CHANGE_HEADS, (*lost, *map(_row, groups)), tone)


def _count_still_failing(comparison: Comparison) -> str:
    return f"; {_count(comparison.still_failing, 'check')} failed already" if comparison.still_failing else ""


def _grouped(changes: Iterable[Change]) -> list[list[Change]]:
    """Changes of one case and implementation with equal texts, ignoring numbers; in order of first appearance."""
    groups: dict[tuple[Any, ...], list[Change]] = {}
    for change in changes:
        where = (change.where[name] for name in ("case", "backend", "device", "implementation"))
        texts = (re.sub(r"[\d.]+(e[+-]\d+)?", "#", text) for text in (change.what, change.before, change.after))
        key = (change.kind, change.worse, change.allowed, change.same_bits, *where, *texts)
        groups.setdefault(key, []).append(change)
    return list(groups.values())


def _row(group: list[Change]) -> tuple[str, ...]:
    first = group[0]
    where = first.where
    varying = [
        " ".join(dict.fromkeys(change.where[name] for change in group)) for name in ("mode", "dtype", "direction")
    ]
    mark = "allowed" if first.allowed else "✕" if first.worse else "○"
    after = first.after + (" (the same bits as before: the suite's verdict changed)" if first.same_bits else "")
    location = f"{where['backend']} {where['device']} {where['implementation']}"
    cells = (first.what, where["case"], location, " | ".join(varying), first.before, after, where["id"])
    return mark, str(len(group)), *cells


# Groups ---------------------------------------------------------------------------------------------------------------


def _errors(comparison: Comparison) -> Section:
    title = "Error ratio grown"
    single = [change for change in comparison.changes if change.kind == "error ratio"]
    rule = f"more than {FACTOR:g} times the earlier one and more than {FLOOR:g} of the bound"
    if not single and not comparison.errors:
        return Section(title, f"No error ratio grew past the limit ({rule}), and no group's errors grew as a whole.")
    rows = []
    for shift in comparison.errors:
        factor, place = f"group grown {shift.factor:.2g} times", _place(shift.group)
        medians = (f"{shift.before:.3g} of the bound", f"{shift.after:.3g} of the bound")
        rows.append(("✕", str(shift.checks), factor, "all with different bits", place, "", *medians, ""))
    answer = (
        f"{_count(len(single), 'check')} past the limit ({rule}); {_count(len(comparison.errors), 'group')} as a whole."
    )
    return Section(title, answer, CHANGE_HEADS, (*rows, *map(_row, _grouped(single))), "bad")


def _bits(comparison: Comparison) -> Section:
    changed = sum(group.changed for group in comparison.bits)
    if not changed:
        return Section("Bits changed", "Every result that could be compared has the same bits.")
    answer = f"{_count(changed, 'result')} {'has' if changed == 1 else 'have'} different bits and the same verdict."
    heads = ("changed", "of", "cases of", "on", "dtype")
    rows = [
        (str(e.changed), str(e.of), e.group["family"], f"{e.group['backend']} {e.group['implementation']}",
         e.group["dtype"])
        for e in comparison.bits
    ]  # fmt: skip
    return Section("Bits changed", answer, heads, tuple(rows))


def _speed(comparison: Comparison) -> Section:
    title, yardstick = "Speed changed", comparison.speed.yardstick
    if yardstick is None:
        reason = "no backend with an unchanged version ran, so the load of the machine is unknown"
        return Section(title, f"Speed is not compared: {reason}.")
    if not comparison.speed.shifts:
        return Section(title, "No group of checks clearly became slower or faster.")
    answer = f"Relative to backends with unchanged versions, which took {yardstick:.2f} times as long as before."
    heads = ("times as long", "checks", "agreeing", "on", "median before", "median after")
    ordered = sorted(comparison.speed.shifts, key=lambda shift: -shift.factor)
    rows = [
        (f"{s.factor:.2f}", str(s.checks), f"{s.share:.0%}", _place(s.group), _seconds(s.before), _seconds(s.after))
        for s in ordered
    ]
    return Section(title, answer, heads, tuple(rows))


def _place(group: dict[str, Any]) -> str:
    return " ".join(group.values())


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 0.1 else f"{value * 1e3:.3g} ms"


# What could not be compared -------------------------------------------------------------------------------------------


def _not_compared(comparison: Comparison) -> Section:
    rows = [*_one_sided("old", comparison.only_old), *_one_sided("new", comparison.only_new)]
    rows += [("both", "", f"case {case}, whose statement changed") for case in comparison.edited]
    if comparison.not_judged:
        rows.append(("both", str(comparison.not_judged), "could not be judged in the old run (error)"))
    if not rows:
        return Section("Not compared", "Every check ran in both runs.")
    totals = [sum(entry.checks for entry in side) for side in (comparison.only_old, comparison.only_new)]
    answer = f"{_count(totals[0], 'check')} ran in the old run only, {totals[1]} in the new run only."
    return Section("Not compared", answer, ("run", "checks", "what"), tuple(rows))


def _one_sided(label: str, missing: Sequence[OneSided]) -> Iterator[tuple[str, ...]]:
    for entry in missing:
        yield label, str(entry.checks), entry.what


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
