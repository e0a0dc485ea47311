"""What a session costs: tables in Markdown, measured on this machine.

    python -m tests.benchmarks [--part PART ...] [--backend NAME ...] [--tier NAME] [--shard I/N] [FILE or folder ...]
    python -m tests.benchmarks --part where RUN

The sessions run as processes of their own, in a temporary folder with caches of its own.  Parts share sessions.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from backends.discovery import registry
from runner.tiers import DEFAULT, TIERS
from tests.benchmarks.growth import print_growth
from tests.benchmarks.memory import print_memory
from tests.benchmarks.peers import print_peers
from tests.benchmarks.ratio import print_ratios
from tests.benchmarks.session import Settings, run_selection
from tests.benchmarks.start import print_collection, print_start
from tests.benchmarks.where import print_seconds

SIZES = (1_000, 10_000, 50_000)

PARTS: Mapping[str, Callable[[Settings], None]] = {
    "ratio": print_ratios,
    "collection": print_collection,
    "memory": print_memory,
    "start": print_start,
    "growth": print_growth,
    "peers": print_peers,
    "where": lambda settings: print_seconds(run_selection(settings, settings.backends, settings.processes).run.folder),
}
HELP = """\
ratio       wall and CPU time of a session over those of a loop that makes the same framework calls
collection  seconds for 10,000 checks in each worker
memory      peak, and growth for each check, of one process
start       time to the first result, cold and with a warm inventory
growth      cost of sessions of --sizes checks
peers       tests for each CPU second, next to other suites
where       seconds by backend, kind, mode and direction, of the run in the folder given, or of a new one
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("paths", nargs="*", help="case files or folders (default: all); for `where` also a run")
    parser.add_argument("--part", action="append", choices=PARTS, help="only this part (default: all); repeatable")
    parser.add_argument("--backend", action="append", choices=registry.names(), help="only this one; repeatable")
    parser.add_argument("--tier", choices=TIERS, default=DEFAULT, help=f"of the sessions (default: {DEFAULT})")
    parser.add_argument("--shard", metavar="I/N", help="only this share of the checks")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="workers (default: one per core)")
    parser.add_argument("--warm", action="store_true", help="ratio, memory, peers: with the caches of a session before")
    parser.add_argument("--rounds", type=int, default=1, help="ratio: sessions of which the median is printed")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="growth: numbers of checks")
    options = parser.parse_args()
    parts = options.part or list(PARTS)
    if parts == ["where"] and len(options.paths) == 1 and (Path(options.paths[0]) / "records.jsonl").exists():
        print_seconds(Path(options.paths[0]))
        return
    with tempfile.TemporaryDirectory() as work:
        settings = Settings(
            paths=tuple(options.paths),
            tier=options.tier,
            shard=options.shard,
            backends=tuple(options.backend or registry.names()),
            processes=options.processes,
            warm=options.warm,
            rounds=options.rounds,
            sizes=tuple(options.sizes),
            work=Path(work),
        )
        for part in parts:
            PARTS[part](settings)


if __name__ == "__main__":
    main()
