"""A process imports the framework that it uses and no other; in processes of their own, as imports cannot be undone."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version

import pytest

from backends.discovery import registry
from tests.support import ROOT

FRAMEWORKS = {"torch", "jax", "tensorflow", "keras"}

EINSUM = """
import numpy as np
from backends.discovery import registry
from specs.case.case import Case
from specs.case.einsum import EinsumConfig
from specs.verdict.check import Check
backend = registry.get({name!r})
case = Case("a::b", "b", None, 1, EinsumConfig(equation="ij,jk->ik", shapes=[[2, 2], [2, 2]]))
operands = {{"operand_0": np.eye(2), "operand_1": np.eye(2)}}
for implementation in set(backend.implementations["einsum"]) - backend.on_request:
    assert (backend.run(Check(case, {name!r}, "cpu", implementation, "eager", "float32"), operands) == np.eye(2)).all()
"""


def imported(code: str) -> tuple[set[str], str]:
    """The frameworks in a new process after `code`, and what it wrote to stderr."""
    tell = f"\nimport json, sys\nprint(json.dumps(sorted({FRAMEWORKS} & set(sys.modules))))"
    ended = subprocess.run([sys.executable, "-c", code + tell], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return set(json.loads(ended.stdout.splitlines()[-1])), ended.stderr


def test_declaring_imports_none() -> None:
    declare = "from backends.discovery import inventory, registry\nprint(*map(registry.declare, registry.names()))"
    assert imported(declare)[0] == set()


@pytest.mark.parametrize("name", registry.names())
def test_using_one_imports_no_other(name: str) -> None:
    try:
        version(registry.declare(name).distribution)
    except PackageNotFoundError as error:
        pytest.skip(f"{name} is not installed: {error}")
    frameworks, stderr = imported(EINSUM.format(name=name))
    # TensorFlow itself imports Keras, and JAX where it is installed (tensorflow/lite/python/util.py)
    allowed = {"tensorflow": {"tensorflow", "keras", "jax"}}.get(name, {name})
    assert frameworks <= allowed
    assert stderr == ""


def test_all_of_them_start_quietly_together() -> None:
    """JAX sets TF_CPP_MIN_LOG_LEVEL when it is imported."""
    if absent := [name for name in registry.names() if registry.declare(name).version() == "unknown"]:
        pytest.skip(f"not installed: {', '.join(absent)}")
    assert imported("".join(EINSUM.format(name=name) for name in registry.names()))[1] == ""
