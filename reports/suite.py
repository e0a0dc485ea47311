"""The state of the suite that made a run: a digest of each folder that can change a verdict."""

from __future__ import annotations

from pathlib import Path

from specs.reference.cache import files_digest

PROJECT = Path(__file__).resolve().parents[1]
SUFFIXES = (".py", ".yaml")


def digests_of_sources(root: Path) -> dict[str, str]:
    """Digests of all folders without which a worker computes something else, or does not understand its session."""
    others = ("reports", "fuzzing", "runner")
    return digests(root) | {name: files_digest(PROJECT / name, SUFFIXES)[:16] for name in others}


def digests(root: Path) -> dict[str, str]:
    """Digests of the cases below `root` and of the suite's own folders: file names and contents, in a stable order."""
    folders = {"cases": root / "cases", "specs": PROJECT / "specs", "backends": PROJECT / "backends"}
    return {name: files_digest(folder, SUFFIXES)[:16] for name, folder in folders.items()}
