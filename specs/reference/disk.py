"""A folder of files that is bounded in size: what was not used for longest is removed first.

Several processes read and write in it at once, without a lock.  A file is whole or not there, because it is written
under another name and then renamed; whoever finds a file gone reads or writes it again.  What the file system refuses
(a full disk, a folder that cannot be written or is gone) costs time and raises nothing.
"""

from __future__ import annotations

import os
import re
import stat
import time
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

MOST_BYTES = 256 * 2**20  # in the folder, once nobody is writing
PROCESSES = max(16, os.cpu_count() or 1)  # that may write at once
UNFINISHED_SECONDS = 600  # a write takes less; an older unfinished file was left by a process that was killed
SUFFIX = ".npz"
NAME = re.compile(r"[0-9a-f]{64}(\..*)?", re.DOTALL)  # a key, as finished or unfinished; nothing else is removed
BLOCK = 4096  # bytes, in which file systems allot space

_allowances: dict[Path, int] = {}  # bytes that this process may write until it looks at the whole folder again


def read(folder: Path, key: str) -> bytes | None:
    """The content stored under a key, which counts as its use; None if there is none."""
    file = folder / f"{key}{SUFFIX}"
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > largest():  # a pipe would block
            return None
        content = file.read_bytes()
    except OSError:
        return None
    with suppress(OSError):
        os.utime(file)
    return content


def write(folder: Path, key: str, content: bytes) -> None:
    """Store content under a key (64 hexadecimal digits), unless it is larger than `largest`."""
    if len(content) > largest():
        return
    unfinished = folder / f"{key}.{uuid4().hex}"
    with suppress(OSError):
        try:
            unfinished.write_bytes(content)
            unfinished.replace(folder / f"{key}{SUFFIX}")
        finally:
            unfinished.unlink(missing_ok=True)
        _allowances[folder] = _allowances.get(folder, 0) - _allotted(len(content))
        if _allowances[folder] <= 0:
            tidy(folder)
            _allowances[folder] = _spare() // PROCESSES


def remove(folder: Path, key: str) -> None:
    """Remove what is stored under a key."""
    with suppress(OSError):
        (folder / f"{key}{SUFFIX}").unlink(missing_ok=True)


def largest() -> int:
    """Bytes of the largest file that is stored: one alone does not push out many."""
    return MOST_BYTES // 16


def tidy(folder: Path) -> None:
    """Remove what killed processes left, then the files not used for longest, until all processes may write again."""
    abandoned = time.time() - UNFINISHED_SECONDS
    finished, total = [], 0
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                if not NAME.fullmatch(entry.name) or not entry.is_file(follow_symlinks=False):
                    continue
                status = entry.stat(follow_symlinks=False)
                if entry.name.endswith(SUFFIX):
                    finished.append((status.st_mtime_ns, _allotted(status.st_size), entry.path))
                elif status.st_mtime < abandoned:
                    os.unlink(entry.path)
                    continue
                total += _allotted(status.st_size)
    for _, size, path in sorted(finished):
        if total <= MOST_BYTES - _spare():
            return
        with suppress(OSError):  # somebody else's
            Path(path).unlink(missing_ok=True)
            total -= size


def _spare() -> int:
    """Bytes that all processes together may write before one of them looks at the folder."""
    return MOST_BYTES // 4


def _allotted(size: int) -> int:
    return -(-size // BLOCK) * BLOCK
