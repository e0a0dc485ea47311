"""Whether the suite worked, told from a run in which frameworks may fail; the records are planted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reports.__main__ import main
from tests.support.planted_runs import facts, record, write

RIGHT = record("products::right")
JAX = facts()["backends"]["jax"]
NO_ARGUMENT = "dot_product_attention() got an unexpected keyword argument 'local_window_size'"


def told(folder: Path, capsys: pytest.CaptureFixture[str], *records: dict[str, Any], **said: Any) -> tuple[int, str]:
    write(folder / "run", *records, **{"unmet": {}, "broken_case_files": {}, "selection": {"backend": []}} | said)
    return main(["ran", str(folder / "run")]), capsys.readouterr().out


@pytest.mark.parametrize(
    "failed",
    [
        {"reason": "5 of 6 values are outside the error bound"},
        {"reason": "raised InvalidArgumentError: the shapes do not match"},
        {"reason": "stale: jax.yaml:3 records `dtype: int64`, but the result is right; remove the entry"},
        {"reason": "raised TypeError: unsupported operand types for *"},
    ],
    ids=lambda said: said["reason"][:20],
)
def test_what_a_framework_fails_is_listed_and_does_not_count(
    failed: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = told(tmp_path, capsys, RIGHT, record("products::wrong", verdict="fail", **failed))
    assert status == 0
    assert "1 fail on jax einsum: products 1" in said
    assert "the suite worked in all 2 checks" in said


@pytest.mark.parametrize(
    ("records", "said", "expected"),
    [
        ([RIGHT, record(verdict="error", reason="out of memory")], {}, "error: cases/products.yaml::matrix"),
        ([RIGHT, record(verdict="fail", reason="raised AttributeError: no einsum")], {}, "AttributeError: no einsum"),
        ([RIGHT, record(verdict="fail", reason=f"raised TypeError: {NO_ARGUMENT}")], {}, "'local_window_size'"),
        (
            [RIGHT, record(verdict="fail", reason="raised ValueError: Unrecognized keyword arguments: {'window'}")],
            {},
            "Unrecognized keyword arguments",
        ),
        ([record(verdict="fail", reason="wrong")], {}, "jax was right in no check"),
        ([RIGHT], {"backends": {"jax": JAX, "torch": JAX}}, "torch was right in no check"),
        ([RIGHT], {"complete": False}, "the run is not whole"),
        ([RIGHT], {"unmet": {"torch": "torch is not installed"}}, "torch did not run: torch is not installed"),
        ([RIGHT], {"broken_case_files": {"cases/a.yaml": "line 3"}}, "cases/a.yaml is broken: line 3"),
    ],
    ids=["error", "attribute", "argument", "keyword", "nothing", "no part", "part", "unmet", "file"],
)
def test_what_the_suite_got_wrong_counts(
    records: list[dict[str, Any]],
    said: dict[str, Any],
    expected: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, out = told(tmp_path, capsys, *records, **said)
    assert status == 1
    assert expected in out


def test_a_missing_framework_that_nobody_required_is_no_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backends = {"jax": JAX, "torch": {"status": "missing"}}
    assert told(tmp_path, capsys, RIGHT, backends=backends)[0] == 0


def test_of_many_faults_alike_a_few_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    errors = [record(f"products::number_{number}", verdict="error", reason="hung") for number in range(9)]
    _, said = told(tmp_path, capsys, RIGHT, *errors)
    assert said.count("hung") == 5
    assert "… and 4 more like these" in said


def test_a_backend_that_was_not_asked_for_takes_no_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = {"backends": {"jax": JAX, "torch": JAX}, "selection": {"backend": ["jax"]}}
    assert told(tmp_path / "jax", capsys, RIGHT, **said) == (0, "\nthe suite worked in all 1 checks\n")
    said["selection"] = {"backend": ["torch"]}
    assert told(tmp_path / "torch", capsys, RIGHT, **said) == (1, "\ntorch was right in no check\n")
