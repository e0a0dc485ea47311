"""Keras on another framework than TensorFlow: KERAS_BACKEND says on which, for a process and those that it starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from backends.discovery import registry
from backends.hosts.keras import KERAS
from tests.support import ROOT

HOSTS = ("jax", "tensorflow", "torch")


def started(host: str | None, *arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Python in an environment in which Keras is said to run on `host`, or nothing is said."""
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    said = {} if host is None else {"KERAS_BACKEND": host}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment | said, capture_output=True, text=True, check=False
    )


def offers(host: str | None) -> dict[str, Any]:
    """For each backend, the implementations of either kind that have to do with Keras."""
    code = """
import json
from backends.discovery import registry
declared = {name: registry.declare(name) for name in registry.names()}
print(json.dumps({
    name: [kind + " " + each for kind, names in backend.implementations.items() for each in names if "keras" in each]
    for name, backend in declared.items()
}))"""
    return {name: offered for name, offered in json.loads(started(host, "-c", code).stdout).items() if offered}


@pytest.mark.parametrize("host", HOSTS)
def test_one_backend_offers_all_of_keras(host: str) -> None:
    assert offers(host) == {host: ["einsum keras", *(f"attention {name}" for name in KERAS)]}


def test_a_class_made_of_a_host_offers_it_once() -> None:
    made = type("Made", (registry.declare("tensorflow"),), {})
    assert made.implementations["einsum"] == registry.declare("tensorflow").implementations["einsum"]


def test_it_is_tensorflow_unless_something_is_said_and_nobody_if_that_is_no_backend_here() -> None:
    assert offers(None) == offers("tensorflow")
    assert offers("numpy") == offers("openvino") == {}


@pytest.mark.parametrize("host", HOSTS)
def test_its_cases_run_and_what_differs_is_recorded(host: str, tmp_path: Path) -> None:
    pytest.importorskip("keras")
    pytest.importorskip(registry.declare(host).distribution)
    run = tmp_path / "run"
    cases = ["cases/attention/masks.yaml::fully_masked_row", "cases/attention/modules.yaml::self_attention"]
    asked = [f"--implementation={name}" for name in ("keras", "keras-dense", "keras-multihead", "keras-grouped-query")]
    narrowed = ["--backend", host, *asked, "--mode=eager", "--direction=forward"]
    ended = started(host, "-m", "pytest", *cases, *narrowed, "-q", f"--report={run}")
    assert ended.returncode == 0, ended.stdout
    records = [json.loads(line) for line in (run / "records.jsonl").read_text().splitlines()]
    found = {(record["implementation"], record["verdict"]) for record in records}
    assert {(name, "pass") for name in ("keras", "keras-dense", "keras-multihead", "keras-grouped-query")} <= found
    assert ("keras", "deviation") in found
    said = "" if host == "tensorflow" else f"KERAS_BACKEND={host} "
    assert {record["again"].partition("pytest")[0] for record in records} == {said}


@pytest.mark.parametrize(
    "id",
    [
        "cases/attention/masks.yaml::fully_masked_row[jax-cpu-keras-eager-float32]",
        "cases/attention/gradients.yaml::causal[jax-cpu-keras-eager-float32-grad]",
        "cases/attention/modules.yaml::causal[torch-cpu-keras-multihead-eager-float32]",
        "cases/attention/bias.yaml::causal[torch-cpu-keras-eager-float32]",
    ],
)
def test_a_stand_alone_program_says_what_keras_runs_on(id: str, tmp_path: Path) -> None:
    host = "jax" if "[jax" in id else "torch"
    pytest.importorskip("keras")
    pytest.importorskip(host)
    elsewhere = started(None, "-m", "reports", "script", id)
    assert elsewhere.returncode == 2
    assert "Keras runs on tensorflow here, unless KERAS_BACKEND says otherwise" in elsewhere.stderr
    written = started(host, "-m", "reports", "script", id)
    assert written.returncode == 0, written.stderr
    (program := tmp_path / "program.py").write_text(written.stdout)
    ended = started("tensorflow", "-I", str(program), folder=tmp_path)
    differs = "fully_masked" in id or "bias" in id
    assert ended.returncode == (1 if differs else 0), ended.stdout + ended.stderr
    assert ("all of these are right" in ended.stdout) != differs, ended.stdout + ended.stderr


def test_a_process_in_which_keras_runs_elsewhere_says_so() -> None:
    """Whatever imported Keras first has chosen."""
    pytest.importorskip("tensorflow")
    pytest.importorskip("keras")
    code = """
import os
os.environ["KERAS_BACKEND"] = "numpy"
import keras
os.environ["KERAS_BACKEND"] = "tensorflow"
from backends.attention.keras import hosted_keras
hosted_keras()"""
    said = "keras was imported with its numpy backend before tensorflow was used"
    assert said in started(None, "-c", code).stderr
