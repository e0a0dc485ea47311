"""A comparison as Markdown, for a pull request or the summary of a CI step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reports.compare.sections import Section

OPEN = 15  # a longer table is folded
MOST = 300  # rows of a table; a summary may be at most 1 MB


def render_markdown(sections: Sequence[Section]) -> str:
    """The first section is the title."""
    return "\n".join(_format_lines(sections)) + "\n"


def _format_lines(sections: Sequence[Section]) -> Iterator[str]:
    yield f"# {_escaped(sections[0].answer)}"
    for section in sections[1:]:
        yield ""
        yield from format_section(section)


def format_section(section: Section, level: int = 2) -> Iterator[str]:
    """One section, under a heading of this level."""
    yield f"{'#' * level} {section.title}"
    yield ""
    yield _escaped(section.answer)
    if not section.rows:
        return
    yield ""
    folded = len(section.rows) > OPEN
    if folded:
        yield f"<details><summary>{len(section.rows)} rows</summary>"
        yield ""
    yield from _table(section)
    if folded:
        yield ""
        yield "</details>"


def _table(section: Section) -> Iterator[str]:
    for row in (section.heads, ("---",) * len(section.heads), *section.rows[:MOST]):
        yield "| " + " | ".join(cell if cell == "---" else _escaped(cell) for cell in row) + " |"
    if len(section.rows) > MOST:
        yield ""
        yield f"… and {len(section.rows) - MOST} more."


def _escaped(text: str) -> str:
    """Text escaped so that it is displayed literally: no Markdown or HTML markup, no line break, no end of a cell."""
    for character in "\\`*_[]<>|#":
        text = text.replace(character, f"\\{character}" if character not in "<>" else f"&#{ord(character)};")
    return " ".join(text.split())
