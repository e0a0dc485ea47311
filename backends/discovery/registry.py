"""Which backends exist: the modules of `backends`, and files that a user adds.

Names are in alphabetical order, and so are the checks of a run, so a new backend need not be listed anywhere.
pytest-xdist hands out the ordered checks in contiguous parts: with two workers one begins with JAX and NumPy, the
other with TensorFlow and torch, which take longest to import.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType

from backends.base import Backend
from backends.discovery.importing import find_end
from backends.discovery.restoring import restored_at_start
from backends.parts.mode import Mode
from specs.arithmetic import environment
from specs.case.problems import join_or, suggest
from specs.verdict.deviation import DeviationEntry, load
from specs.verdict.direction import DIRECTIONS
from specs.verdict.place import Share
from specs.verdict.record import make_encodable

NAME = re.compile(r"[A-Za-z0-9_.]+")  # ids separate the name of a backend by a dash
KINDS = ("einsum", "attention")
STATED_NAME = re.compile(r"^\s+name\b[^=\n]*=\s*[\"']([A-Za-z0-9_.]+)[\"']", re.MULTILINE)
_adapters: dict[str, tuple[Path, type[Backend]]] = {}
_unusable: dict[str, str] = {}  # by name, of adapters that only stand for their files, why these cannot be imported


class UnknownBackendError(LookupError):
    """There is no backend of this name."""

    def __init__(self, name: str) -> None:
        nearest = difflib.get_close_matches(name, names(), 1)
        hint = f"; did you mean {nearest[0]}?" if nearest else ""
        super().__init__(f"no backend is called {name!r}{hint} (known: {', '.join(names())})")


class AdapterError(Exception):
    """A file that does not define exactly one usable backend."""


class UnusableAdapterError(AdapterError):
    """A file that ends the process which imports it, or does not let it go on."""


def names() -> list[str]:
    """Every known backend, installed or not."""
    return sorted([*_own_files(), *_adapters])


def load_class(name: str) -> type[Backend]:
    """The class of a backend, which states what it offers; does not import the framework."""
    if name in _adapters:
        return _adapters[name][1]
    if name not in _own_files():
        raise UnknownBackendError(name)
    return only_backend(importlib.import_module(f"backends.{name}"))


def declared_names() -> dict[str, list[str]]:
    """The `modes` and the `implementations` of all known backends, without repetition.

    The implementations of one kind of case are at its name, `einsum` or `attention`; those in one mode at both
    names, such as `einsum jit`.
    """
    names_of: dict[str, dict[str, None]] = {field: {} for field in ("modes", "implementations", *KINDS)}
    for backend in map(load_class, names()):
        names_of["modes"] |= dict.fromkeys(backend.modes)
        for kind, implementations in backend.implementations.items():
            names_of["implementations"] |= dict.fromkeys(implementations)
            names_of[kind] |= dict.fromkeys(implementations)
            for mode in backend.modes:
                names_of.setdefault(f"{kind} {mode}", {}).update(dict.fromkeys(implementations))
    return {field: list(of_field) for field, of_field in names_of.items()}


def source(name: str) -> Path:
    """The file that defines a backend."""
    if name in _adapters:
        return _adapters[name][0]
    if name not in _own_files():
        raise UnknownBackendError(name)
    return _own_files()[name]


def is_added(name: str) -> bool:
    """Whether a user added the backend, by a file of their own."""
    return name in _adapters


@cache
def deviations(name: str) -> list[DeviationEntry]:
    """What is recorded for a backend, in `deviations/<name>.yaml` beside its file; CaseFileError if that is broken."""
    return load(deviation_file(name))


def deviation_file(name: str) -> Path:
    """Where the deviations of a backend are recorded, if there are any."""
    return source(name).parent / "deviations" / f"{name}.yaml"


@cache
def get(name: str) -> Backend:
    """The backend, with its framework imported; one instance for the whole process."""
    return load_class(name)()


def add(path: str | Path) -> str:
    """Register the backend that a file outside the project defines, and return its name; idempotent."""
    file = Path(path).resolve()
    if registered := next((name for name, (source, _) in _adapters.items() if source == file), None):
        return registered
    if file.is_file() and (end := find_end(file, _load_module)):
        raise UnusableAdapterError(f"{file}: {end}")
    backend = only_backend(_load_module(file))
    required = ("name", "distribution", "implementations")
    if missing := [attribute for attribute in required if not hasattr(backend, attribute)]:
        raise AdapterError(f"{file}: {backend.__name__} does not state its {', '.join(missing)}")
    if wrong := _wrong_statement(backend):
        raise AdapterError(f"{file}: {backend.__name__} states {wrong}")
    if mistake := next(_misstatements(backend), None):
        raise AdapterError(f"{file}:{_line(file, mistake[0])}: {backend.__name__}.{mistake[0]}: {mistake[1]}")
    name = backend.name
    if name in names():
        raise AdapterError(f"{file}: a backend called {name!r} is already known, from {source(name)}")
    _adapters[name] = (file, backend)
    return name


def add_unusable(path: str | Path, reason: str) -> str:
    """Register, in place of the backend of such a file, one that is broken, by the name that the file states or has."""
    file = Path(path).resolve()
    stated = STATED_NAME.search(file.read_text(encoding="utf-8", errors="replace"))
    name = stated[1] if stated else file.stem
    if name not in _unusable and name in names():
        raise AdapterError(reason)
    _adapters[name] = (file, type("Unusable", (Backend,), {"name": name, "distribution": name, "implementations": {}}))
    _unusable[name] = reason
    return name


def unusable(name: str) -> str | None:
    """Why an adapter only stands for its file."""
    return _unusable.get(name)


def _wrong_statement(backend: type[Backend]) -> str | None:
    """What of a class cannot be read as the contract says."""
    if not isinstance(backend.name, str) or not NAME.fullmatch(backend.name):
        return f"the name {backend.name!r:.80}, which is not letters, digits and underscores"
    kinds = backend.implementations
    if not isinstance(kinds, Mapping) or not all(map(_is_names, kinds.values())):
        return f"implementations = {kinds!r:.80}, where the names of each kind of case are required, by kind"
    if isinstance(modes := backend.modes, Mapping) and not all(isinstance(mode, Mode) for mode in modes.values()):
        return f"modes = {modes!r:.80}, where a `Mode` of each name is required, or names alone"
    shares = backend.shares
    if not isinstance(shares, Mapping) or not all(isinstance(share, Share) for share in shares.values()):
        return f"shares = {shares!r:.80}, where a share of each mode is required, by mode"
    return next(
        (
            f"{attribute} = {value!r:.80}, where a tuple of names is required"
            for attribute in ("modes", "default_modes", "directions")
            if not _is_names(value := getattr(backend, attribute))
        ),
        None,
    )


def _is_names(value: object) -> bool:
    return isinstance(value, tuple | list | Mapping) and all(
        isinstance(name, str) and name == make_encodable(name) for name in value
    )


def _misstatements(backend: type[Backend]) -> Iterator[tuple[str, str]]:
    """Attributes of a class that name what does not exist, so that checks would be left out; each with the reason."""
    offered = {name for of_kind in backend.implementations.values() for name in of_kind}
    for attribute, given, known in (
        ("implementations", backend.implementations, KINDS),
        ("directions", backend.directions, DIRECTIONS),
        ("on_request", backend.on_request, offered),
    ):
        for name in sorted(set(given).difference(known)):
            yield attribute, f"unknown name {name!r} ({suggest(name, known) or f'known: {join_or(sorted(known))}'})"


def _line(file: Path, attribute: str) -> int:
    """The first line of a file that assigns to this name."""
    pattern = re.compile(rf"\s*{attribute}\b[^=]*=")
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((number for number, line in enumerate(lines, 1) if pattern.match(line)), 1)


@cache
def _own_files() -> dict[str, Path]:
    """The files of the project's backends by name: every module here but `base`; everything else is in subfolders."""
    files = Path(__file__).parents[1].glob("*.py")
    return {file.stem: file for file in files if file.stem != "base" and not file.stem.startswith("__")}


def _load_module(file: Path) -> ModuleType:
    if not file.is_file():
        raise AdapterError(f"{file}: there is no such file")
    spec = importlib.util.spec_from_file_location(f"adapter_{len(_adapters)}_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise AdapterError(f"{file}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickle look up a class's module by name
    try:
        with restored_at_start():
            spec.loader.exec_module(module)
    except BaseException as error:  # whatever it is, it must not look like an end that the user asked for
        del sys.modules[spec.name]
        raise AdapterError(f"{file}: importing it failed: {_describe(error)}") from error
    if change := environment.restore():
        raise AdapterError(f"{file}: importing it left the processor in a state in which {change}")
    return module


def _describe(error: BaseException) -> str:
    try:
        return make_encodable(f"{type(error).__name__}: {error}".rstrip(": "))
    except BaseException as another:
        return f"{type(error).__name__}, whose text cannot be made ({type(another).__name__})"


def only_backend(module: ModuleType) -> type[Backend]:
    """The one subclass of Backend that a module defines, imports not counted; AdapterError unless there is just one."""
    classes = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Backend) and value.__module__ == module.__name__
    ]
    if len(classes) != 1:
        listed = ", ".join(backend.__name__ for backend in classes) or "none"
        raise AdapterError(f"{module.__file__}: it must define exactly one subclass of Backend, and defines {listed}")
    return classes[0]
