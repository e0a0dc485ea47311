"""Compiled programs of JAX that are kept on disk, each with a checksum of its key and its bytes.

JAX loads whatever lies under a key: the program of another key computes something else without a word, and a damaged
one is at best refused by what decompresses it, each time anew.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Any

from backends.parts.framework import Framework

CHECKSUM_BYTES = hashlib.sha256().digest_size


def seal_programs(framework: Framework) -> None:
    """Give JAX's cache of compiled programs checksums; where its internals are not as expected, leave it as it is."""
    with suppress(ImportError, AttributeError):
        cache = framework["jax._src.compilation_cache"]
        if not hasattr(cache.LRUCache, "is_sealed"):
            cache.LRUCache = make_sealed(cache.LRUCache)


def make_sealed(plain: Any) -> Any:
    """A class of caches whose entries are written with a checksum; an entry whose checksum is wrong is removed."""

    class Sealed(plain):  # type: ignore[misc]
        is_sealed = True

        def get(self, key: str) -> bytes | None:
            content = super().get(key)
            if content is None or content[:CHECKSUM_BYTES] == _checksum(key, content[CHECKSUM_BYTES:]):
                return content and content[CHECKSUM_BYTES:]
            with suppress(OSError):  # or it would not be written again
                Path(self._path, f"{key}-cache").unlink(missing_ok=True)
            return None

        def put(self, key: str, value: bytes) -> None:
            super().put(key, _checksum(key, value) + value)

    return Sealed


def _checksum(key: str, program: bytes) -> bytes:
    return hashlib.sha256(key.encode() + b"\0" + program).digest()
