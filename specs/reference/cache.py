"""The cache of references: in memory for the backends of one worker, on disk for all workers and later runs.

The key is a hash of everything that a reference depends on: the fields of the case, the dtype, the declared precision,
and the source of all of `specs`.  `encoding` makes files of references, `disk` holds the files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from cachetools import LRUCache

from specs.arithmetic.double_double import DoubleDouble
from specs.arithmetic.formats import DType
from specs.arithmetic.precision import Precision
from specs.case.case import Case
from specs.case.common import RESULT
from specs.reference import disk
from specs.reference.encoding import decode, encode
from specs.reference.reference import Reference

MEMORY_BYTES = 512 * 2**20
EXPENSIVE_SECONDS = 0.05  # cheaper references are computed again instead of read from disk
# To read a file takes 0.2 ms, and 3 to 4 ms per MB for checksum, copies and memory; what the disk takes is on top.  By
# this figure all cases at their default precision store 100 MB instead of 474, which saves 19.4 of 20.5 s.
READ_SECONDS_PER_MB = 0.01
SPECS = Path(__file__).resolve().parents[1]

_memory: LRUCache[str, Reference] = LRUCache(MEMORY_BYTES, getsizeof=lambda reference: _bytes(reference))


def key(case: Case, dtype: DType, precision: Precision | None, direction: str, label: str = RESULT) -> str:
    """The cache key of the reference of one output of a direction."""
    formats, what = repr(precision and precision.as_json()), repr((direction, label))
    parts = (_statement(case), dtype.name, formats, what, source_digest(SPECS), np.__version__)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def find(key: str, folder: Path | None) -> Reference | None:
    """The reference with this key, from memory or from the folder; None if neither has it."""
    if (reference := _memory.get(key)) is None and (reference := _read(folder, key)) is not None:
        _remember(key, reference)
    return reference


def store(references: Mapping[str, Reference], seconds: float, folder: Path | None) -> None:
    """Store references, by key, that took so long to compute together: in memory, and in the folder where that pays."""
    for key, reference in references.items():
        _remember(key, reference)
    if folder is None or not _pays([_bytes(reference) for reference in references.values()], seconds):
        return
    for key, reference in references.items():
        if (content := encode(key, reference)) is not None:
            disk.write(folder, key, content)


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


def _pays(sizes: list[int], seconds: float) -> bool:
    """Whether references of these sizes in bytes, of one computation, are read sooner than they are computed again."""
    return max(sizes) <= disk.largest() and seconds > EXPENSIVE_SECONDS + READ_SECONDS_PER_MB * sum(sizes) / 2**20


def _read(folder: Path | None, key: str) -> Reference | None:
    if folder is None or (content := disk.read(folder, key)) is None:
        return None
    if (reference := decode(key, content)) is None:  # damaged, or not from here
        disk.remove(folder, key)
    return reference
