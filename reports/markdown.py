"""`summary.md`: a run for a pull request or the summary of a CI step; what failed comes first.

GitHub refuses a step summary of more than 1 MiB, so whatever a run holds, this stays below: what does not fit is
counted.  Text that is not ours stands in code spans, in which nothing is markup, a link or somebody's name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from reports.arithmetic import rows
from reports.compare import markdown as compared
from reports.compare.sections import Section
from reports.html import GLYPHS
from reports.notices import notices
from reports.read import Run
from specs.verdict.effective import PROPERTIES
from specs.verdict.record import VERDICTS

LARGEST = 1_000_000  # bytes; GitHub's limit is 1,048,576
LONGEST = 400  # characters of a text that is not ours
MOST_NOTICES, MOST_LINES = 40, 20

Records = Sequence[dict[str, Any]]


def summary(run: Run, records: Records, limit: int = LARGEST) -> str:
    """The Markdown of a run, at most `limit` bytes of it; nothing where not even its head would fit."""
    table = [*_table(run, records), ""]
    head = [*_head(run, records), ""]
    room = limit - _size([*head, *table]) - 1000  # for titles, and for the counts of what is left out
    if room < 0:
        return ""
    body: list[str] = []
    for verdict, title in (("fail", "Failures"), ("error", "Errors")):
        found = [record for record in records if record["verdict"] == verdict]
        if found:
            part = _fitted((_failure(record) for record in found), len(found), room // 2, f"more with {verdict}")
            body += [f"## {title} ({len(found)})", "", *part, ""]
            room -= _size(part)
    if changes := list(_changes(run)):
        part = _fitted(changes, len(changes), room // 2, "more sections")
        body += ["## What changed", "", *part, ""]
        room -= _size(part)
    body += table
    for verdict, title in (("deviation", "Deviations"), ("unsupported", "Unsupported")):
        rows = list(_reasons(record for record in records if record["verdict"] == verdict))
        if rows:
            count = sum(record["verdict"] == verdict for record in records)
            part = _fitted(rows, len(rows), room // 2, "more reasons")
            body += [f"<details><summary>{title} ({count})</summary>", "", *part, "", "</details>", ""]
            room -= _size(part)
    if arithmetic := list(_arithmetic(records)):
        part = _fitted(arithmetic, len(arithmetic), room // 2, "more rows")
        body += ["<details><summary>Effective precision</summary>", "", *part, "", "</details>", ""]
    return "\n".join([*head, *body])


def code(text: object, longest: int = LONGEST) -> str:
    """Text that is not ours as a code span, fit for a table: one line, and not closed by its own backticks."""
    line = " ".join(str(text).split())
    line = line if len(line) <= longest else line[:longest] + " …"
    fence = "`" * (max((len(run) for run in re.findall("`+", line)), default=0) + 1)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{pad}{line}{pad}{fence}".replace("|", "\\|") if line else "–"


def _head(run: Run, records: Records) -> Iterator[str]:
    counts = Counter(record["verdict"] for record in records)
    said = list(notices(run, {record["backend"] for record in records}))
    bad = counts["fail"] or counts["error"] or any(notice.severe for notice in said)
    told = ", ".join(f"{counts[verdict]:,} {verdict}" for verdict in VERDICTS)
    yield f"# {GLYPHS['fail' if bad else 'pass']} Conformance: {told}"
    yield ""
    facts = run.facts
    yield f"Python {facts['python']}, {code(facts['platform'])}, {facts['started']}: {code(facts['command'])}"
    for notice in said[:MOST_NOTICES]:
        yield ""
        yield f"- {GLYPHS['error'] + ' ' if notice.severe else ''}**{code(notice.title)}**"
        yield from (f"  - {code(line)}" for line in notice.lines[:MOST_LINES])
        if len(notice.lines) > MOST_LINES:
            yield f"  - … and {len(notice.lines) - MOST_LINES} more"
    if len(said) > MOST_NOTICES:
        yield f"- … and {len(said) - MOST_NOTICES} more"


def _failure(record: dict[str, Any]) -> str:
    on = ("backend", "device", "implementation", "mode", "dtype", "direction")
    place = f"{record['file']}:{record['line']}"
    lines = [f"- {code(record['case'])} on {code(' '.join(record[name] for name in on))}, {code(place)}"]
    lines.append(f"  - {code(record['reason'])}")
    if worst := record["worst"]:
        ratio = record["error_ratio"]
        shown = f", ratio {ratio:.4g}" if isinstance(ratio, float) else ""
        numbers = f"expected {code(worst['expected'])}, got {code(worst['got'])}, bound {code(worst['bound'])}"
        lines.append(f"  - worst at {code(worst['index'])}: {numbers}{shown}")
    lines.append(f"  - {code(record['again'])}")
    return "\n".join(lines)


def _changes(run: Run) -> Iterator[str]:
    """What is not as it was in the run that this one was compared with."""
    if found := run.facts.get("changes"):
        for said in found["sections"]:
            yield "\n".join([*compared.lines(Section(**said), level=3), ""])


def _table(run: Run, records: Records) -> Iterator[str]:
    """One row for each backend and device."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    for record in records:
        counts.setdefault((record["backend"], record["device"]), Counter())[record["verdict"]] += 1
    yield f"| backend | version | device | {' | '.join(VERDICTS)} |"
    yield "|---|---|---|" + "---:|" * len(VERDICTS)
    for (backend, device), found in counts.items():
        version = run.facts["backends"].get(backend, {}).get("version") or ""
        names = " | ".join(code(name) for name in (backend, version, device))
        yield f"| {names} | {' | '.join(f'{found[verdict]:,}' for verdict in VERDICTS)} |"


def _arithmetic(records: Records) -> Iterator[str]:
    """What probes observed, with what is declared where it is not the same."""
    found = rows(records)
    if found:
        yield f"| backend | device | kind | dtype | implementation | {' | '.join(PROPERTIES)} |"
        yield "|---|---|---|---|---|" + "---|" * len(PROPERTIES)
    for row in found:
        cells = (f"{GLYPHS.get(cell.status, '')} {cell}".strip() or "–" for cell in row.cells.values())
        yield f"| {' | '.join(code(name) for name in row.names)} | {' | '.join(cells)} |"


def _reasons(records: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Each backend's reasons, the commonest first, with what a recorded deviation says of itself."""
    counts: Counter[tuple[str, str, str, str]] = Counter()
    for record in records:
        deviation = record["deviation"] or {}
        counts[record["backend"], record["reason"], deviation.get("grade", ""), deviation.get("link", "")] += 1
    for (backend, reason, grade, link), count in counts.most_common():
        aside = "".join(f", {code(each)}" for each in (grade, link) if each)
        yield f"- {count:,} × {code(backend)}{aside}: {code(reason)}"


def _fitted(blocks: Iterable[str], count: int, room: int, noun: str) -> list[str]:
    """As many of `count` blocks as fit into `room` bytes, and a line that counts the others."""
    taken: list[str] = []
    for block in blocks:
        room -= _size([block])
        if room < 0:
            return [*taken, f"- … and {count - len(taken):,} {noun}"]
        taken.append(block)
    return taken


def _size(lines: Iterable[str]) -> int:
    return sum(len(line.encode()) + 1 for line in lines)
