"""Compiled programs are cached between processes, and a folder that cannot be used does no harm."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from backends.discovery import registry
from backends.parts import inductor
from tests.support import ROOT

TORCH_SESSION = """
import sys
from pathlib import Path
import numpy as np
from backends.discovery import registry
from specs.case.attention import AttentionConfig
from specs.case.case import Case
from specs.verdict.check import Check
backend = registry.get("torch")
backend.keep_compiled(Path(sys.argv[1]))
config = AttentionConfig(batch=1, q_len=2, kv_len=2, num_heads=1, head_dim=2, softcap=2.0)
operands = {name: np.ones((1, 2, 1, 2), np.float32) for name in ("query", "key", "value")}
result = backend.run(Check(Case("a::b", "b", None, 1, config), "torch", "cpu", "matmul", "jit", "float32"), operands)
assert (result == 1).all()
"""

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


def test_what_torch_compiles_is_kept_for_other_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if registry.load_class("torch").version() == "unknown" or inductor.missing():
        pytest.skip("torch cannot compile here")
    monkeypatch.delenv(inductor.FOLDER, raising=False)
    kept = []
    for _ in range(2):
        subprocess.run([sys.executable, "-c", TORCH_SESSION, str(tmp_path)], cwd=ROOT, check=True)
        kept.append({file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.so")})
    assert kept[0]
    assert kept[0] == kept[1]


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
