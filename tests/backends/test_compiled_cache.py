"""JAX's compiled programs are cached between processes, and a folder that cannot be used does no harm."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from backends.discovery import registry
from tests.support import ROOT

SESSION = """
import sys
from pathlib import Path
import numpy as np
from backends.discovery import registry
from specs.case.case import Case
from specs.case.einsum import EinsumConfig
from specs.verdict.check import Check
backend = registry.get("jax")
backend.keep_compiled(Path(sys.argv[1]))
case = Case("a::b", "b", None, 1, EinsumConfig(equation="ij,jk->ik", shapes=[[2, 3], [3, 2]]))
operands = {"operand_0": np.ones((2, 3)), "operand_1": np.ones((3, 2))}
assert (backend.run(Check(case, "jax", "cpu", "einsum", "jit", "float32"), operands) == 3).all()
"""


def run_session(folder: Path) -> None:
    """Compute something with the cache in `folder`, without any warning."""
    if registry.load_class("jax").version() == "unknown":
        pytest.skip("jax is not installed")
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", SESSION, str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (process.returncode, process.stderr) == (0, "")


def programs(folder: Path) -> dict[Path, int]:
    """The compiled programs in `folder`, with the times at which they were written."""
    return {file.relative_to(folder): file.stat().st_mtime_ns for file in folder.rglob("*-cache")}


def test_a_second_process_compiles_nothing_wherever_the_folder_is_by_then(tmp_path: Path) -> None:
    run_session(tmp_path / "cache")
    before = programs(tmp_path / "cache")
    assert before
    (tmp_path / "cache").rename(tmp_path / "moved")
    run_session(tmp_path / "moved")
    assert programs(tmp_path / "moved") == before


def test_a_folder_that_cannot_be_made_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    run_session(tmp_path / "file" / "cache")


def test_a_truncated_entry_is_compiled_again(tmp_path: Path) -> None:
    run_session(tmp_path)
    for file in tmp_path.rglob("*-cache"):
        file.write_bytes(file.read_bytes()[:10])
    process = subprocess.run(
        [sys.executable, "-c", SESSION, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
