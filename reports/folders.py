"""Where runs are: `.conformance/runs/<time>-<what>`, or the folder that `--report` names.

No two sessions write to one folder: each takes a lock on its own, which ends with its process.  `.conformance/latest`
points to the last whole run; a part of a run, such as a check that is run again, never replaces it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

try:
    import fcntl
except ImportError:  # where there is none, two sessions that are given one folder are not told
    fcntl = None  # type: ignore[assignment]

RECORDS, CASES, RUN = "records.jsonl", "cases.jsonl", "run.json"
RUNNING = "running"  # begins with the id of the check that runs, where no other process could tell how that ended
VIEWS = ("index.html", "summary.md", "badge.json")  # written by `reports.views` from the files above
HOME, RUNS, LATEST = ".conformance", "runs", "latest"
LAST = Path(HOME, LATEST)  # what is read where no run is named
FUZZ = "fuzz"
KEPT = 10  # whole runs, and as many that are a part
NAME = re.compile(r"\d{8}T\d{6}-.+")
LONGEST_NAME = 60
ROOM = 64 * 2**10  # bytes that must be free to begin with


class FolderError(Exception):
    """A folder cannot be written, or must not be; the message says why in one sentence."""


@dataclass
class RunFolder:
    """The folder of one session.

    home     the `.conformance` in which it stands; None if the user named the folder
    made     the folders that were made for it, the outermost first
    lock     the descriptor that holds the lock; None where the file system has none
    """

    path: Path
    home: Path | None
    made: list[Path]
    lock: int | None = None

    def clear(self) -> None:
        """Remove the run that was here before; that there is nothing else is known since the folder was taken."""
        for name in (RUN, RUNNING, *VIEWS, RECORDS, CASES):
            (self.path / name).unlink(missing_ok=True)

    def give_back(self) -> None:
        """Remove what was made for a session that recorded nothing, unless it has findings."""
        for folder in (self.path / FUZZ, *reversed(self.made)):
            with suppress(OSError, ValueError):
                folder.rmdir()

    def publish(self, is_whole: bool) -> None:
        """Let `latest` point here, if this is a whole run, and remove the oldest runs; raises FolderError."""
        if self.home is None:
            return
        if is_whole:
            _point(self.home / LATEST, f"{RUNS}/{self.path.name}")
        _prune(self.home)


def new(home: Path, what: str) -> RunFolder:
    """A folder of its own for a session that runs `what`: the tier, and after a dash what narrows it."""
    started = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    name = f"{started}-{re.sub(r'[^A-Za-z0-9._-]+', '_', what)[:LONGEST_NAME]}"
    for number in range(1, 1000):
        path = home / RUNS / (name if number == 1 else f"{name}.{number}")
        with suppress(FileExistsError):
            return _take(path, home, exclusive=True)
    raise FolderError(f"{home / RUNS} has no room for another run of this second")


def given(path: Path) -> RunFolder:
    """The folder that the user named; FolderError if it holds anything but a run, or is one of the suite's own."""
    if HOME in (*Path(os.path.abspath(path)).parts, *Path(os.path.realpath(path)).parts):
        raise FolderError(f"{path} is where sessions keep runs by themselves: name a folder outside of {HOME}")
    if _is_folder(path) and (other := _foreign(path)):
        raise FolderError(f"{path} holds {other}, which is not of a run: name an empty folder, or one of a run")
    return _take(path, None, exclusive=False)


def refuse_file_of_run(file: Path) -> None:
    """Raise FolderError for one of the files that a run consists of, or that are made from them."""
    real = Path(os.path.realpath(file))
    if real.name in (RECORDS, CASES, RUN, RUNNING, *VIEWS) and (real.parent / RUN).exists():
        raise FolderError(f"{file} is a file of the run in {file.parent}: name another one")


def resolve(folder: Path) -> Path:
    """The folder itself; for a `latest` that could not be made a link, the one that it names."""
    with suppress(OSError, UnicodeDecodeError):
        if folder.is_file() and (target := folder.read_text(encoding="utf-8")).startswith(f"{RUNS}/"):
            return folder.parent / target
    return folder


def ended_early(home: Path, named: Path | None = None) -> Iterator[tuple[Path, str]]:
    """Runs whose process died, at home or in the folder that is named, with the check in which it did.

    Each is returned once, and noted in its `run.json`.
    """
    marks = sorted((home / RUNS).glob(f"*/{RUNNING}"))
    for folder in [*(mark.parent for mark in marks), *([named] if named else [])]:
        if id := ended_in(folder):
            with suppress(OSError, ValueError):
                facts = json.loads((folder / RUN).read_text(encoding="utf-8")) | {"ended_in": id}
                replace_text(folder / RUN, json.dumps(facts, ensure_ascii=False, indent=1) + "\n")
            with suppress(OSError):
                (folder / RUNNING).unlink()
            yield folder, id


def ended_in(folder: Path) -> str | None:
    """The check in which the process of a run died; None where it did not, or still runs."""
    with suppress(OSError, ValueError, FolderError):
        id = (folder / RUNNING).read_text(encoding="utf-8", errors="replace").partition("\n")[0]
        if (lock := _lock(folder)) is not None:
            os.close(lock)
        return id
    return None


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of the files of records and cases, by which a reader sees that they are as the run wrote them."""
    files = [folder / name for name in (RECORDS, CASES) if (folder / name).exists()]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def replace_text(file: Path, text: str) -> None:
    """Write a file in one step: a reader gets what was there before, or all of the new text."""
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(file)
    except OSError:
        with suppress(OSError):
            unfinished.unlink()
        raise


def _take(path: Path, home: Path | None, exclusive: bool) -> RunFolder:
    """Make, lock and try the folder; FileExistsError for one that is there, if it must be new."""
    folder = RunFolder(path, home, [parent for parent in (*reversed(path.parents), path) if not _is_folder(parent)])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(exist_ok=not exclusive)
        folder.lock = _lock(path)
        trial = path / f".{RUN}.{os.getpid()}"
        try:
            trial.write_bytes(b"\n" * ROOM)
        finally:
            with suppress(OSError):
                trial.unlink()
    except (OSError, ValueError) as error:
        if exclusive and isinstance(error, FileExistsError) and _is_folder(path):
            raise
        folder.give_back()
        raise FolderError(f"{path} cannot be written: {describe(error)}") from error
    return folder


def describe(error: BaseException) -> str:
    """An error of the system in words, without its number."""
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__


def _lock(path: Path) -> int | None:
    """Keep others out for as long as this process lives; raises FolderError if another session is here."""
    if fcntl is None:
        return None
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise FolderError(f"{path} is being written by another session: name another folder") from error
    except OSError:  # of a file system without locks
        os.close(descriptor)
        return None
    return descriptor


def _foreign(path: Path) -> str | None:
    """Something in a folder that is not of a run; None if it is empty or holds nothing but a run."""
    try:
        names = sorted(entry.name for entry in path.iterdir())
    except OSError as error:
        raise FolderError(f"{path} cannot be read: {describe(error)}") from error
    files = {RECORDS, CASES, RUN, RUNNING, *VIEWS}
    certain = files if _is_of_the_suite(path / RUN) else {RECORDS, CASES, RUNNING}
    for name in names:
        is_findings = name == FUZZ and all("fuzzed_" in _text(file) for file in (path / FUZZ).glob("*"))
        if name not in certain and not is_findings and not name.startswith(f".{RUN}."):
            return name
    return None


def _is_folder(path: Path) -> bool:
    """False also for a name that cannot be one."""
    return os.path.isdir(path)


def _text(file: Path) -> str:
    with suppress(OSError):
        return file.read_text(encoding="utf-8", errors="replace")
    return ""


def _is_of_the_suite(file: Path) -> bool:
    try:
        facts = json.loads(_text(file))
    except (ValueError, RecursionError):
        return False
    return isinstance(facts, dict) and isinstance(facts.get("schema"), int) and "backends" in facts


def _point(latest: Path, target: str) -> None:
    unfinished = latest.with_name(f".{LATEST}.{os.getpid()}")
    try:
        try:
            unfinished.symlink_to(target)
        except (OSError, NotImplementedError):  # Windows without the right to make links, or such a file system
            unfinished.write_text(target, encoding="utf-8")
        unfinished.replace(latest)
    except OSError as error:
        with suppress(OSError):
            unfinished.unlink()
        raise FolderError(f"{latest} does not point to this run: {describe(error)}") from error


def _prune(home: Path) -> None:
    """Remove the oldest runs beyond `KEPT`, never one that is written, that `latest` points to, or with findings."""
    latest = resolve(home / LATEST).resolve()
    names = sorted((folder.name for folder in (home / RUNS).iterdir() if NAME.fullmatch(folder.name)), reverse=True)
    parts = [name for name in names if "-" in name.partition("-")[2]]
    for name in [*[name for name in names if name not in parts][KEPT:], *parts[KEPT:]]:
        folder = home / RUNS / name
        with suppress(OSError, FolderError):
            if folder.resolve() == latest or folder.is_symlink() or (folder / FUZZ).exists() or _foreign(folder):
                continue
            lock = _lock(folder)
            shutil.rmtree(folder)
            if lock is not None:
                os.close(lock)
