"""`python -m backends` prints the declared precision of every backend, without importing a framework."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from backends.__main__ import declaration_table, main
from backends.base import Backend, Declaration
from backends.discovery import registry
from specs.case.attention import AttentionConfig
from specs.case.einsum import EinsumConfig
from tests.support import ROOT
from tests.support.checks import case_of, check_of


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


@pytest.mark.parametrize(("fields", "expected"), [({"sink": True}, True), ({"softcap": 1.0}, False), ({}, False)])
def test_a_row_may_apply_to_one_feature_of_attention(fields: dict[str, Any], expected: bool) -> None:
    row = Declaration({"intermediate": "bfloat16"}, feature="sink")
    assert row.applies(check_of(case_of(AttentionConfig(q_len=3, head_dim=4, **fields)), "flex")) == expected
    assert not row.applies(check_of(case_of(EinsumConfig(equation="i->", shapes=[[2]]))))
