"""Workers share the cores, unless the user's environment says otherwise."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any, cast

import pytest

from runner import cores
from runner.hosts import Host


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "available_cores", lambda: 8)
    for name in cores.THREADS:
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")


def share(workers: int | None, hosts: dict[str, Host] | None = None) -> dict[str, str]:
    """What the environment states afterwards."""
    option = SimpleNamespace() if workers is None else SimpleNamespace(tx=["popen"] * workers)
    cores.share_cores(cast(Any, SimpleNamespace(option=option)), hosts or {})
    return {name: os.environ[name] for name in cores.THREADS if name in os.environ}


@pytest.mark.parametrize(("workers", "threads"), [(1, "8"), (2, "4"), (3, "2"), (8, "1"), (20, "1")])
def test_each_worker_has_its_share(workers: int, threads: str) -> None:
    assert share(workers) == dict.fromkeys(cores.THREADS, threads) | {"OMP_NUM_THREADS": "5"}


def test_on_several_hosts_the_number_is_the_same() -> None:
    hosts = {"here": Host({"cores": 8}, 2), "other": Host({"cores": 16}, 8)}
    assert share(10, hosts)["OPENBLAS_NUM_THREADS"] == "2"


@pytest.mark.parametrize("workers", [None, 0])
def test_without_workers_nothing_is_changed(workers: int | None) -> None:
    assert share(workers) == {"OMP_NUM_THREADS": "5"}
