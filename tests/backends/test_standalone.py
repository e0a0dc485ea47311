"""The stand-alone program of a check reproduces what its record says, on every backend."""

from __future__ import annotations

import builtins
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.discovery import registry
from backends.standalone.arrays import UNALIGNED, operand_line
from backends.standalone.program import ScriptError, script
from reports.__main__ import main
from reports.script import find_check
from specs.arithmetic.formats import Array
from specs.case.common import Memory
from specs.inputs import designed, memory
from specs.verdict.record import Record
from specs.verdict.verdict import judge
from tests.support import ROOT
from tests.support.checks import framework
from tests.support.planted_runs import write
from tests.support.programs import Programs

PRODUCT, MASKS = "cases/einsum/products.yaml::matrix_product", "cases/attention/masks.yaml"
COMPLEX, DIAGONAL = "cases/einsum/complex_numbers.yaml::matrix_product", "cases/einsum/diagonals.yaml::diagonal"
ATTENTION = "cases/attention/causal.yaml::grouped"
LINEAR, COLUMNS = "cases/seeds/seed_002_linear.yaml", "cases/seeds/seed_002_columns.yaml::moderate_logits"
ROW = f"{MASKS}::fully_masked_row"


def judge_id(id: str) -> Record:
    check = find_check(id, ROOT)
    backend = framework(check.backend)
    return judge(check, backend, id, "", registry.deviations(check.backend))


Run = Callable[[str, str], subprocess.CompletedProcess[str]]


@pytest.fixture
def run_program(programs: Programs, tmp_path: Path) -> Run:
    """Run the program of the check with this id."""
    return lambda id, program: programs.run(find_check(id, ROOT).backend, program, tmp_path)


@pytest.mark.parametrize(
    "id",
    [
        f"{PRODUCT}[numpy-cpu-einsum-eager-float64]",
        "cases/einsum/integers.yaml::matrix_product[numpy-cpu-einsum-optimized-eager-int32]",
        f"{ROW}[numpy-cpu-matmul-eager-float16]",
        f"{PRODUCT}[torch-cpu-einsum-eager-bfloat16-grad]",
        f"{COLUMNS}[torch-cpu-einsum-eager-float32]",
        f"{LINEAR}::scale_before_softmax[torch-cpu-linear-layer-eager-float32]",
        f"{ATTENTION}[torch-cpu-sdpa-eager-float32]",
        f"{PRODUCT}[torch-cpu-einsum-jit-float32]",
        f"{PRODUCT}[torch-cpu-einsum-dynamic-float32]",
        f"{PRODUCT}[torch-cpu-einsum-export-float32-grad]",
        f"{PRODUCT}[jax-cpu-einsum-jit-bfloat16-grad]",
        f"{PRODUCT}[jax-cpu-einsum-constant-float32]",
        f"{COMPLEX}[jax-cpu-einsum-eager-complex64-grad]",
        f"{ATTENTION}[jax-cpu-einsum-jit-float64]",
        f"{ROW}[jax-cpu-dot-product-attention-eager-float32]",
        f"{COMPLEX}[tensorflow-cpu-einsum-eager-complex64-grad]",
        f"{PRODUCT}[tensorflow-cpu-einsum-jit-float16-grad]",
        f"{PRODUCT}[tensorflow-cpu-einsum-xla-float32]",
        f"{PRODUCT}[tensorflow-cpu-einsum-dynamic-float32-grad]",
        f"{LINEAR}::scale_before_softmax[tensorflow-cpu-keras-dense-jit-bfloat16]",
        f"{ATTENTION}[tensorflow-cpu-keras-eager-float64]",
    ],
)
def test_a_program_prints_the_worst_number_and_the_verdict_of_the_record(id: str, run_program: Run) -> None:
    record, check = judge_id(id), find_check(id, ROOT)
    if recipe := record.measurement.bound.get("data"):
        check = replace(check, case=designed.with_recipe(check.case, recipe))
    process = run_program(id, script(check, id))
    assert process.returncode == (0 if record.verdict == "pass" else 1), process.stderr
    worst = record.measurement.worst
    name = record.measurement.bound.get("gradient_of", "result")
    worst_lines = re.search(rf"^{name}: .*\n((?:  .*\n)+)", process.stdout, re.MULTILINE)
    assert worst_lines, process.stdout
    if worst is not None:
        place, value = re.escape(str(list(worst.index))), re.escape(worst.expected)
        line = rf"^  {place}( real| imag)? expected {value}, got {worst.got}, (within|OUTSIDE) "
        assert re.search(line, worst_lines[1], re.MULTILINE), process.stdout


@pytest.mark.parametrize(
    "id",
    [
        f"{COLUMNS}[torch-cpu-einsum-eager-float32]",
        f"{COLUMNS}[jax-cpu-matmul-eager-float32]",
        "cases/attention/gradients.yaml::causal[tensorflow-cpu-einsum-eager-float32-grad]",
    ],
)
def test_a_program_reports_one_wrong_number_among_many(id: str, run_program: Run) -> None:
    right = script(find_check(id, ROOT), id)
    process = run_program(id, right)
    assert process.returncode == 0, process.stderr
    assert "all of these are right" in process.stdout
    # The framework's result with one number changed
    change = "numbers = {array}\nnumbers.flat[5] *= 1.01\nresults[last] = {tensor}\n\n# Of each result"
    array, tensor = {
        "torch": ("results[last].numpy().copy()", "torch.from_numpy(numbers)"),
        "jax": ("np.array(results[last])", "jnp.asarray(numbers)"),
        "tensorflow": ("results[last].numpy()", "tf.constant(numbers)"),
    }[find_check(id, ROOT).backend]
    change = "last = list(results)[-1]\n" + change.format(array=array, tensor=tensor)
    process = run_program(id, right.replace("# Of each result", change, 1))
    assert process.returncode == 1, process.stderr
    assert process.stdout.count("OUTSIDE") == 1
    assert process.stdout.splitlines()[-1] == "1 wrong"


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("layout", ["transposed", "strided", "broadcast", "unaligned"])
@pytest.mark.parametrize("size", [4, 40])
def test_a_program_gives_operands_their_memory_layout(library: str, layout: Memory, size: int) -> None:
    array = memory.lay_out(np.arange(3 * size, dtype=np.float32).reshape(3, size), layout)
    dialect = registry.get(library).dialect
    assert dialect is not None
    variables: dict[str, Any] = {"np": np, "torch": framework("torch").torch} if library == "torch" else {"np": np}
    exec("import base64\n" + UNALIGNED[dialect.library], variables)
    exec(operand_line("x", array, dialect, layout), variables)
    x = variables["x"]
    assert x.shape == array.shape
    assert (x.stride() if library == "torch" else x.strides) == tuple(
        stride // (4 if library == "torch" else 1) for stride in array.strides
    )
    np.testing.assert_array_equal(np.asarray(x), array)
    if layout == "unaligned":
        assert (x.data_ptr() if library == "torch" else x.ctypes.data) % 64 == 4


@pytest.mark.parametrize(("backend", "address"), [("numpy", "ctypes.data"), ("torch", "data_ptr()")])
def test_a_program_has_the_memory_layout_of_its_case(backend: str, address: str, run_program: Run) -> None:
    id = f"cases/einsum/memory.yaml::product/unaligned[{backend}-cpu-einsum-eager-float32]"
    printed = f"print(operand_0.{address} % 64, operand_1.{address} % 64)\n"
    process = run_program(id, script(find_check(id, ROOT), id).replace("results = {", f"{printed}results = {{", 1))
    assert process.stdout.startswith("4 4\n"), process.stderr


@pytest.mark.parametrize("backend", ["numpy", "torch", "jax", "tensorflow"])
def test_a_tensor_under_two_names_is_one_in_a_program(backend: str) -> None:
    id = f"cases/einsum/memory.yaml::one_tensor[{backend}-cpu-einsum-eager-float32]"
    framework(backend)
    assert "operand_0, operand_0)" in script(find_check(id, ROOT), id)


def test_nothing_of_python_is_replaced_while_a_program_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    backend, before, unchanged = registry.get("numpy"), dict(vars(builtins)), []
    original = backend.to_numpy

    def observe(tensor: Array) -> Array:
        unchanged.append(dict(vars(builtins)) == before)
        return original(tensor)

    monkeypatch.setattr(backend, "to_numpy", observe)
    modules = set(sys.modules)
    script(find_check(f"{COLUMNS}[numpy-cpu-matmul-eager-float32]", ROOT), "")
    assert unchanged == [True]
    assert not {name for name in set(sys.modules) - modules if name.startswith("backends.")}


@pytest.mark.parametrize("implementation", ["keras-multihead", "keras-dense"])
def test_a_program_is_reproducible_and_does_not_change_the_backend(implementation: str) -> None:
    """Layers are cached between calls; a program and a check use different ones."""
    id = f"cases/attention/modules.yaml::self_attention[tensorflow-cpu-{implementation}-eager-float32]"
    before = judge_id(id)
    first = script(find_check(id, ROOT), id)
    assert script(find_check(id, ROOT), id) == first
    assert judge_id(id).measurement == before.measurement


def test_a_missing_gradient_is_reported(run_program: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A framework returns None for an operand that is not connected to the result."""
    id = "cases/attention/gradients.yaml::causal[torch-cpu-sdpa-eager-float32-grad]"
    backend = registry.load_class("torch")
    original = backend.pullback

    def without_keys(self: Any, *arguments: Any) -> Any:
        pullback = original(self, *arguments)
        return lambda *tensors: {**pullback(*tensors), "key": None}

    monkeypatch.setattr(backend, "pullback", without_keys)
    process = run_program(id, script(find_check(id, ROOT), ""))
    assert process.returncode == 1
    assert "key: missing: the framework sees no connection to the result" in process.stdout
    assert process.stdout.splitlines()[-1] == "1 wrong"


def test_flex_attention_has_a_program(run_program: Run) -> None:
    """It inspects the signatures of the functions that it is passed."""
    pytest.importorskip("torch.nn.attention.flex_attention")
    id = f"{ROW}[torch-cpu-flex-eager-float32]"
    process = run_program(id, script(find_check(id, ROOT), ""))
    assert "numbers are wrong" in process.stdout, process.stderr


def test_a_program_can_have_designed_inputs(run_program: Run, capsys: pytest.CaptureFixture[str]) -> None:
    id = f"{PRODUCT}[numpy-cpu-einsum-eager-float32]"
    assert main(["script", id, "--data", "exact"]) == 0
    program = capsys.readouterr().out
    process = run_program(id, program)
    assert process.returncode == 0, process.stderr
    assert "# Of each result: its dtype; the right values, alone" in program  # no error is allowed
    assert main(["script", id, "--data", "ramp"]) == 2
    assert "besides its case's own data, this check can use: exact" in capsys.readouterr().err


def test_an_adapter_of_the_users_own_has_programs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], run_program: Run
) -> None:
    adapter = tmp_path / "owned.py"
    adapter.write_text("from backends.numpy import Numpy\nclass Owned(Numpy):\n  name = 'owned'\n")
    id = f"{PRODUCT}[owned-cpu-einsum-eager-float32]"
    process = subprocess.run(
        [sys.executable, "-m", "reports", "script", id, f"--adapter={adapter}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    numpy = id.replace("owned", "numpy")  # which it needs
    assert run_program(numpy, process.stdout).returncode == 0, process.stderr
    assert main(["script", id, f"--adapter={tmp_path / 'nothing.py'}"]) == 2
    assert "there is no such file" in capsys.readouterr().err


def test_a_failure_of_all_numbers_together_has_no_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    id = f"{PRODUCT}[numpy-cpu-einsum-eager-float32]"
    reason = "values are each within the bound, but together as if scaled by 1.001"
    write(tmp_path / "run", judge_id(id).as_json() | {"verdict": "fail", "reason": reason, "again": "pytest that"})
    assert main(["script", id, f"--run={tmp_path / 'run'}"]) == 2
    assert "would find each of them right; run the check instead: pytest that" in capsys.readouterr().err


@pytest.mark.parametrize(
    "place",
    [
        "numpy-cpu-einsum-eager-float32",
        "jax-cpu-einsum-jit-float32",  # raised inside a function that is compiled
        "torch-cpu-einsum-jit-float32",
        "tensorflow-cpu-einsum-jit-float32",
    ],
)
def test_the_program_of_a_refusal_prints_the_refusal(place: str, run_program: Run) -> None:
    framework(place.partition("-")[0])
    id = f"cases/invalid/einsum.yaml::size_mismatch[{place}]"
    process = run_program(id, script(find_check(id, ROOT), ""))
    assert process.returncode == 0, process.stdout + process.stderr
    assert "refused: " in process.stdout


def test_the_program_of_a_computation_that_raises_raises_too(run_program: Run) -> None:
    id = "cases/attention/layouts.yaml::bshd[jax-cpu-dot-product-attention-jit-float16]"
    record = judge_id(id)
    assert record.deviation is not None
    process = run_program(id, script(find_check(id, ROOT), id))
    assert process.returncode == 1
    assert record.deviation["observed"]["error"] in process.stderr


def test_a_check_without_a_program_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    for id, message in (
        ("products", "an id is FILE::CASE[BACKEND-DEVICE-IMPLEMENTATION-MODE-DTYPE]"),
        (f"{PRODUCT}[nunpy-cpu-einsum-eager-float64]", "no backend is called 'nunpy'"),
        (f"{PRODUCT}[numpy-cpu-einsum-lazy-float64]", "has no such check"),
        (f"{PRODUCT}[numpy-cpu-einsum-eager-bfloat16]", "nothing to show: numpy has no bfloat16"),
    ):
        assert main(["script", id]) == 2
        assert message in capsys.readouterr().err


def test_a_title_cannot_end_the_docstring() -> None:
    program = script(find_check(f"{PRODUCT}[numpy-cpu-einsum-eager-float64]", ROOT), 'a """ b \\')
    compile(program, "program", "exec")
    with pytest.raises(ScriptError):
        find_check("nothing", ROOT)
