"""Which backends can be used on this machine, determined without importing a framework into this process.

Each backend is examined in its own process, because importing a framework can take seconds, abort, or hang:

    python -m backends.discovery.inventory NAME [--adapter FILE]... [CASE FILE]...

prints its finding as JSON on the last line, with the checks of the case files that it does not support.  The finding of
a backend that works is cached until something that it depends on changes; the others are examined again each time.
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
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from glob import glob
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Literal

from backends import base
from backends.base import Backend
from backends.discovery import registry
from specs.arithmetic.formats import DTYPES
from specs.case.loading import load_usable
from specs.case.problems import suggest
from specs.reference.cache import source_digest
from specs.verdict.check import Check
from specs.verdict.place import iter_checks
from specs.verdict.record import to_plain

TIMEOUT = 600.0  # seconds; the slowest framework needs about 6 on two busy cores, but minutes from a cold network disk
PATIENCE = 10.0  # seconds until it is said again what is waited for
LARGEST_TABLE = 2000  # contents of case files for which it is kept what a backend does not support

# Prefixes of the variables on which findings depend; also the name of a backend itself
VARIABLES = (
    "CUDA_",
    "CXX",
    "HIP_",
    "KERAS_",
    "MKL_",
    "NPROC",
    "NVIDIA_",
    "OMP_",
    "OPENBLAS_",
    "ROCR_",
    "TF_",
    "XLA_",
)
ROOT = Path(__file__).parents[2]
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
    lacking     for each case file that was asked about, the names of the checks that are unsupported, of all that could
                be requested: every mode, and what runs on request only
    """

    backend: str
    status: Literal["ready", "missing", "broken"]
    version: str | None = None
    devices: dict[str, list[str]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    reason: str | None = None
    next_step: str | None = None
    lacking: dict[str, list[str]] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """What a run's description keeps of it."""
        return {name: value for name, value in asdict(self).items() if name != "lacking"}


def probe(
    names: Iterable[str],
    adapters: Iterable[str | Path] = (),
    cache: Path | None = None,
    timeout: float = TIMEOUT,
    case_files: Sequence[Path] = (),
    announce: Callable[[list[str], float], None] = lambda names, seconds: None,
) -> dict[str, Finding]:
    """The finding for each named backend, in that order; those that are not cached are examined in parallel.

    `adapters` are files that define some of the backends; `cache` is a JSON file of findings; `announce` is called with
    the names of those backends that are waited for and the seconds since they were started, at once and now and then.
    """
    for adapter in adapters:
        registry.add(adapter)
    keys = {name: _cache_key(name) for name in names}
    digests = {str(file): _digest(file) for file in case_files}
    cached = _read(cache)
    valid = {name: entry for name, entry in cached.items() if entry.get("key") == keys.get(name)}
    known: dict[str, dict[str, list[str]]] = {name: entry["lacking"] for name, entry in valid.items()}
    unknown = {
        name: [path for path, digest in digests.items() if digest not in known.get(name, {})]
        for name in keys
        if name not in valid or not known[name].keys() >= set(digests.values())
    }
    answers = _probe_in_processes(unknown, timeout, announce)
    findings: dict[str, Finding] = {}
    for name in keys:
        finding = answers.get(name) or Finding(**valid[name]["finding"])
        by_digest = known.get(name, {}) | {digests[path]: names for path, names in finding.lacking.items()}
        lacking = {path: by_digest[digest] for path, digest in digests.items() if digest in by_digest}
        findings[name] = replace(finding, lacking=lacking)
        if name in answers and finding.status == "ready":
            kept = dict(list(by_digest.items())[-LARGEST_TABLE:])
            cached[name] = {"key": keys[name], "finding": finding.facts(), "lacking": kept}
    if cache and answers:
        _write(cache, cached)
    return findings


# In its own process -----------------------------------------------------------------------------------------------


def _probe_in_processes(
    requests: dict[str, list[str]],
    timeout: float,
    announce: Callable[[list[str], float], None],
) -> dict[str, Finding]:
    """The findings of several backends, each with the case files that it is asked about, examined in parallel."""
    with ThreadPoolExecutor(max_workers=len(requests) or 1) as pool:
        futures = {pool.submit(_probe_in_process, name, files, timeout): name for name, files in requests.items()}
        seconds, pending = 0.0, set(futures)
        while pending:
            announce(sorted(futures[future] for future in pending), seconds)
            seconds, pending = seconds + PATIENCE, wait(pending, PATIENCE).not_done
        # An adapter's text may be none that can be written
        return {name: Finding(**to_plain(asdict(future.result()))) for future, name in futures.items()}


def _probe_in_process(name: str, case_files: list[str], timeout: float) -> Finding:
    """The finding that a process importing the framework prints, or one that says how the process ended."""
    if reason := registry.unusable(name):
        return _broken_finding(name, reason)
    options = ["--adapter", str(registry.source(name))] if registry.is_added(name) else []
    command = [sys.executable, "-m", "backends.discovery.inventory", name, *options, *case_files]
    # A pipe would be waited for as long as any process has it that an adapter leaves behind
    with TemporaryFile("w+", errors="replace") as out, TemporaryFile("w+", errors="replace") as err:
        try:
            process = subprocess.run(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=err, timeout=timeout
            )
        except subprocess.TimeoutExpired:
            return _broken_finding(name, f"it did not answer within {timeout:g} s")
        for file in (out, err):
            file.seek(0)
        printed = out.read().splitlines() if process.returncode == 0 else []
        message = _last_line(err.read())
    for line in reversed(printed):  # an adapter may print, also after the finding
        with suppress(ValueError, TypeError):
            if line.startswith("{"):
                return Finding(**json.loads(line))
    if process.returncode < 0:
        reason = f"importing it ended the process with {signal.Signals(-process.returncode).name}"
        return _broken_finding(name, f"{reason}: {message}" if message else reason)
    return _broken_finding(name, message or f"its process ended with status {process.returncode} and no message")


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def examine(name: str, case_files: Sequence[Path] = ()) -> Finding:
    """Import a backend's framework into this process and return what it offers."""
    backend_class = registry.load_class(name)
    try:
        backend = registry.get(name)
        devices = {device: sorted(backend.dtypes(device)) for device in backend.devices()}
        if unknown := [name for names in devices.values() for name in names if name not in DTYPES]:
            advice = suggest(unknown[0], DTYPES) or f"known: {', '.join(DTYPES)}"
            return _broken_finding(name, f"{registry.source(name)}: its dtypes: unknown name {unknown[0]!r} ({advice})")
        if not isinstance(settings := backend.settings(), dict):
            return _broken_finding(name, f"{registry.source(name)}: its settings are no mapping: {settings!r:.80}")
        lacking = {str(file): _unsupported(backend, devices, file) for file in case_files}
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
    versions = _installed_versions(backend_class)
    return Finding(name, "ready", backend_class.version(), devices, settings, versions, lacking=lacking)


def _unsupported(backend: Backend, devices: Iterable[str], file: Path) -> list[str]:
    """The names of the checks of a file that the backend cannot run; none of a file that cannot be used.

    Raises what the backend raises where a session asks what a check costs.
    """
    places = [replace(backend.place(device), modes=tuple(backend.modes), on_request=frozenset()) for device in devices]
    files = load_usable([file], file.parent)
    checks = [check for _, cases in files for case in cases for check in iter_checks(case, places)]
    if registry.is_added(backend.name):
        for check in checks:
            float(backend.cost(check)), backend.is_handwritten(check)
    return [check.name for check in checks if _lacks(backend, check)]


def _lacks(backend: Backend, check: Check) -> bool:
    """Whether a check is declared to be unsupported; where the declaration fails, the check will tell."""
    try:
        return bool(backend.unsupported(check))
    except BaseException:
        return False


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
    variables = {key: value for key, value in os.environ.items() if key.startswith((*VARIABLES, f"{name.upper()}_"))}
    dependencies = [
        [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files],
        _installed_versions(registry.load_class(name)),
        sorted(variables.items()),
        sorted(path for pattern in DEVICE_FILES for path in glob(pattern)),
        os.cpu_count(),
    ]
    return hashlib.sha256(json.dumps(dependencies).encode()).hexdigest()


def _digest(file: Path) -> str:
    """Of a case file and of the sources that decide what a backend supports."""
    content = "".join(source_digest(ROOT / room) for room in ("specs/case", "backends")).encode()
    with suppress(OSError):  # it is told where the file is collected
        content += file.read_bytes() if file.is_file() else b""
    return hashlib.sha256(content).hexdigest()[:16]


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
    """The entries of the file; none if it is not as it was written: every backend is examined again."""
    try:
        stated = json.loads(cache.read_text()) if cache else {}
        entries = dict(stated["entries"])
        return entries if stated["checksum"] == _checksum(entries) else {}
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return {}


def _write(cache: Path, entries: dict[str, Any]) -> None:
    """Replace the file atomically, so that another session never reads half of it."""
    cache.parent.mkdir(parents=True, exist_ok=True)
    temporary = cache.with_name(f"{cache.name}.{os.getpid()}")
    temporary.write_text(json.dumps({"checksum": _checksum(entries), "entries": entries}, indent=1))
    temporary.replace(cache)


def _checksum(entries: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m backends.discovery.inventory", description="What one backend offers here."
    )
    parser.add_argument("name")
    parser.add_argument("--adapter", action="append", default=[], metavar="FILE")
    parser.add_argument("case_files", nargs="*", type=Path, metavar="CASE FILE")
    options = parser.parse_intermixed_args(arguments)
    try:
        for file in options.adapter:
            registry.add(file)
    except registry.AdapterError as error:
        parser.error(str(error))
    Backend.quiet = False  # if it crashes, what it wrote last becomes the reason
    with open(os.dup(sys.stdout.fileno()), "w") as answer:  # an adapter may close what it finds
        print("\n" + json.dumps(asdict(examine(options.name, options.case_files))), file=answer)


if __name__ == "__main__":
    main()
