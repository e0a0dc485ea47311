"""References that are kept: in memory for the backends of one worker, on disk for all workers and later runs.

The key is a hash of everything that enters a reference: the case's own statement, the dtype, the declared precision,
and the source of all rooms of `specs`.
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
    """What the reference of a case's result, or of the gradient of one operand, is kept under."""
    parts = (_statement(case), dtype.name, repr(precision), repr(gradient_of), source_digest(SPECS), np.__version__)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def find(key: str, folder: Path | None) -> Reference | None:
    """The reference under this key, from memory or from the folder; None where neither has it."""
    found = _memory.get(key) or _read(folder, key)
    if found is not None:
        _remember(key, found)
    return found


def keep(key: str, found: Reference, folder: Path | None) -> None:
    """Remember a reference, and write it to the folder if there is one."""
    _remember(key, found)
    _write(folder, key, found)


def clear() -> None:
    """Forget what is in memory."""
    _memory.clear()


@cache
def source_digest(folder: Path) -> str:
    """Of every Python file below a folder, read once by a process."""
    return files_digest(folder, (".py",))


def files_digest(folder: Path, suffixes: Collection[str]) -> str:
    """Of the files below a folder that end so: names and contents, in a stable order."""
    sum = hashlib.sha256()
    for file in sorted(file for file in folder.rglob("*") if file.suffix in suffixes):
        sum.update(f"{file.relative_to(folder).as_posix()}\0".encode())
        sum.update(hashlib.sha256(file.read_bytes()).digest())
    return sum.hexdigest()


@lru_cache(maxsize=256)  # the checks of a case ask for it many times in a row
def _statement(case: Case) -> str:
    """The id and all that the case says of its computation; not as JSON, where infinities and NaN are all null."""
    stated = case.config.model_dump(exclude={"about", "source", "weak", "dtypes", "modes", "implementations"})
    return f"{case.id}\0{stated!r}"


def _bytes(reference: Reference) -> int:
    value = reference.value
    size = value.hi.nbytes + value.lo.nbytes if isinstance(value, DoubleDouble) else value.nbytes
    others = (reference.error, reference.deviation, reference.shared, reference.direction)
    return size + sum(0 if each is None else each.nbytes for each in others) + 1024


def _remember(key: str, found: Reference) -> None:
    with suppress(ValueError):  # larger than the whole cache
        _memory[key] = found


def _read(folder: Path | None, key: str) -> Reference | None:
    if folder is None:
        return None
    try:
        return pickle.loads((folder / key).read_bytes())
    except (OSError, pickle.UnpicklingError, EOFError):  # not there, or another worker was stopped while writing
        return None


def _write(folder: Path | None, key: str, found: Reference) -> None:
    if folder is None:
        return
    with suppress(OSError):  # a full disk costs time, not the run
        unfinished = folder / f"{key}.{time.perf_counter_ns()}"
        unfinished.write_bytes(pickle.dumps(found))
        unfinished.replace(folder / key)
