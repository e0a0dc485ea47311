"""Which backends can be used on this machine, found out without importing a framework into this process.

Each backend is asked in a process of its own, because importing a framework can take seconds, abort, or hang:

    python -m backends.discovery.inventory NAME [--adapter FILE]...

prints what it found as JSON on its last line.  What works is remembered as long as nothing that it depends on has
changed; what does not is asked again.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from glob import glob
from pathlib import Path
from typing import Any, Literal

from backends import base
from backends.base import Backend
from backends.discovery import registry

TIMEOUT = 120.0  # seconds; the slowest framework needs about 6 on two busy cores

VARIABLES = (
    "CUDA_",
    "HIP_",
    "JAX_",
    "KERAS_",
    "MKL_",
    "NVIDIA_",
    "OMP_",
    "OPENBLAS_",
    "ROCR_",
    "TF_",
    "TORCH_",
    "XLA_",
)
DEVICE_FILES = ("/dev/nvidia*", "/dev/kfd", "/dev/accel*")


@dataclass(frozen=True)
class Finding:
    """What is known of one backend; plain types only, so that it can be handed on as JSON.

    status     ready; missing: the framework is not installed; broken: anything else that keeps it from being used
    devices    of each device, the dtypes its tensors can have
    settings   of the framework, as far as they change numerics
    versions   of the distributions whose versions can change results, its own first
    reason     why it is not ready, and next_step what to do about it
    """

    backend: str
    status: Literal["ready", "missing", "broken"]
    version: str | None = None
    devices: dict[str, list[str]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    reason: str | None = None
    next_step: str | None = None


def probe(
    names: Iterable[str], adapters: Iterable[str | Path] = (), cache: Path | None = None, timeout: float = TIMEOUT
) -> dict[str, Finding]:
    """What is found of each named backend, in that order; all that must be asked are asked at once.

    `adapters` are the files that define some of them, `cache` is a JSON file in which findings are kept.
    """
    files = [Path(adapter).resolve() for adapter in adapters]
    for file in files:
        registry.add(file)
    keys = {name: _key(name) for name in names}
    kept = _read(cache)
    known = {name: Finding(**kept[name]["finding"]) for name in keys if kept.get(name, {}).get("key") == keys[name]}
    unknown = [name for name in keys if name not in known]
    with ThreadPoolExecutor(max_workers=len(unknown) or 1) as pool:
        known |= zip(unknown, pool.map(lambda name: _ask(name, files, timeout), unknown), strict=True)
    if cache and unknown:
        new = {name: {"key": keys[name], "finding": asdict(known[name])} for name in unknown}
        _write(cache, kept | {name: entry for name, entry in new.items() if known[name].status == "ready"})
    return {name: known[name] for name in keys}


# In a process of its own ------------------------------------------------------------------------------------------


def _ask(name: str, adapters: list[Path], timeout: float) -> Finding:
    """What the process that imports the framework says, or how it ended."""
    options = [option for file in adapters for option in ("--adapter", str(file))]
    command = [sys.executable, "-m", "backends.discovery.inventory", name, *options]
    root = Path(__file__).parents[2]
    try:
        ended = subprocess.run(
            command,
            cwd=root,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return _broken(name, f"it did not answer within {timeout:g} s")
    if ended.returncode == 0 and (line := _last_line(ended.stdout)).startswith("{"):
        return Finding(**json.loads(line))
    last_words = _last_line(ended.stderr)
    if ended.returncode < 0:
        died = f"importing it ended the process with {signal.Signals(-ended.returncode).name}"
        return _broken(name, f"{died}: {last_words}" if last_words else died)
    return _broken(name, last_words or f"its process ended with status {ended.returncode} and said nothing")


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def examine(name: str) -> Finding:
    """Import a backend's framework into this process and say what it offers."""
    declared = registry.declare(name)
    try:
        backend = registry.get(name)
        devices = {device: sorted(backend.dtypes(device)) for device in backend.devices()}
        settings = backend.settings()
    except ModuleNotFoundError as error:
        # An installed framework that lacks one of its own dependencies is broken, not missing
        if _versions(declared).get(declared.distribution) is None:
            reason = f"{declared.distribution} is not installed ({error})"
            return Finding(name, "missing", reason=reason, next_step=f"pip install {declared.distribution}")
        return _broken(name, f"{type(error).__name__}: {error}")
    except Exception as error:
        return _broken(name, f"{type(error).__name__}: {error}")
    if not devices:
        return _broken(name, "it finds no device")
    return Finding(name, "ready", declared.version(), devices, settings, _versions(declared))


def _broken(name: str, reason: str) -> Finding:
    declared = registry.declare(name)
    installed = _versions(declared)
    adapter = [f"--adapter={registry.source(name)}"] if registry.is_added(name) else []
    again = shlex.join(["python", "-m", "backends.discovery.inventory", name, *adapter])
    return Finding(
        name, "broken", installed.get(declared.distribution), versions=installed, reason=reason, next_step=again
    )


# What a finding depends on ----------------------------------------------------------------------------------------


def _key(name: str) -> str:
    """A hash of everything that could change what is found."""
    files = [Path(sys.executable), registry.source(name), Path(base.__file__), Path(__file__)]
    variables = {key: value for key, value in os.environ.items() if key.startswith(VARIABLES)}
    depends = [
        [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files],
        _versions(registry.declare(name)),
        sorted(variables.items()),
        sorted(path for pattern in DEVICE_FILES for path in glob(pattern)),
        os.cpu_count(),
    ]
    return hashlib.sha256(json.dumps(depends).encode()).hexdigest()


def _versions(declared: type[Backend]) -> dict[str, str]:
    """Of the backend's distributions, those that are installed."""
    versions = {}
    for distribution in (declared.distribution, *declared.related):
        try:
            versions[distribution] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _read(cache: Path | None) -> dict[str, Any]:
    try:
        return dict(json.loads(cache.read_text())) if cache else {}
    except (OSError, ValueError):
        return {}  # none yet, or one that was cut off: everything is asked again


def _write(cache: Path, entries: dict[str, Any]) -> None:
    """At once, so that another session never reads half a file."""
    cache.parent.mkdir(parents=True, exist_ok=True)
    whole = cache.with_name(f"{cache.name}.{os.getpid()}")
    whole.write_text(json.dumps(entries, indent=1))
    whole.replace(cache)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m backends.discovery.inventory", description="What one backend offers here."
    )
    parser.add_argument("name")
    parser.add_argument("--adapter", action="append", default=[], metavar="FILE")
    given = parser.parse_args(arguments)
    for file in given.adapter:
        registry.add(file)
    Backend.quiet = False  # its last words are wanted if it crashes
    print("\n" + json.dumps(asdict(examine(given.name))), flush=True)


if __name__ == "__main__":
    main()
