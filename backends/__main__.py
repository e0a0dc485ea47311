"""Command line: `python -m backends [NAME...] [--adapter FILE]` prints the declared precision of backends, as Markdown.

No framework is imported and nothing is computed.  What a run observes is in its summary (`reports.arithmetic`).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Iterator, Sequence

from backends.base import Backend, Declaration
from backends.discovery import registry
from specs.arithmetic.formats import DTYPES
from specs.arithmetic.precision import declared_precision
from specs.console import exit_with

COLUMNS = ("kind", "device", "implementation", "mode", "dtype")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; returns the exit code: 0, or 2 for an unknown backend."""
    parser = argparse.ArgumentParser(prog="python -m backends", description="The declared precision of backends.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these backends")
    parser.add_argument("--adapter", action="append", default=[], metavar="FILE", help="add what this file defines")
    options = parser.parse_args(arguments)
    try:
        added = [registry.add(file) for file in options.adapter]
    except registry.AdapterError as error:
        parser.error(str(error))
    if unknown := [name for name in options.names if name not in registry.names()]:
        parser.error(f"unknown backend {unknown[0]}; known: {', '.join(registry.names())}")
    names = [*options.names, *added] or registry.names()
    print("\n".join([*dtype_table(), "", *declaration_table(map(registry.load_class, names))]))
    return 0


def dtype_table() -> Iterator[str]:
    """The precision that each dtype promises unless a backend declares otherwise."""
    table = {name: declared_precision(dtype).as_json() for name, dtype in DTYPES.items() if dtype.inexact}
    fields = list(next(iter(table.values())))
    yield "What a dtype promises:"
    yield ""
    yield f"| dtype | {' | '.join(fields)} |"
    yield "|---" * (1 + len(fields)) + "|"
    for name, precision in table.items():
        yield f"| {name} | {' | '.join(_format_value(precision[field]) for field in fields)} |"


def declaration_table(backends: Iterable[type[Backend]]) -> Iterator[str]:
    """What backends declare instead, and why; rows that differ only in where they apply share a line."""
    yield "What backends declare instead:"
    yield ""
    yield f"| backend | {' | '.join(COLUMNS)} | precision | reason |"
    yield "|---" * (3 + len(COLUMNS)) + "|"
    for backend in backends:
        groups: dict[tuple[str, ...], list[Declaration]] = {}
        for row in backend.rows():
            formats = ", ".join(f"{name} {_format_value(value)}" for name, value in row.formats.items())
            groups.setdefault((row.kind, row.device, formats, row.reason), []).append(row)
        for (*_, formats, reason), rows in groups.items():
            for location in _locations(rows):
                yield f"| {backend.name} | {' | '.join(location)} | {formats} | {reason} |".replace("*", "\\*")


def _locations(rows: Sequence[Declaration]) -> Iterator[list[str]]:
    """Where the rows apply: one line if they are the full product of their values, else a line for each row."""
    columns = [list(dict.fromkeys(getattr(row, name) for row in rows)) for name in COLUMNS]
    if math.prod(map(len, columns)) == len({tuple(getattr(row, name) for name in COLUMNS) for row in rows}):
        yield [", ".join(column) for column in columns]
    else:
        yield from ([getattr(row, name) for name in COLUMNS] for row in rows)


def _format_value(value: str | bool) -> str:
    return value if isinstance(value, str) else "yes" if value else "no"


if __name__ == "__main__":
    exit_with(main)
