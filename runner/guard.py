"""What an adapter may do to a session: at most, make an error of the check in which it does it.

A framework may refuse a computation by an exception; that is a result.  To leave the program, to skip, or to return
something that is no array is not.  Whatever it changes for the whole process is put back
(`backends.discovery.restoring`), and so is how the processor computes; that is an error, because nobody knows what was
computed meanwhile.
"""

from __future__ import annotations

import os
import re
import signal
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

from backends.discovery.restoring import restored, restored_at_start, restored_wholly
from runner.program import PROJECT
from specs.arithmetic import environment
from specs.arithmetic.precision import Precision
from specs.verdict.direction import MisbehaviourError

try:
    import pytest_timeout
except ImportError:  # then nothing ends a check that hangs, either
    pytest_timeout = None

BACKENDS = PROJECT / "backends"
# What calls the methods that an adapter defines
CALLERS = (__file__, str(BACKENDS / "base.py"), str(BACKENDS / "contract" / "capabilities.py"))
STARTING = ("__init__", "keep_compiled")
COMPUTING = ("run", "outputs", "gradient", "evaluate")  # methods whose exceptions are an answer of the framework
PYTESTS_OWN = (pytest.skip.Exception, pytest.fail.Exception, pytest.exit.Exception)
MISCALLED = re.compile(r"positional argument|required keyword-only argument|unexpected keyword argument")
INTERRUPTED = 130  # what a shell says of a program that SIGINT ended
FRAMES = 3
LONGEST = 300  # characters of a message


@dataclass(frozen=True)
class Guarded:
    """A backend whose every method is guarded; `file` is the adapter that is blamed."""

    backend: Any
    file: Path
    is_added: bool

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.backend, name)
        if not callable(value):
            return value

        def call(*arguments: Any, **named: Any) -> Any:
            return guarded(lambda: value(*arguments, **named), name, self.file, self.is_added)

        return call


def guarded(call: Callable[[], Any], name: str, file: Path, is_added: bool) -> Any:
    """What a call of an adapter's method returns; raises MisbehaviourError for anything that no framework may do.

    The exceptions of a method that computes are passed on, and so are a timeout and the user's own Ctrl-C.
    """
    process = os.getpid()
    if environment.restore() and (change := environment.find_change()):
        raise MisbehaviourError(
            f"an earlier call left the processor in a state in which {change}: use -n 1, or run alone"
        )
    try:
        with _restored(name, is_added):
            result = call()
    except BaseException as error:
        if _is_not_its_own(error) or (name in COMPUTING and _is_an_answer(error)):
            raise
        raise MisbehaviourError(f"{_blame(file)} {_describe(error, name)}{_frames(error)}") from None
    finally:
        change = environment.restore()
        if os.getpid() != process:  # a fork that came back: it would go on with the session a second time
            os._exit(0)
    if change:
        raise MisbehaviourError(f"{_blame(file)} left the processor in a state in which {change}, from `{name}`")
    if flaw := _flaw(result, name):
        raise MisbehaviourError(f"{_blame(file)} returned {flaw}, from `{name}`")
    return result


def _restored(name: str, is_added: bool) -> AbstractContextManager[object]:
    """A context that puts back what a method may not change; an adapter of the user's has less to change."""
    if name in COMPUTING:
        return restored_wholly() if is_added else restored()
    return restored_at_start() if name in STARTING and is_added else nullcontext()


def _is_not_its_own(error: BaseException) -> bool:
    """Whether it reached the adapter from outside: by the user, or by pytest-timeout."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPT.received
    frames = traceback.walk_tb(error.__traceback__)
    return bool(pytest_timeout) and any(frame.f_code.co_filename == pytest_timeout.__file__ for frame, _ in frames)


def _is_an_answer(error: BaseException) -> bool:
    """Whether a framework may answer so: with an exception that can be read, out of its own code."""
    return isinstance(error, Exception) and not isinstance(error, PYTESTS_OWN) and not _flaw_of(error)


def _flaw_of(error: BaseException) -> str | None:
    """What is wrong with an exception itself."""
    try:
        text = str(error)
    except BaseException as another:
        return f"raised {type(error).__name__}, whose text cannot be made ({type(another).__name__})"
    last = list(traceback.walk_tb(error.__traceback__))[-1:]
    called_by_us = all(frame.f_code.co_filename in CALLERS for frame, _ in last)
    if isinstance(error, TypeError) and called_by_us and MISCALLED.search(text):
        return f"has another signature: {text[:LONGEST]}"
    if isinstance(error, KeyError) and called_by_us:
        return f"returned outputs without {text[:LONGEST]}"
    return None


def _describe(error: BaseException, name: str) -> str:
    if flaw := _flaw_of(error):
        return flaw
    message = " ".join(str(error).split())[:LONGEST]
    return f"raised {type(error).__name__}: {message}".rstrip(": ") + f", from `{name}`"


def _flaw(result: Any, name: str) -> str | None:
    """What a method returned in place of what its contract says; None for the right thing."""
    if name == "run":
        return _flaw_of_array(result)
    if name == "unsupported" and not isinstance(result, str | None):
        return f"{_kind(result)}, where a reason or None is required"
    if name == "precision" and not isinstance(result, Precision):
        return f"{_kind(result)}, where a precision is required"
    if name not in COMPUTING:
        return None
    if not isinstance(result, Mapping):
        return f"{_kind(result)}, where arrays by name are required"
    flaws = ((key, _flaw_of_array(value)) for key, value in result.items())
    return next((f"{flaw} as {key!r:.40}" for key, flaw in flaws if flaw), None)


def _flaw_of_array(result: Any) -> str | None:
    if not isinstance(result, np.ndarray | np.generic):
        return f"{_kind(result)}, where a NumPy array is required"
    if result.dtype.hasobject or result.dtype.kind in "SUMm" or result.dtype.names:
        return f"an array of {result.dtype}, where numbers are required"
    return None


def _kind(result: Any) -> str:
    return "None" if result is None else f"a value of type {type(result).__name__}"


def _blame(file: Path) -> str:
    return f"the adapter {_short(str(file))}"


def _frames(error: BaseException) -> str:
    """The last frames of the adapter's traceback, the innermost first; "" where it has none."""
    frames = [(frame.f_code, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    own = [
        f"{_short(code.co_filename)}:{line} in {code.co_name}"
        for code, line in frames
        if code.co_filename not in CALLERS
    ]
    return f" ({', called by '.join(own[: -FRAMES - 1 : -1])})" if own else ""


def _short(file: str) -> str:
    """A file of the project from its root, any other by its name: records say nothing of the machine."""
    with suppress(ValueError):
        return Path(file).relative_to(PROJECT).as_posix()
    return Path(file).name


# The user's Ctrl-C ----------------------------------------------------------------------------------------------------


class Interrupt:
    """Whether the user pressed Ctrl-C: then a KeyboardInterrupt is not the adapter's."""

    received = False

    def install(self, is_worker: bool) -> None:
        """Note the signal, and go on as before; outside the main thread there is nothing to note.

        A worker ends: the user's Ctrl-C ends its controller too, and for that, what a thread of an adapter makes of
        `interrupt_main` is the death of a worker, which costs one check.
        """
        before = signal.getsignal(signal.SIGINT)
        if not callable(before):
            return

        def handle(number: int, frame: FrameType | None) -> Any:
            self.received = True
            return os._exit(INTERRUPTED) if is_worker else before(number, frame)

        with suppress(ValueError):
            signal.signal(signal.SIGINT, handle)


INTERRUPT = Interrupt()
