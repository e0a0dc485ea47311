"""Which backends can be used on this machine, determined without importing a framework into this process.

Each backend is examined in its own process, because importing a framework can take seconds, abort, or hang:

    python -m backends.discovery.inventory NAME [--adapter FILE]...

prints its finding as JSON on the last line.  The finding of a backend that works is cached until something that it
depends on changes; the others are examined again each time.
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
    """The state of one backend on this machine; plain types only, so that it can be passed on as JSON.

    status      ready; missing: the framework is not installed; broken: it cannot be used for another reason
    devices     the dtypes that tensors can have on each device
    settings    settings of the framework that change numerics
    versions    versions of the distributions that can change results, the framework's own first
    reason      why it is not ready
    next_step   what to do about that
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
    """The finding for each named backend, in that order; those that are not cached are examined in parallel.

    `adapters` are files that define some of the backends; `cache` is a JSON file of findings.
    """
    files = [Path(adapter).resolve() for adapter in adapters]
    for file in files:
        registry.add(file)
    keys = {name: _cache_key(name) for name in names}
    cached = _read(cache)
    valid = [name for name in keys if cached.get(name, {}).get("key") == keys[name]]
    findings = {name: Finding(**cached[name]["finding"]) for name in valid}
    missing = [name for name in keys if name not in findings]
    with ThreadPoolExecutor(max_workers=len(missing) or 1) as pool:
        findings |= zip(missing, pool.map(lambda name: _probe_in_process(name, files, timeout), missing), strict=True)
    if cache and missing:
        new = {name: {"key": keys[name], "finding": asdict(findings[name])} for name in missing}
        _write(cache, cached | {name: entry for name, entry in new.items() if findings[name].status == "ready"})
    return {name: findings[name] for name in keys}


# In its own process -----------------------------------------------------------------------------------------------


def _probe_in_process(name: str, adapters: list[Path], timeout: float) -> Finding:
    """The finding that a process importing the framework prints, or one that says how the process ended."""
    options = [option for file in adapters for option in ("--adapter", str(file))]
    command = [sys.executable, "-m", "backends.discovery.inventory", name, *options]
    root = Path(__file__).parents[2]
    try:
        process = subprocess.run(
            command,
            cwd=root,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return _broken_finding(name, f"it did not answer within {timeout:g} s")
    if process.returncode == 0 and (line := _last_line(process.stdout)).startswith("{"):
        return Finding(**json.loads(line))
    message = _last_line(process.stderr)
    if process.returncode < 0:
        reason = f"importing it ended the process with {signal.Signals(-process.returncode).name}"
        return _broken_finding(name, f"{reason}: {message}" if message else reason)
    return _broken_finding(name, message or f"its process ended with status {process.returncode} and no message")


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def examine(name: str) -> Finding:
    """Import a backend's framework into this process and return what it offers."""
    backend_class = registry.load_class(name)
    try:
        backend = registry.get(name)
        devices = {device: sorted(backend.dtypes(device)) for device in backend.devices()}
        settings = backend.settings()
    except ModuleNotFoundError as error:
        # An installed framework without one of its own dependencies is broken, not missing
        distribution = backend_class.distribution
        if _installed_versions(backend_class).get(distribution) is None:
            reason = f"{distribution} is not installed ({error})"
            return Finding(name, "missing", reason=reason, next_step=f"pip install {distribution}")
        return _broken_finding(name, f"{type(error).__name__}: {error}")
    except Exception as error:
        return _broken_finding(name, f"{type(error).__name__}: {error}")
    if not devices:
        return _broken_finding(name, "it finds no device")
    return Finding(name, "ready", backend_class.version(), devices, settings, _installed_versions(backend_class))


def _broken_finding(name: str, reason: str) -> Finding:
    backend_class = registry.load_class(name)
    versions = _installed_versions(backend_class)
    adapter = [f"--adapter={registry.source(name)}"] if registry.is_added(name) else []
    command = shlex.join(["python", "-m", "backends.discovery.inventory", name, *adapter])
    version = versions.get(backend_class.distribution)
    return Finding(name, "broken", version, versions=versions, reason=reason, next_step=command)


# What a finding depends on ----------------------------------------------------------------------------------------


def _cache_key(name: str) -> str:
    """A hash of everything on which a finding depends."""
    files = [Path(sys.executable), registry.source(name), Path(base.__file__), Path(__file__)]
    variables = {key: value for key, value in os.environ.items() if key.startswith(VARIABLES)}
    dependencies = [
        [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files],
        _installed_versions(registry.load_class(name)),
        sorted(variables.items()),
        sorted(path for pattern in DEVICE_FILES for path in glob(pattern)),
        os.cpu_count(),
    ]
    return hashlib.sha256(json.dumps(dependencies).encode()).hexdigest()


def _installed_versions(backend: type[Backend]) -> dict[str, str]:
    """The versions of those distributions of the backend that are installed."""
    versions = {}
    for distribution in (backend.distribution, *backend.related):
        try:
            versions[distribution] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _read(cache: Path | None) -> dict[str, Any]:
    try:
        return dict(json.loads(cache.read_text())) if cache else {}
    except (OSError, ValueError):
        return {}  # there is none yet, or it is truncated: every backend is examined again


def _write(cache: Path, entries: dict[str, Any]) -> None:
    """Replace the file atomically, so that another session never reads half of it."""
    cache.parent.mkdir(parents=True, exist_ok=True)
    temporary = cache.with_name(f"{cache.name}.{os.getpid()}")
    temporary.write_text(json.dumps(entries, indent=1))
    temporary.replace(cache)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m backends.discovery.inventory", description="What one backend offers here."
    )
    parser.add_argument("name")
    parser.add_argument("--adapter", action="append", default=[], metavar="FILE")
    options = parser.parse_args(arguments)
    for file in options.adapter:
        registry.add(file)
    Backend.quiet = False  # if it crashes, what it wrote last becomes the reason
    print("\n" + json.dumps(asdict(examine(options.name))), flush=True)


if __name__ == "__main__":
    main()
