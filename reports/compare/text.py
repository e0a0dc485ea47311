"""A comparison on a terminal: long tables are cut, with a count of the omitted rows, and so are wide columns."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence

from reports.compare.sections import Section

MOST = 12  # rows of a table
WIDEST = 48  # characters of a column, if not all columns fit


def format_lines(sections: Sequence[Section], width: int | None = None) -> Iterator[str]:
    """Line by line, without colour."""
    width = width or shutil.get_terminal_size().columns
    for index, section in enumerate(sections):
        if index:
            yield ""
            yield section.title
        yield section.answer
        if section.rows:
            yield from _table(section, width)


def _table(section: Section, width: int) -> Iterator[str]:
    rows = section.rows[:MOST]
    if len(section.heads) > 6:  # too many columns for one line: write each row as several lines
        for row in rows:
            yield from _format_change(section.heads, row)
    else:
        columns = list(zip(section.heads, *rows, strict=True))
        widths = [max(map(len, column)) for column in columns]
        if sum(widths) + 2 * len(widths) > width:
            widths = [min(size, WIDEST) for size in widths]
        for row in (section.heads, *rows):
            cells = (_cut(cell, size).ljust(size) for cell, size in zip(row, widths, strict=True))
            yield ("  " + "  ".join(cells)).rstrip()
    if len(section.rows) > MOST:
        yield f"  … and {len(section.rows) - MOST} more: `python -m reports compare … --html FILE` writes all of them"


def _format_change(heads: Sequence[str], row: Sequence[str]) -> Iterator[str]:
    mark, checks, what, case, place, varying, before, after, one = row
    yield f"  {mark} {case} on {place}: {what}" + (f" (x{checks})" if checks not in ("1", "all") else "")
    for head, text in (("", varying), ("before", before), ("after", after), ("id", one)):
        if text:
            yield f"      {head:<7} {text}" if head else f"      {text}"


def _cut(text: str, size: int) -> str:
    return text if len(text) <= size else text[: size - 1] + "…"
