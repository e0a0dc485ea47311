"""What belongs to the whole process, and is put back after a call of an adapter that changed it.

Only what has changed is touched.  A project's own backend may set variables for its framework and replace functions;
an adapter of the user's may set variables until it has been created, for a framework that is imported sets some.
"""

from __future__ import annotations

import builtins
import json
import os
import signal
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from operator import is_
from typing import Any

import numpy as np

from backends.discovery.namespaces import restored_functions

try:
    import resource
except ImportError:  # then there are none
    resource = None  # type: ignore[assignment]

LIMITS = [number for name, number in vars(resource).items() if name.startswith("RLIMIT_")] if resource else []
SIGNALS = [number for name in ("SIGINT", "SIGALRM", "SIGTERM") if (number := getattr(signal, name, None))]
IMPORTING = ("path", "meta_path", "path_hooks")  # of sys: lists, to which a framework may add
STREAMS = ("stdin", "stdout", "stderr")  # by their descriptors
MODULES = (json, np, os, time)  # whose functions and values the suite itself needs until a record is written


class Lent:
    """A stream that is flushed where it would be closed."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def close(self) -> None:
        self.stream.flush()


@contextmanager
def restored_wholly() -> Generator[None, None, None]:
    """Put back all that is listed here."""
    with restored_at_start(), _restored_environment(), _restored_modules():
        yield


@contextmanager
def restored_at_start() -> Generator[None, None, None]:
    """Put back all but the environment and the modules: for an adapter that is imported or created."""
    with restored_streams(), restored(), restored_functions(), _restored_limits():
        yield


@contextmanager
def restored() -> Generator[None, None, None]:
    """Put back the working folder, the handlers of signals and NumPy's error state."""
    folder = _folder()
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        with np.errstate():
            yield
    finally:
        if folder and _folder() != folder:
            with suppress(OSError):
                os.chdir(folder)
        for number, handler in handlers.items():
            if handler is not None and signal.getsignal(number) is not handler:
                with suppress(ValueError):
                    signal.signal(number, handler)


@contextmanager
def _restored_limits() -> Generator[None, None, None]:
    """Put back the limits of resources that a process may raise again."""
    limits = {number: resource.getrlimit(number) for number in LIMITS}
    try:
        yield
    finally:
        for number, limit in limits.items():
            if resource.getrlimit(number) != limit:
                with suppress(OSError, ValueError):  # the hard one was lowered
                    resource.setrlimit(number, limit)


@contextmanager
def restored_streams() -> Generator[None, None, None]:
    """Put back the standard streams and their descriptors."""
    streams = {name: getattr(sys, name) for name in STREAMS}
    kept = {}
    for number in range(len(STREAMS)):
        with suppress(OSError):  # of one that is closed
            kept[number] = os.dup(number)
    try:
        for name, stream in streams.items():
            setattr(sys, name, stream and Lent(stream))
        yield
    finally:
        vars(sys).update(streams)
        for number, copy in kept.items():
            with suppress(OSError):
                os.dup2(copy, number)
                os.close(copy)


@contextmanager
def _restored_modules() -> Generator[None, None, None]:
    """Put back modules that were forgotten, how modules are found, and what was replaced in some."""
    modules, contents = dict(sys.modules), [(vars(module), dict(vars(module))) for module in MODULES]
    functions = dict(vars(builtins))
    finders = {name: (held := getattr(sys, name), list(held)) for name in IMPORTING}
    trace, depth = sys.gettrace(), sys.getrecursionlimit()
    try:
        yield
    finally:
        vars(builtins).update(functions)  # without a look: what would look is among them
        sys.settrace(trace)
        sys.setrecursionlimit(depth)
        sys.modules.update(modules)
        for name, (held, before) in finders.items():
            held[:0] = [item for item in before if item not in held]
            setattr(sys, name, held)
        for now, then in contents:
            if len(now) < len(then) or not all(map(is_, then.values(), now.values())):
                now.update(then)


@contextmanager
def _restored_environment() -> Generator[None, None, None]:
    variables = dict(os.environ)
    try:
        yield
    finally:
        if dict(os.environ) != variables:
            os.environ.clear()
            os.environ.update(variables)


def _folder() -> str | None:
    with suppress(OSError):
        return os.getcwd()
    return None
