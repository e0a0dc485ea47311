"""What a result can depend on besides the suite and its backends: Python, packages, the machine.

It needs the standard library only: the source of this file is sent to each interpreter on which workers are to run, and
answers there (`runner.hosts`).
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from contextlib import suppress
from glob import glob
from importlib.metadata import PackageNotFoundError, version
from typing import Any

PROJECT = "einsum-attention-conformance"
PACKAGES = ("numpy", "torch", "jax", "jaxlib", "tensorflow", "keras", "ml_dtypes", "pytest", "pytest-xdist")
DEVICE_FILES = ("/dev/nvidia*", "/dev/kfd", "/dev/accel*")


def describe_environment(packages: Iterable[str] = PACKAGES) -> dict[str, Any]:
    """What a run states; nothing that identifies the machine or its user."""
    return {
        "project": installed_version(PROJECT),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "processor": processor(),
        "cpus": os.cpu_count(),
        "packages": {package: version for package in packages if (version := installed_version(package))},
    }


def describe_host(packages: Iterable[str]) -> dict[str, Any]:
    """The same, and what decides whether workers can compute there, and on how many threads."""
    accelerators = sorted(path for pattern in DEVICE_FILES for path in glob(pattern))
    return describe_environment(packages) | {"cores": available_cores(), "accelerators": accelerators}


def installed_version(package: str) -> str | None:
    """A package's version, read without importing it; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def processor() -> str:
    """The model of the processor, where the system names it, or its kind."""
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            name, _, text = line.partition(":")
            if name.strip() == "model name" and text.strip():
                return text.strip()
    return platform.processor() or platform.machine()


def available_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


if __name__ == "__channelexec__":
    channel.send(describe_host(channel.receive()))  # type: ignore[name-defined]  # noqa: F821
