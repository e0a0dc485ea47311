"""Whether a user's file can be imported at all, found out in a process of its own.

What the file raises can be told by whoever imports it.  One that ends its process, or never returns, would take the
session with it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

FORKS = multiprocessing.get_context("fork")  # so that nothing that is imported here is imported again
LIMIT = 60.0  # seconds; frameworks are not imported with the file
PATIENCE = 5.0  # seconds until it is said what is waited for
GRACE = 5.0  # seconds that a process has to end, once it cannot answer any more


def find_end(file: Path, load: Callable[[Path], object]) -> str | None:
    """How `load(file)` ends, or keeps, the process that calls it; None if it returns, or raises anything."""
    answer, sender = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=_import, args=(file, load, sender), daemon=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads: none of them is needed there
        process.start()
    sender.close()
    try:
        if not answer.poll(min(PATIENCE, LIMIT)):
            print(f"waiting for {file} to be imported …", file=sys.stderr, flush=True)
            if not answer.poll(max(0, LIMIT - PATIENCE)):
                return f"importing it did not end within {LIMIT:g} s"
        answer.recv_bytes()
        return None
    except EOFError:
        process.join(GRACE)
        return f"importing it ended the process ({_describe(process.exitcode)})"
    finally:
        process.kill()
        process.join()
        answer.close()


def _import(file: Path, load: Callable[[Path], object], sender: Connection) -> None:
    """In the new process: answer once the file was imported, whatever that raised."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(nothing, standard)
    with suppress(BaseException):
        load(file)
    sender.send_bytes(b"done")
    os._exit(0)


def _describe(status: int | None) -> str:
    if status is None:
        return "how is not known"
    return signal.Signals(-status).name if status < 0 else f"exit status {status}"
