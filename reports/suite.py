"""Which state of the suite a run was made with: a digest for each folder that can change a verdict."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
SUFFIXES = (".py", ".yaml")


def digests(root: Path) -> dict[str, str]:
    """Of the cases below `root`, and of the suite's own folders: names and contents, in a stable order."""
    folders = {"cases": root / "cases", "specs": PROJECT / "specs", "backends": PROJECT / "backends"}
    return {name: _digest(folder) for name, folder in folders.items()}


def _digest(folder: Path) -> str:
    sum = hashlib.sha256()
    for file in _files(folder):
        sum.update(f"{file.relative_to(folder).as_posix()}\0".encode())
        sum.update(hashlib.sha256(file.read_bytes()).digest())
    return sum.hexdigest()[:16]


def _files(folder: Path) -> Iterator[Path]:
    yield from sorted(file for file in folder.rglob("*") if file.suffix in SUFFIXES)
