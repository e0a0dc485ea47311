"""Features of this machine's processor, by which some frameworks choose their kernels."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path


@cache
def read_features() -> frozenset[str]:
    """The features by their names in Linux, such as `avx512_vnni`; none on other systems."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, names = line.partition(":")
            if name.strip() in ("flags", "Features"):  # on x86 and on ARM
                return frozenset(names.split())
    return frozenset()


def meets(condition: str) -> bool:
    """Whether the processor has one of several features (`avx512_vnni|avx_vnni`), or none of them (`!avx512_vnni`)."""
    names = condition.removeprefix("!").split("|")
    return bool(read_features().intersection(names)) != condition.startswith("!")


def meets_all(conditions: Iterable[str]) -> bool:
    """Whether the processor meets all conditions."""
    return all(map(meets, conditions))


def describe() -> str:
    """A text that differs between kinds of processors: what was compiled for one may not run on another."""
    with suppress(OSError), open("/proc/cpuinfo") as cpuinfo:
        return "".join(sorted({line for line in cpuinfo if line.startswith(("model name", "flags", "Features"))}))
    return f"{platform.machine()} {platform.processor()}"
