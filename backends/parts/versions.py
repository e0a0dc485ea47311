"""Versions of what is installed."""

from __future__ import annotations

import importlib.metadata
from functools import cache


@cache  # the metadata of a package is a file, and is asked for by every check
def version(distribution: str) -> str:
    """The installed version, read without importing; PackageNotFoundError if there is none."""
    return importlib.metadata.version(distribution)
