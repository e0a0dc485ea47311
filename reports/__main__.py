"""Command line over runs on disk: `python -m reports compare OLD NEW` and others; `--help` lists them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from reports import merge, ran, script, upgrade, views
from reports.compare import command as compare
from reports.damage import find_damage
from reports.folders import RUN, FolderError, describe, resolve
from reports.read import RunError
from specs.console import exit_with

# Each module has `add`, which adds its subcommand and sets `run`, the function that runs it and returns its exit code
COMMANDS = (views, compare, merge, ran, script, upgrade)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code of the subcommand; 2 for a wrong command line or a run that cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m reports", description="Make reports from runs and compare them.")
    commands = parser.add_subparsers(dest="command", required=True)
    for command in COMMANDS:
        command.add(commands)
    options = parser.parse_args(arguments)
    try:
        return int(options.run(options))
    except (RunError, FolderError) as error:
        parser.error(str(error))
    except BrokenPipeError:  # of whoever reads what is printed
        raise
    except OSError as error:  # of a file to be written: what is read has its own
        parser.error(f"{error.filename or 'a file'}: {describe(error)}")
    except RecursionError:
        parser.error("a value in one of the runs is nested too deeply")
    except Exception:  # of a damaged run, or a fault of the suite
        if damage := next(filter(None, map(find_damage, _folders(options))), None):
            parser.error(damage)
        raise


def _folders(options: argparse.Namespace) -> Iterator[Path]:
    """The folders of runs that the command line names."""
    for value in vars(options).values():
        for path in value if isinstance(value, list) else [value]:
            if isinstance(path, Path) and (resolve(path) / RUN).is_file():
                yield resolve(path)


if __name__ == "__main__":
    exit_with(main)
