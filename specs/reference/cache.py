"""The cache of references: in memory for the backends of one worker, on disk for all workers and later runs.

The key is a hash of everything that a reference depends on: the fields of the case, the dtype, the declared precision,
and the source of all of `specs`.
"""

from __future__ import annotations

import hashlib
import pickle
import time
from collections.abc import Collection
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from cachetools import LRUCache

from specs.arithmetic.double_double import DoubleDouble
from specs.arithmetic.formats import DType
from specs.arithmetic.precision import Precision
from specs.case.case import Case
from specs.reference.reference import Reference

MEMORY_BYTES = 512 * 2**20
SPECS = Path(__file__).resolve().parents[1]

_memory: LRUCache[str, Reference] = LRUCache(MEMORY_BYTES, getsizeof=lambda reference: _bytes(reference))


def key(case: Case, dtype: DType, precision: Precision | None, gradient_of: str | None) -> str:
    """The cache key of the reference of a case's result, or of the gradient of one operand."""
    parts = (_statement(case), dtype.name, repr(precision), repr(gradient_of), source_digest(SPECS), np.__version__)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def find(key: str, folder: Path | None) -> Reference | None:
    """The reference with this key, from memory or from the folder; None if neither has it."""
    reference = _memory.get(key) or _read(folder, key)
    if reference is not None:
        _remember(key, reference)
    return reference


def store(key: str, reference: Reference, folder: Path | None) -> None:
    """Store a reference in memory, and in the folder if there is one."""
    _remember(key, reference)
    _write(folder, key, reference)


def clear() -> None:
    """Remove all references from memory."""
    _memory.clear()


@cache
def source_digest(folder: Path) -> str:
    """A digest of all Python files below a folder, read once per process."""
    return files_digest(folder, (".py",))


def files_digest(folder: Path, suffixes: Collection[str]) -> str:
    """A digest of the files below a folder with these suffixes: names and contents, in a stable order."""
    digest = hashlib.sha256()
    for file in sorted(file for file in folder.rglob("*") if file.suffix in suffixes):
        digest.update(f"{file.relative_to(folder).as_posix()}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


@lru_cache(maxsize=256)  # the checks of a case need it many times in a row
def _statement(case: Case) -> str:
    """The id and all fields that define the computation; not as JSON, where infinities and NaN are all null."""
    stated = case.config.model_dump(exclude={"about", "source", "weak", "dtypes", "modes", "implementations"})
    return f"{case.id}\0{stated!r}"


def _bytes(reference: Reference) -> int:
    value = reference.value
    size = value.hi.nbytes + value.lo.nbytes if isinstance(value, DoubleDouble) else value.nbytes
    arrays = (reference.error, reference.deviation, reference.shared, reference.direction)
    return size + sum(0 if array is None else array.nbytes for array in arrays) + 1024


def _remember(key: str, reference: Reference) -> None:
    with suppress(ValueError):  # larger than the whole cache
        _memory[key] = reference


def _read(folder: Path | None, key: str) -> Reference | None:
    if folder is None:
        return None
    try:
        return pickle.loads((folder / key).read_bytes())
    except (OSError, pickle.UnpicklingError, EOFError):  # missing, or another worker was stopped while writing
        return None


def _write(folder: Path | None, key: str, reference: Reference) -> None:
    if folder is None:
        return
    with suppress(OSError):  # a full disk costs time, not the run
        unfinished = folder / f"{key}.{time.perf_counter_ns()}"
        unfinished.write_bytes(pickle.dumps(reference))
        unfinished.replace(folder / key)
