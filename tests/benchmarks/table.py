"""A table in Markdown, aligned so that it can be read in a terminal too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; the first column is text and the others are numbers, of which None is a dash."""
    lines = [columns, *([_text(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = [f"{'-' * widths[0]}", *(f"{'-' * (width - 1)}:" for width in widths[1:])]
    print(f"\n### {title}\n")
    for line in (lines[0], rule, *lines[1:]):
        first, *rest = zip(line, widths, strict=True)
        cells = [f"{first[0]:<{first[1]}}", *(f"{value:>{width}}" for value, width in rest)]
        print(f"| {' | '.join(cells)} |", flush=True)


def _text(value: object) -> str:
    """Three significant digits, and no exponent."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}".rstrip(".")
    return f"{value:,}" if isinstance(value, int) else str(value)
