"""What an adapter may leave behind does not delay the end of a session: a thread or a process that does not end."""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

try:
    from execnet.gateway_base import Channel
except ImportError:  # then there are no workers

    class Channel: ...  # type: ignore[no-redef]


GRACE = 2.0  # seconds that threads have once the program itself has ended
SESSION = pytest.StashKey[pytest.Session]()


def pytest_sessionstart(session: pytest.Session) -> None:
    session.config.stash[SESSION] = session
    for plugin in session.config.pluginmanager.get_plugins():
        if isinstance(channel := getattr(plugin, "channel", None), Channel):  # of a worker, to the controller
            os.register_at_fork(after_in_child=partial(_let_go, channel.gateway._io))


def _let_go(connection: Any) -> None:
    """The controller waits until nobody has the worker's end of their connection."""
    with suppress(AttributeError, OSError, ValueError), open(os.devnull, "r+b") as nothing:
        for file in (connection.infile, connection.outfile):
            os.dup2(nothing.fileno(), file.fileno())


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Python waits for every thread that is no daemon: for one that never ends, it is watched from one that is."""
    if SESSION in config.stash and _others():
        threading.Thread(target=_end, args=(config.stash[SESSION],), daemon=True).start()


def _end(session: pytest.Session) -> None:
    """End the process, with the status of its session, if threads keep it from ending; never before its program has."""
    threading.main_thread().join()
    time.sleep(GRACE)
    names = ", ".join(thread.name for thread in _others())
    print(f"\nended without waiting for a thread that an adapter left running: {names}", file=sys.stderr, flush=True)
    os._exit(int(session.exitstatus))


def _others() -> list[threading.Thread]:
    threads = threading.enumerate()
    return [thread for thread in threads if not thread.daemon and thread is not threading.main_thread()]
