"""Keras on another framework than TensorFlow: KERAS_BACKEND chooses it for a process and its children."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backends.discovery import registry
from backends.hosts.keras import KERAS_FORMULATIONS
from tests.support import ROOT
from tests.support.prepared import Prepared
from tests.support.programs import Programs

HOSTS = ("jax", "tensorflow", "torch")
RunModule = Callable[..., subprocess.CompletedProcess[str]]
Offered = Callable[[str | None], dict[str, Any]]


def run_python(host: str | None, *arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run Python with KERAS_BACKEND set to `host`, or not set."""
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    variable = {} if host is None else {"KERAS_BACKEND": host}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment | variable,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def run_module(prepared: Prepared) -> RunModule:
    """`python -m module` with KERAS_BACKEND set to `host`, or not set, in a folder that is the project's by default."""

    def run(host: str | None, module: str, *arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", str(ROOT))
            patch.delenv("KERAS_BACKEND", raising=False)
            if host is not None:
                patch.setenv("KERAS_BACKEND", host)
            return prepared.run(module, folder, *arguments)

    return run


@pytest.fixture
def keras_implementations(run_module: RunModule, tmp_path: Path) -> Offered:
    """For each backend that has any, the implementations of both kinds that use Keras."""
    (tmp_path / "offered.py").write_text("""
import json
from backends.discovery import registry
classes = {name: registry.load_class(name) for name in registry.names()}
print(json.dumps({
    name: [kind + " " + name for kind, names in backend.implementations.items() for name in names if "keras" in name]
    for name, backend in classes.items()
}))""")

    def read(host: str | None) -> dict[str, Any]:
        printed = run_module(host, "offered", folder=tmp_path).stdout
        return {name: offered for name, offered in json.loads(printed).items() if offered}

    return read


@pytest.mark.parametrize("host", HOSTS)
def test_only_the_host_offers_keras(host: str, keras_implementations: Offered) -> None:
    assert keras_implementations(host) == {
        host: ["einsum keras", *(f"attention {name}" for name in KERAS_FORMULATIONS)]
    }


def test_a_subclass_of_a_host_offers_keras_once() -> None:
    subclass = type("Made", (registry.load_class("tensorflow"),), {})
    assert subclass.implementations["einsum"] == registry.load_class("tensorflow").implementations["einsum"]


def test_the_host_is_tensorflow_by_default_and_none_for_a_framework_that_is_no_backend(
    keras_implementations: Offered,
) -> None:
    assert keras_implementations(None) == keras_implementations("tensorflow")
    assert keras_implementations("numpy") == keras_implementations("openvino") == {}


@pytest.mark.parametrize("host", HOSTS)
def test_cases_run_on_every_host_and_deviations_are_recorded(host: str, tmp_path: Path) -> None:
    pytest.importorskip("keras")
    pytest.importorskip(registry.load_class(host).distribution)
    run = tmp_path / "run"
    cases = ["cases/attention/masks.yaml::fully_masked_row", "cases/attention/modules.yaml::self_attention"]
    implementations = [
        f"--implementation={name}" for name in ("keras", "keras-dense", "keras-multihead", "keras-grouped-query")
    ]
    options = ["--backend", host, *implementations, "--mode=eager", "--direction=forward"]
    process = run_python(host, "-m", "pytest", *cases, *options, "-q", f"--report={run}")
    assert process.returncode == 0, process.stdout
    records = [json.loads(line) for line in (run / "records.jsonl").read_text().splitlines()]
    verdicts = {(record["implementation"], record["verdict"]) for record in records}
    assert {(name, "pass") for name in ("keras", "keras-dense", "keras-multihead", "keras-grouped-query")} <= verdicts
    assert ("keras", "deviation") in verdicts
    prefix = "" if host == "tensorflow" else f"KERAS_BACKEND={host} "
    assert {record["again"].partition("pytest")[0] for record in records} == {prefix}


IDS = {
    "jax": (
        "cases/attention/masks.yaml::fully_masked_row[jax-cpu-keras-eager-float32]",
        "cases/attention/gradients.yaml::causal[jax-cpu-keras-eager-float32-grad]",
    ),
    "torch": (
        "cases/attention/modules.yaml::causal[torch-cpu-keras-multihead-eager-float32]",
        "cases/attention/bias.yaml::causal[torch-cpu-keras-eager-float32]",
    ),
}


@pytest.mark.parametrize("host", IDS)
def test_a_check_of_another_host_has_no_program(host: str, run_module: RunModule) -> None:
    refused = run_module(None, "reports", "script", IDS[host][0])
    assert refused.returncode == 2
    assert "Keras runs on tensorflow here, unless KERAS_BACKEND says otherwise" in refused.stderr


@pytest.mark.parametrize("host", IDS)
def test_stand_alone_programs_set_the_host_of_keras(
    host: str, run_module: RunModule, programs: Programs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("keras")
    pytest.importorskip(host)
    (tmp_path / "several.py").write_text("""
import sys
from reports.__main__ import main
for id in sys.argv[1:]:
    assert main(["script", id]) == 0
    print("# The end")
""")
    scripts = run_module(host, "several", *IDS[host], folder=tmp_path)
    assert scripts.returncode == 0, scripts.stderr
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    for id, program in zip(IDS[host], scripts.stdout.split("# The end\n"), strict=False):
        process = programs.run(host, program, tmp_path)
        differs = "fully_masked" in id or "bias" in id
        assert process.returncode == (1 if differs else 0), process.stdout + process.stderr
        assert ("all of these are right" in process.stdout) != differs, process.stdout + process.stderr


def test_keras_imported_with_another_host_is_an_error() -> None:
    """The first import of Keras determines its host."""
    pytest.importorskip("tensorflow")
    pytest.importorskip("keras")
    code = """
import os
os.environ["KERAS_BACKEND"] = "numpy"
import keras
os.environ["KERAS_BACKEND"] = "tensorflow"
from backends.attention.keras import import_keras
import_keras()"""
    message = "keras was imported with its numpy backend before tensorflow was used"
    assert message in run_python(None, "-c", code).stderr
