"""A process imports the framework that it uses and no other; tested in subprocesses, as imports cannot be undone."""

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


def imported_frameworks(code: str) -> tuple[set[str], str]:
    """The frameworks in a new process after `code`, and what it wrote to stderr."""
    print_frameworks = f"\nimport json, sys\nprint(json.dumps(sorted({FRAMEWORKS} & set(sys.modules))))"
    process = subprocess.run(
        [sys.executable, "-c", code + print_frameworks], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    return set(json.loads(process.stdout.splitlines()[-1])), process.stderr


def test_loading_classes_imports_no_framework() -> None:
    code = "from backends.discovery import inventory, registry\nprint(*map(registry.load_class, registry.names()))"
    assert imported_frameworks(code)[0] == set()


@pytest.mark.parametrize("name", registry.names())
def test_using_a_backend_imports_no_other_framework(name: str) -> None:
    try:
        version(registry.load_class(name).distribution)
    except PackageNotFoundError as error:
        pytest.skip(f"{name} is not installed: {error}")
    frameworks, stderr = imported_frameworks(EINSUM.format(name=name))
    # TensorFlow itself imports Keras, and JAX where it is installed (tensorflow/lite/python/util.py)
    allowed = {"tensorflow": {"tensorflow", "keras", "jax"}}.get(name, {name})
    assert frameworks <= allowed
    assert stderr == ""


def test_all_backends_together_log_nothing() -> None:
    """JAX sets TF_CPP_MIN_LOG_LEVEL when it is imported."""
    if absent := [name for name in registry.names() if registry.load_class(name).version() == "unknown"]:
        pytest.skip(f"not installed: {', '.join(absent)}")
    assert imported_frameworks("".join(EINSUM.format(name=name) for name in registry.names()))[1] == ""
