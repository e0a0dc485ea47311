"""`summary.md`: a run for a pull request or the summary of a CI step; failures come first.

GitHub rejects a step summary of more than 1 MiB, so the summary always stays below: entries that do not fit are only
counted.  Untrusted text is put in code spans, where nothing is interpreted as markup, a link or a user mention.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from reports.arithmetic import collect_rows
from reports.compare import markdown as compared
from reports.compare.sections import Section
from reports.html import GLYPHS
from reports.notices import collect_notices
from reports.read import Run
from specs.verdict.effective import PROPERTIES
from specs.verdict.record import VERDICTS

LARGEST = 1_000_000  # bytes; GitHub's limit is 1,048,576
LONGEST = 400  # characters of an untrusted text
MOST_NOTICES, MOST_LINES = 40, 20

Records = Sequence[dict[str, Any]]


def render_summary(run: Run, records: Records, limit: int = LARGEST) -> str:
    """The Markdown of a run in at most `limit` bytes; "" if not even its head fits."""
    table = [*_table(run, records), ""]
    head = [*_head(run, records), ""]
    room = limit - _size([*head, *table]) - 1000  # for titles and the counts of omitted entries
    if room < 0:
        return ""
    body: list[str] = []
    for verdict, title in (("fail", "Failures"), ("error", "Errors")):
        failures = [record for record in records if record["verdict"] == verdict]
        if failures:
            part = _fit((_failure(record) for record in failures), len(failures), room // 2, f"more with {verdict}")
            body += [f"## {title} ({len(failures)})", "", *part, ""]
            room -= _size(part)
    if changes := list(_changes(run)):
        part = _fit(changes, len(changes), room // 2, "more sections")
        body += ["## What changed", "", *part, ""]
        room -= _size(part)
    body += table
    for verdict, title in (("deviation", "Deviations"), ("unsupported", "Unsupported")):
        rows = list(_reasons(record for record in records if record["verdict"] == verdict))
        if rows:
            count = sum(record["verdict"] == verdict for record in records)
            part = _fit(rows, len(rows), room // 2, "more reasons")
            body += [f"<details><summary>{title} ({count})</summary>", "", *part, "", "</details>", ""]
            room -= _size(part)
    if arithmetic := list(_arithmetic(records)):
        part = _fit(arithmetic, len(arithmetic), room // 2, "more rows")
        body += ["<details><summary>Effective precision</summary>", "", *part, "", "</details>", ""]
    return "\n".join([*head, *body])


def code(text: object, longest: int = LONGEST) -> str:
    """Untrusted text as a code span that fits in a table: on one line, and not closed by backticks in the text."""
    line = " ".join(str(text).split())
    line = line if len(line) <= longest else line[:longest] + " …"
    fence = "`" * (max((len(run) for run in re.findall("`+", line)), default=0) + 1)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{pad}{line}{pad}{fence}".replace("|", "\\|") if line else "–"


def _head(run: Run, records: Records) -> Iterator[str]:
    counts = Counter(record["verdict"] for record in records)
    notices = list(collect_notices(run, {record["backend"] for record in records}))
    is_bad = counts["fail"] or counts["error"] or any(notice.severe for notice in notices)
    counts_text = ", ".join(f"{counts[verdict]:,} {verdict}" for verdict in VERDICTS)
    yield f"# {GLYPHS['fail' if is_bad else 'pass']} Conformance: {counts_text}"
    yield ""
    facts = run.facts
    yield f"Python {facts['python']}, {code(facts['platform'])}, {facts['started']}: {code(facts['command'])}"
    for name, host in facts["hosts"].items():
        yield f"- {code(name)}: {code(host.get('processor'))}, {code(host.get('platform'))}"
    for notice in notices[:MOST_NOTICES]:
        yield ""
        yield f"- {GLYPHS['error'] + ' ' if notice.severe else ''}**{code(notice.title)}**"
        yield from (f"  - {code(line)}" for line in notice.lines[:MOST_LINES])
        if len(notice.lines) > MOST_LINES:
            yield f"  - … and {len(notice.lines) - MOST_LINES} more"
    if len(notices) > MOST_NOTICES:
        yield f"- … and {len(notices) - MOST_NOTICES} more"


def _failure(record: dict[str, Any]) -> str:
    names = ("backend", "device", "implementation", "mode", "dtype", "direction")
    place = f"{record['file']}:{record['line']}"
    host = f", on {code(record['host'])}" if "host" in record else ""
    lines = [f"- {code(record['case'])} on {code(' '.join(record[name] for name in names))}, {code(place)}{host}"]
    lines.append(f"  - {code(record['reason'])}")
    if worst := record["worst"]:
        ratio = record["error_ratio"]
        ratio_text = f", ratio {ratio:.4g}" if isinstance(ratio, float) else ""
        numbers = f"expected {code(worst['expected'])}, got {code(worst['got'])}, bound {code(worst['bound'])}"
        lines.append(f"  - worst at {code(worst['index'])}: {numbers}{ratio_text}")
    lines.append(f"  - {code(record['again'])}")
    return "\n".join(lines)


def _changes(run: Run) -> Iterator[str]:
    """The sections of the comparison with a baseline, if there was one."""
    if changes := run.facts.get("changes"):
        for section in changes["sections"]:
            yield "\n".join([*compared.format_section(Section.from_json(section), level=3), ""])


def _table(run: Run, records: Records) -> Iterator[str]:
    """One row for each backend and device."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    for record in records:
        counts.setdefault((record["backend"], record["device"]), Counter())[record["verdict"]] += 1
    yield f"| backend | version | device | {' | '.join(VERDICTS)} |"
    yield "|---|---|---|" + "---:|" * len(VERDICTS)
    for (backend, device), verdicts in counts.items():
        version = run.facts["backends"].get(backend, {}).get("version") or ""
        names = " | ".join(code(name) for name in (backend, version, device))
        yield f"| {names} | {' | '.join(f'{verdicts[verdict]:,}' for verdict in VERDICTS)} |"


def _arithmetic(records: Records) -> Iterator[str]:
    """What probes observed, and what is declared if it differs."""
    rows = collect_rows(records)
    if rows:
        yield f"| backend | device | kind | dtype | implementation | {' | '.join(PROPERTIES)} |"
        yield "|---|---|---|---|---|" + "---|" * len(PROPERTIES)
    for row in rows:
        cells = (f"{GLYPHS.get(cell.status, '')} {cell}".strip() or "–" for cell in row.cells.values())
        yield f"| {' | '.join(code(name) for name in row.names)} | {' | '.join(cells)} |"


def _reasons(records: Iterable[dict[str, Any]]) -> Iterator[str]:
    """The reasons of each backend, the most common first, with grade and link of a recorded deviation."""
    counts: Counter[tuple[str, str, str, str]] = Counter()
    for record in records:
        deviation = record["deviation"] or {}
        counts[record["backend"], record["reason"], deviation.get("grade", ""), deviation.get("link", "")] += 1
    for (backend, reason, grade, link), count in counts.most_common():
        details = "".join(f", {code(detail)}" for detail in (grade, link) if detail)
        yield f"- {count:,} × {code(backend)}{details}: {code(reason)}"


def _fit(blocks: Iterable[str], count: int, room: int, noun: str) -> list[str]:
    """As many of the `count` blocks as fit into `room` bytes, and a line that counts the rest."""
    taken: list[str] = []
    for block in blocks:
        room -= _size([block])
        if room < 0:
            return [*taken, f"- … and {count - len(taken):,} {noun}"]
        taken.append(block)
    return taken


def _size(lines: Iterable[str]) -> int:
    return sum(len(line.encode()) + 1 for line in lines)
