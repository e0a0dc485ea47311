"""What this machine's processor has, where a framework chooses its kernels by that."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path


@cache
def features() -> frozenset[str]:
    """As Linux names them, such as `avx512_vnni`; none where it does not say."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, names = line.partition(":")
            if name.strip() in ("flags", "Features"):  # of x86 and of ARM
                return frozenset(names.split())
    return frozenset()


def has(condition: str) -> bool:
    """Whether the processor has one of some features, `avx512_vnni|avx_vnni`, or has none of them, `!avx512_vnni`."""
    names = condition.removeprefix("!").split("|")
    return bool(features().intersection(names)) != condition.startswith("!")


def meets(conditions: Iterable[str]) -> bool:
    """Whether all of them hold."""
    return all(map(has, conditions))
