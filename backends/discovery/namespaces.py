"""Functions and classes of the standard library and NumPy that user's code replaces are put back.

The suite calls them until a record is written, and computes references and comparisons with NumPy's.  Looked at are all
public modules that are loaded when the first adapter is imported, and a few classes: all of them would take ten times
as long.  What cannot be called, such as a counter or a cache, is left alone.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import cache
from json import JSONDecoder, JSONEncoder
from operator import itemgetter
from pathlib import Path, PurePath
from types import ModuleType
from typing import Any

CLASSES = (JSONDecoder, JSONEncoder, Path, PurePath)
LIBRARIES = sys.stdlib_module_names | {"numpy"}
METHODS = (classmethod, staticmethod, property)  # as a class holds them


class Namespace:
    """A module or a class, and those of its names that stand for functions and classes."""

    def __init__(self, owner: ModuleType | type) -> None:
        self.owner, self.held = owner, vars(owner)
        self.names = [name for name, value in self.held.items() if callable(value) or isinstance(value, METHODS)]
        self._get = itemgetter(*self.names, "__doc__")  # with it, of a single name a tuple too

    def read(self) -> tuple[Any, ...] | None:
        """What the names stand for; None if one of them is gone."""
        try:
            return self._get(self.held)
        except KeyError:
            return None

    def restore(self, before: tuple[Any, ...]) -> None:
        """Put back what no longer is as it was read before."""
        with suppress(Exception):  # of what cannot be compared, which then was replaced
            if self.read() == before:
                return
        for name, value in zip(self.names, before, strict=False):
            if self.held.get(name) is not value:
                setattr(self.owner, name, value)


@contextmanager
def restored_functions() -> Generator[None, None, None]:
    """Put back what is replaced or removed; takes a third of a millisecond."""
    before = [(namespace, namespace.read()) for namespace in _namespaces()]
    try:
        yield
    finally:
        for namespace, values in before:
            if values is not None:
                namespace.restore(values)


@cache
def _namespaces() -> list[Namespace]:
    """Those that are looked at."""
    modules = [module for name, module in list(sys.modules.items()) if _is_of_interest(name)]
    return [Namespace(owner) for owner in (*modules, *CLASSES) if isinstance(owner, ModuleType | type)]


def _is_of_interest(module: str) -> bool:
    parts = module.split(".")
    return parts[0] in LIBRARIES and not any(part.startswith("_") for part in parts)
