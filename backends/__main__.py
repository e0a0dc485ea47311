"""Command line: `python -m backends [NAME...] [--adapter FILE]` prints the declared precision of backends, as Markdown.

Nothing is imported or computed; what a run observes stands in its summary (`reports.arithmetic`).
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable, Iterator, Sequence

from backends.base import Backend, Declaration
from backends.discovery import registry
from specs.arithmetic.formats import DTYPES
from specs.arithmetic.precision import declared_precision

HEADS = ("kind", "device", "implementation", "mode", "dtype")


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0, or 2 for a backend that nothing is known of."""
    parser = argparse.ArgumentParser(prog="python -m backends", description="The declared precision of backends.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these backends")
    parser.add_argument("--adapter", action="append", default=[], metavar="FILE", help="add what this file defines")
    given = parser.parse_args(arguments)
    try:
        added = [registry.add(file) for file in given.adapter]
    except registry.AdapterError as error:
        parser.error(str(error))
    if unknown := [name for name in given.names if name not in registry.names()]:
        parser.error(f"unknown backend {unknown[0]}; known: {', '.join(registry.names())}")
    names = [*given.names, *added] or registry.names()
    print("\n".join([*promises(), "", *exceptions(map(registry.declare, names))]))
    return 0


def promises() -> Iterator[str]:
    """What each dtype promises, where nothing else is declared."""
    table = {name: declared_precision(dtype).as_json() for name, dtype in DTYPES.items() if dtype.inexact}
    fields = list(next(iter(table.values())))
    yield "What a dtype promises:"
    yield ""
    yield f"| dtype | {' | '.join(fields)} |"
    yield "|---" * (1 + len(fields)) + "|"
    for name, precision in table.items():
        yield f"| {name} | {' | '.join(_word(precision[field]) for field in fields)} |"


def exceptions(backends: Iterable[type[Backend]]) -> Iterator[str]:
    """What backends declare instead, and why; a line for rows that differ only in where they apply."""
    yield "What backends declare instead:"
    yield ""
    yield f"| backend | {' | '.join(HEADS)} | precision | reason |"
    yield "|---" * (3 + len(HEADS)) + "|"
    for backend in backends:
        alike: dict[tuple[str, ...], list[Declaration]] = {}
        for row in backend.rows():
            told = ", ".join(f"{name} {_word(value)}" for name, value in row.formats.items())
            alike.setdefault((row.kind, row.device, told, row.reason), []).append(row)
        for (*_, told, reason), rows in alike.items():
            for where in _grids(rows):
                yield f"| {backend.name} | {' | '.join(where)} | {told} | {reason} |".replace("*", "\\*")


def _grids(rows: Sequence[Declaration]) -> Iterator[list[str]]:
    """Where rows apply, as one line if every combination of their values is among them, else as a line each."""
    columns = [list(dict.fromkeys(getattr(row, head) for row in rows)) for head in HEADS]
    if math.prod(map(len, columns)) == len({tuple(getattr(row, head) for head in HEADS) for row in rows}):
        yield [", ".join(column) for column in columns]
    else:
        yield from ([getattr(row, head) for head in HEADS] for row in rows)


def _word(value: str | bool) -> str:
    return value if isinstance(value, str) else "yes" if value else "no"


if __name__ == "__main__":
    sys.exit(main())
