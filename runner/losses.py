"""A host or a worker that is lost in the middle of a session: the others go on, or the session ends with a sentence.

pytest-xdist starts another worker for each that ends, and gives up with a traceback where it cannot.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from runner.hosts import HERE, host_name

# ssh ends when it has heard nothing of its host for 45 seconds; when it logs in again, all wait for it: for 15 at most
ALIVE = "-o ConnectTimeout=15 -o ServerAliveInterval=15"
NONE_LEFT = "Unexpectedly no active workers available"  # the words of pytest-xdist


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(specs: list[Any]) -> None:
    for spec in specs:
        if spec.ssh:
            spec.ssh = f"{ALIVE} {spec.ssh}"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    distributed = session.config.pluginmanager.getplugin("dsession")
    if distributed:
        replace, lost = distributed._clone_node, set[str]()
        distributed._clone_node = lambda node: _replaced(distributed, replace, node, lost)
    try:
        return (yield)
    except RuntimeError as error:
        if str(error) != NONE_LEFT:
            raise
        raise session.Interrupted("no worker is left; what was recorded before is readable") from None


def _replaced(distributed: Any, replace: Any, node: Any, lost: set[str]) -> Any:
    """What pytest-xdist has in place of a worker that ended; None where its host cannot be reached any more.

    Then the other workers get its checks; without any the session stops, and also if it had not begun for this one.
    A lost host is not tried again for its other workers.
    """
    host = host_name(node.gateway.spec)
    message = f"{host} is lost: no worker can be started there any more"
    if host not in lost:
        try:
            return replace(node)
        except Exception as error:
            if host == HERE:
                raise
            distributed.report_line(f"\n{message} ({type(error).__name__})")
        lost.add(host)
    if distributed._active_nodes == {node} or not distributed.sched.collection_is_completed:
        distributed.shouldstop = f"{message}; what was recorded before is readable"
    return None
