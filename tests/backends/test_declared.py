"""`python -m backends` prints the declared precision of every backend, without importing a framework."""

from __future__ import annotations

import subprocess
import sys

import pytest

from backends.__main__ import declaration_table, main
from backends.base import Backend, Declaration
from backends.discovery import registry
from tests.support import ROOT


class Narrow(Backend):
    name = "narrow"
    declarations = (
        *(
            Declaration({"multiply": "tf32"}, implementation=how, dtype=dtype, reason="Tensor cores.")
            for how in ("einsum", "matmul")
            for dtype in ("float32", "complex64")
        ),
        Declaration({"flushes": True}, implementation="einsum", dtype="float32", reason="Fast."),
        Declaration({"flushes": True}, implementation="matmul", dtype="float64", reason="Fast."),
    )


def test_rows_are_merged_only_where_every_combination_is_declared() -> None:
    assert list(declaration_table([Narrow]))[4:] == [
        "| narrow | \\* | \\* | einsum, matmul | \\* | float32, complex64 | multiply tf32 | Tensor cores. |",
        "| narrow | \\* | \\* | einsum | \\* | float32 | flushes yes | Fast. |",
        "| narrow | \\* | \\* | matmul | \\* | float64 | flushes yes | Fast. |",
    ]


def test_every_declaration_of_every_backend_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    printed = capsys.readouterr().out
    assert "| float16 | float16 | float16 | float32 |" in printed
    for name in registry.names():
        for row in registry.load_class(name).rows():
            assert row.reason
            assert row.reason.replace("*", "\\*") in printed


def test_only_named_backends_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["numpy"]) == 0
    printed = capsys.readouterr().out
    assert "| numpy |" in printed
    assert "| torch |" not in printed
    with pytest.raises(SystemExit):
        main(["nunpy"])


def test_no_framework_is_imported() -> None:
    check = "sys.exit(bool({'torch', 'jax', 'tensorflow'} & {*sys.modules}))"
    code = f"import sys; from backends.__main__ import main; main([]); {check}"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True).returncode == 0
