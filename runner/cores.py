"""Each worker computes on its share of the cores.

By default the threads of every framework are as many as there are cores, in each worker.  On small operands the threads
of two workers then wait for each other longer than they compute: on two cores, PyTorch's checks took 2.5 times as long.
"""

from __future__ import annotations

import os

import pytest

THREADS = (
    "OMP_NUM_THREADS",  # PyTorch, and the products of its MKL
    "OPENBLAS_NUM_THREADS",  # NumPy
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "NPROC",  # XLA, in JAX
)


def share_cores(config: pytest.Config) -> None:
    """Tell the workers that are started after this, and whoever examines the frameworks, how many threads to use.

    What the user's environment states is left alone, and so is a session without workers.
    """
    workers = len(getattr(config.option, "tx", None) or [])
    if workers:
        for name in THREADS:
            os.environ.setdefault(name, str(max(1, _cores() // workers)))


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
