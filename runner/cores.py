"""Each worker computes on its share of the cores.

By default the threads of every framework are as many as there are cores, in each worker.  On small operands the threads
of two workers then wait for each other longer than they compute: on two cores, PyTorch's checks took 2.5 times as long.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import pytest

from reports.environment import available_cores
from runner.hosts import Host

THREADS = (
    "OMP_NUM_THREADS",  # PyTorch, and the products of its MKL
    "OPENBLAS_NUM_THREADS",  # NumPy
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "NPROC",  # XLA, in JAX
)


def share_cores(config: pytest.Config, hosts: Mapping[str, Host]) -> None:
    """Tell the workers that are started after this, and whoever examines the frameworks, how many threads to use.

    What the user's environment states is left alone, and so is a session without workers.  Bits depend on the number,
    so it is the same on all hosts: what each has for each of its workers.
    """
    workers = len(getattr(config.option, "tx", None) or [])
    if workers:
        shares = [host.facts["cores"] // host.workers for host in hosts.values()] or [available_cores() // workers]
        for name in THREADS:
            os.environ.setdefault(name, str(max(1, min(shares))))
