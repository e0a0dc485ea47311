"""Every fault is found by each check that must find it, for the right reason, and NumPy itself passes that check."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from backends.numpy import Numpy
from reports.read import read
from tests.faulty import __main__ as command
from tests.faulty.backward import Backward, Kernel
from tests.faulty.fault import ROOT, Fault, Finding, find_check, judge_backend
from tests.faulty.faults import FAULTS

# The faults that the suite is required to catch, as the requirement words them, and their names here
REQUIRED = {
    "softmax that subtracts the global maximum (seed 002)": "one_maximum_for_all",
    "scale after the softmax (seed 002)": "scale_after_softmax",
    "softmax over the wrong axis (seed 003)": "softmax_over_queries",
    "bfloat16 matmul behind a float32 interface": "bfloat16_behind_float32",
    "one dropped term in a long sum": "term_dropped_from_sum",
    "causal mask off by one": "causal_shows_next_key",
    "swapped query and key lengths": "lengths_swapped",
    "output dtype widened": "output_dtype_widened",
    "NaN replaced by zero": "nan_replaced_by_zero",
    "transposed output": "output_transposed",
    "mask off by one at one row": "causal_off_by_one_at_one_row",
    "window one too wide": "window_one_too_wide",
    "grouped heads interleaved instead of blocked": "shared_heads_interleaved",
    "softcap after the mask": "softcap_after_mask",
    "scale missing": "scale_missing",
    "scale doubled": "scale_twice",
    "scale by the embedding's size": "scale_by_embedding",
    "logits squared": "scores_squared",
    "causal dropped when a mask is given": "causal_dropped_with_mask",
    "softmax in bfloat16": "weights_in_bfloat16",
    "unnormalised last block": "last_block_not_rescaled",
    "bias added before the scale": "bias_before_scale",
    "dropped head": "last_head_dropped",
    "key lengths ignored": "lengths_ignored",
    "rotary pairs swapped": "rotary_pairs_swapped",
    "fully masked row as mean": "masked_row_is_mean",
    "gradient of key and value exchanged": "gradients_of_key_and_value_exchanged",
    "mask gradient leaking": "gradient_leaks_through_the_mask",
}
NAMED_CHECKS = [(fault, name) for fault in FAULTS for name in fault.caught_by]
ADAPTER = """
from tests.faulty.attention_formula_faults import OneMaximumForAll

class Faulty(OneMaximumForAll):
    name = "one_maximum_for_all"
"""


@pytest.mark.parametrize(
    ("fault", "name"), [pytest.param(fault, name, id=f"{fault.name}-{name}") for fault, name in NAMED_CHECKS]
)
def test_a_named_check_catches_the_fault(fault: Fault, name: str) -> None:
    record = judge_backend(fault.backend(), find_check(name))
    assert record.verdict == "fail"
    assert fault.caught_by[name] in record.reason


@pytest.mark.parametrize("name", dict.fromkeys(name for _, name in NAMED_CHECKS))
def test_the_unchanged_backend_passes(name: str) -> None:
    backend = Kernel() if name.endswith("bfloat16-grad]") else Backward() if name.endswith("-grad]") else Numpy()
    record = judge_backend(backend, find_check(name))
    assert (record.verdict, record.reason.partition(":")[0]) in [("pass", ""), ("pass", "refused")]


def test_every_fault_is_stated_and_named_once() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    for fault in FAULTS:
        assert fault.caught_by, fault.name
        assert fault.mistake.endswith("."), fault.name


@pytest.mark.parametrize("requirement", REQUIRED)
def test_every_required_fault_exists(requirement: str) -> None:
    assert REQUIRED[requirement] in {fault.name for fault in FAULTS}


def test_every_kind_of_finding_catches_something() -> None:
    assert {finding for fault in FAULTS for finding in fault.caught_by.values()} == set(Finding)


@pytest.mark.parametrize(
    "name",
    [
        "einsum/products::no_such_case[einsum-float32]",
        "einsum/no_such_file::matrix_product[einsum-float32]",
        "einsum/products::matrix_product[einsum-int8]",
        "einsum/products::matrix_product[matmul-float32]",
        "einsum/products::matrix_product",
    ],
)
def test_a_check_that_does_not_exist_is_not_taken_for_one(name: str) -> None:
    with pytest.raises(LookupError):
        find_check(name)


def test_the_command_fails_where_a_check_misses_its_fault(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "FAULTS", [replace(FAULTS[0], backend=Numpy)])
    assert command.main(["--named"]) == 1
    assert "MISSED" in capsys.readouterr().out


def test_a_session_with_a_faulty_backend_fails_and_names_the_checks(tmp_path: Path) -> None:
    adapter, report = tmp_path / "adapter.py", tmp_path / "report"
    adapter.write_text(ADAPTER)
    arguments = ["cases/seeds/seed_002_columns.yaml", "--dtype=float32", "--backend=numpy"]
    arguments += [f"--adapter={adapter}", "--backend=one_maximum_for_all", f"--report={report}"]
    arguments += ["-p", "no:cacheprovider", "-p", "no:hypothesispytest"]
    session = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert session.returncode == pytest.ExitCode.TESTS_FAILED, session.stdout + session.stderr
    failed = {record["id"] for record in read(report).records() if record["verdict"] == "fail"}
    case = "cases/seeds/seed_002_columns.yaml::large_logits"
    implementations = ("einsum", "matmul")
    assert failed == {f"{case}[one_maximum_for_all-cpu-{name}-eager-float32]" for name in implementations}
    assert all(f"FAILED {name}" in session.stdout for name in failed)
