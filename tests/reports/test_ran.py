"""Whether the suite worked in a run in which frameworks may fail; the records are made up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reports.__main__ import main
from tests.support.planted_runs import facts, record, write

RIGHT = record("products::right")
JAX = facts()["backends"]["jax"]
NO_ARGUMENT = "dot_product_attention() got an unexpected keyword argument 'local_window_size'"


def run_command(
    folder: Path, capsys: pytest.CaptureFixture[str], *records: dict[str, Any], **changed_facts: Any
) -> tuple[int, str]:
    write(
        folder / "run", *records, **{"unmet": {}, "broken_case_files": {}, "selection": {"backend": []}} | changed_facts
    )
    return main(["ran", str(folder / "run")]), capsys.readouterr().out


@pytest.mark.parametrize(
    "failed",
    [
        {"reason": "5 of 6 values are outside the error bound"},
        {"reason": "raised InvalidArgumentError: the shapes do not match"},
        {"reason": "stale: jax.yaml:3 records `dtype: int64`, but the result is right; remove the entry"},
        {"reason": "raised TypeError: unsupported operand types for *"},
    ],
    ids=lambda failed: failed["reason"][:20],
)
def test_failures_of_a_framework_are_listed_but_do_not_count(
    failed: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, output = run_command(tmp_path, capsys, RIGHT, record("products::wrong", verdict="fail", **failed))
    assert status == 0
    assert "1 fail on jax einsum: products 1" in output
    assert "the suite worked in all 2 checks" in output


@pytest.mark.parametrize(
    ("records", "changed_facts", "expected"),
    [
        ([RIGHT, record(verdict="error", reason="out of memory")], {}, "error: cases/products.yaml::matrix"),
        ([RIGHT, record(verdict="fail", reason="raised AttributeError: no einsum")], {}, "AttributeError: no einsum"),
        ([RIGHT, record(verdict="fail", reason=f"raised TypeError: {NO_ARGUMENT}")], {}, "'local_window_size'"),
        (
            [RIGHT, record(verdict="fail", reason="raised ValueError: Unrecognized keyword arguments: {'window'}")],
            {},
            "Unrecognized keyword arguments",
        ),
        ([record(verdict="fail", reason="wrong")], {}, "jax has no right result"),
        ([RIGHT], {"backends": {"jax": JAX, "torch": JAX}}, "torch has no right result"),
        ([RIGHT], {"complete": False}, "the run is not whole"),
        ([RIGHT], {"unmet": {"torch": "torch is not installed"}}, "torch did not run: torch is not installed"),
        ([RIGHT], {"broken_case_files": {"cases/a.yaml": ["line 3"]}}, "cases/a.yaml is broken: line 3"),
    ],
    ids=["error", "attribute", "argument", "keyword", "nothing", "no part", "part", "unmet", "file"],
)
def test_faults_of_the_suite_count(
    records: list[dict[str, Any]],
    changed_facts: dict[str, Any],
    expected: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, output = run_command(tmp_path, capsys, *records, **changed_facts)
    assert status == 1
    assert expected in output


def test_a_missing_framework_that_was_not_required_is_no_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backends = {"jax": JAX, "torch": {"status": "missing"}}
    assert run_command(tmp_path, capsys, RIGHT, backends=backends)[0] == 0


def test_only_the_first_of_many_similar_faults_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    errors = [record(f"products::number_{number}", verdict="error", reason="hung") for number in range(9)]
    _, output = run_command(tmp_path, capsys, RIGHT, *errors)
    assert output.count("hung") == 5
    assert "… and 4 more like these" in output


def test_a_backend_that_was_not_requested_need_not_take_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed_facts = {"backends": {"jax": JAX, "torch": JAX}, "selection": {"backend": ["jax"]}}
    assert run_command(tmp_path / "jax", capsys, RIGHT, **changed_facts) == (0, "\nthe suite worked in all 1 checks\n")
    changed_facts["selection"] = {"backend": ["torch"]}
    assert run_command(tmp_path / "torch", capsys, RIGHT, **changed_facts) == (1, "\ntorch has no right result\n")
