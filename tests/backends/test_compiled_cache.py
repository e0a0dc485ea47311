"""JAX's compiled programs are cached between processes, and a folder that cannot be used does no harm."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
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
case = Case("a::c", "c", None, 1, EinsumConfig(equation="ij,jk->i", shapes=[[2, 3], [3, 2]]))
assert (backend.run(Check(case, "jax", "cpu", "einsum", "jit", "float32"), operands) == 6).all()
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


def flip_a_bit(files: list[Path]) -> None:
    for file in files:
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)


def truncate(files: list[Path]) -> None:
    for file in files:
        file.write_bytes(file.read_bytes()[:10])


def exchange(files: list[Path]) -> None:
    """Each file gets the content of the next one: whole programs, under the keys of others."""
    contents = [file.read_bytes() for file in files]
    for file, content in zip(files, contents[1:] + contents[:1], strict=True):
        file.write_bytes(content)


@pytest.mark.parametrize("damage", [flip_a_bit, truncate, exchange])
def test_an_entry_that_is_not_what_was_written_is_compiled_again(
    tmp_path: Path, damage: Callable[[list[Path]], None]
) -> None:
    run_session(tmp_path)
    files = [tmp_path / name for name in sorted(programs(tmp_path))]
    assert len(files) > 1
    damage(files)
    damaged = programs(tmp_path)
    run_session(tmp_path)  # without any warning, and with the right result
    again = programs(tmp_path)
    assert again.keys() == damaged.keys()
    assert all(again[name] != damaged[name] for name in damaged)
