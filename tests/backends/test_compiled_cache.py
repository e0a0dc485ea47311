"""What JAX compiles is kept between processes, and a folder that cannot be used changes nothing."""

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


def session(folder: Path) -> None:
    """Compute something with what is kept in `folder`; nothing is said about it."""
    if registry.declare("jax").version() == "unknown":
        pytest.skip("jax is not installed")
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", SESSION, str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_second_process_compiles_nothing_anew(tmp_path: Path) -> None:
    session(tmp_path / "kept")
    first = {file: file.stat().st_mtime_ns for file in (tmp_path / "kept").rglob("*-cache")}
    assert first
    session(tmp_path / "kept")
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "kept").rglob("*-cache")} == first


def test_a_folder_that_cannot_be_made_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    session(tmp_path / "file" / "kept")


def test_a_cut_off_entry_is_compiled_again(tmp_path: Path) -> None:
    session(tmp_path)
    for file in tmp_path.rglob("*-cache"):
        file.write_bytes(file.read_bytes()[:10])
    ended = subprocess.run(
        [sys.executable, "-c", SESSION, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
