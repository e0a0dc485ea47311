"""Command line: `python -m reports page DIR`.

A command is a function that takes a parser, adds its arguments, and sets `run`: what is called with the options and
returns the exit code.  Another one is another line of `COMMANDS`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from reports import views
from reports.read import RunError


def page(parser: argparse.ArgumentParser) -> None:
    """Write the views of a run again: index.html, summary.md and badge.json."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="the run's folder, e.g. .conformance")
    parser.set_defaults(run=_page)


def _page(options: argparse.Namespace) -> int:
    failed = views.write(options.folder)
    for name in views.MAKERS:
        print(f"{options.folder / name}: {failed.get(name, 'written')}", file=sys.stderr if name in failed else None)
    return 1 if failed else 0


COMMANDS: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "page": page,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: that of the command, or 2 where the command line is wrong or names no run that can be read."""
    parser = argparse.ArgumentParser(prog="python -m reports", description="What people look at, made of runs.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, define in COMMANDS.items():
        about = (define.__doc__ or "").partition("\n")[0]
        define(commands.add_parser(name, help=about, description=about))
    options = parser.parse_args(arguments)
    try:
        return int(options.run(options))
    except RunError as error:
        print(f"python -m reports {options.command}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
