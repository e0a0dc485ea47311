"""Which backends there are: the modules of `backends`, and files that a user adds.

Names are in alphabetical order, and so are the checks of a run: a new backend finds its place without being listed
anywhere.  pytest-xdist deals the ordered checks out in contiguous parts, so with two workers one begins with JAX and
NumPy and the other with TensorFlow and torch, which take longest to import.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

from backends.base import Backend
from specs.verdict.deviation import DeviationEntry, load

_adapters: dict[str, tuple[Path, type[Backend]]] = {}


class UnknownBackendError(LookupError):
    """Nobody knows a backend of this name."""

    def __init__(self, name: str) -> None:
        near = difflib.get_close_matches(name, names(), 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        super().__init__(f"no backend is called {name!r}{hint} (known: {', '.join(names())})")


class AdapterError(Exception):
    """A file does not define exactly one usable backend."""


def names() -> list[str]:
    """Every known backend, installed or not."""
    return sorted([*_own(), *_adapters])


def declare(name: str) -> type[Backend]:
    """The class of a backend: what it offers, without importing its framework."""
    if name in _adapters:
        return _adapters[name][1]
    if name not in _own():
        raise UnknownBackendError(name)
    return only_backend(importlib.import_module(f"backends.{name}"))


def source(name: str) -> Path:
    """The file that defines a backend."""
    if name in _adapters:
        return _adapters[name][0]
    if name not in _own():
        raise UnknownBackendError(name)
    return _own()[name]


def is_added(name: str) -> bool:
    """Whether a user added the backend, by a file of their own."""
    return name in _adapters


@cache
def deviations(name: str) -> list[DeviationEntry]:
    """What is recorded for a backend, in `deviations/<name>.yaml` beside its file; CaseFileError if that is broken."""
    return load(source(name).parent / "deviations" / f"{name}.yaml")


@cache
def get(name: str) -> Backend:
    """The backend, its framework imported; one instance for the whole process."""
    return declare(name)()


def add(path: str | Path) -> str:
    """Make the backend that a file outside the project defines known, and return its name; twice is as once."""
    file = Path(path).resolve()
    if already := next((name for name, (known, _) in _adapters.items() if known == file), None):
        return already
    backend = only_backend(_module(file))
    if absent := [each for each in ("name", "distribution", "implementations") if not hasattr(backend, each)]:
        raise AdapterError(f"{file}: {backend.__name__} does not state its {', '.join(absent)}")
    name = backend.name
    if name in names():
        raise AdapterError(f"{file}: a backend called {name!r} is already known, from {source(name)}")
    _adapters[name] = (file, backend)
    return name


@cache
def _own() -> dict[str, Path]:
    """Every module beside `base`, which is the contract; what is no backend stands in folders."""
    files = Path(__file__).parents[1].glob("*.py")
    return {file.stem: file for file in files if file.stem != "base" and not file.stem.startswith("__")}


def _module(file: Path) -> ModuleType:
    if not file.is_file():
        raise AdapterError(f"{file}: there is no such file")
    spec = importlib.util.spec_from_file_location(f"adapter_{len(_adapters)}_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise AdapterError(f"{file}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickle look a class's module up by its name
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[spec.name]
        raise AdapterError(f"{file}: importing it failed: {type(error).__name__}: {error}") from error
    return module


def only_backend(module: ModuleType) -> type[Backend]:
    """The one subclass of Backend that a module defines itself, imported ones not counted; AdapterError if not one."""
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Backend) and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        listed = ", ".join(each.__name__ for each in found) or "none"
        raise AdapterError(f"{module.__file__}: it must define exactly one subclass of Backend, and defines {listed}")
    return found[0]
