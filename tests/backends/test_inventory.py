"""What a machine offers is determined whatever a framework does while it is imported."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from backends.discovery import inventory, registry
from backends.discovery.inventory import Finding, probe

ADAPTER = """
from backends.base import Backend

class Fake(Backend):
    name = "fake"
    distribution = {distribution!r}
    implementations = {{}}
    def __init__(self):
        {start}
    def devices(self): return {devices!r}
    def dtypes(self, device): return frozenset({dtypes!r})
    def settings(self): return {settings}
    def from_numpy(self, array, device): return array
    def to_numpy(self, tensor): return tensor
"""


@pytest.fixture(autouse=True)
def _forget_adapters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_adapters", {})


def adapter(
    folder: Path,
    start: str = "pass",
    distribution: str = "numpy",
    devices: tuple[str, ...] = ("cpu",),
    dtypes: tuple[str, ...] = ("float32", "bfloat16"),
    settings: str = "{'speed': 'high'}",
) -> Path:
    file = folder / "fake.py"
    facts = {"distribution": distribution, "devices": list(devices), "dtypes": dtypes, "settings": settings}
    file.write_text(ADAPTER.format(start=start, **facts))
    return file


def examine_adapter(folder: Path, timeout: float = 60, **options: Any) -> Finding:
    return probe(["fake"], [adapter(folder, **options)], timeout=timeout)["fake"]


def test_a_backend_that_can_be_used_is_ready(tmp_path: Path) -> None:
    finding = examine_adapter(tmp_path, start='print("chatter on stdout")', devices=("cpu", "cuda:0"))
    assert (finding.status, finding.reason) == ("ready", None)
    assert finding.devices == {device: ["bfloat16", "float32"] for device in ("cpu", "cuda:0")}
    assert finding.settings == {"speed": "high"}
    assert finding.version == finding.versions["numpy"]
    assert Finding(**json.loads(json.dumps(asdict(finding)))) == finding


def test_a_backend_that_is_not_installed_is_missing(tmp_path: Path) -> None:
    finding = examine_adapter(tmp_path, start="import no_such_framework", distribution="no-such-framework")
    assert finding.status == "missing"
    assert finding.next_step == "pip install no-such-framework"
    assert "no_such_framework" in str(finding.reason)


def test_a_framework_without_its_dependency_is_broken(tmp_path: Path) -> None:
    finding = examine_adapter(tmp_path, start="import no_such_dependency", distribution="pytest")
    assert finding.status == "broken"
    assert finding.version == pytest.__version__
    assert "No module named 'no_such_dependency'" in str(finding.reason)


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        ('raise RuntimeError("driver too old")', "RuntimeError: driver too old"),
        ("import os; os.abort()", "importing it ended the process with SIGABRT"),
        ('import os, sys; print("no AVX here", file=sys.stderr, flush=True); os.abort()', "SIGABRT: no AVX here"),
        ("import sys; sys.exit(3)", "ended with status 3"),
        ("import time; time.sleep(60)", "did not answer within 2 s"),
    ],
)
def test_a_backend_that_cannot_be_used_is_broken(tmp_path: Path, start: str, reason: str) -> None:
    finding = examine_adapter(tmp_path, start=start, timeout=2 if "sleep" in start else 60)
    assert finding.status == "broken"
    assert reason in str(finding.reason)
    assert "-m backends.discovery.inventory fake --adapter=" in str(finding.next_step)


def test_a_backend_with_an_unknown_dtype_is_broken(tmp_path: Path) -> None:
    finding = examine_adapter(tmp_path, dtypes=("float32", "flaot16"))
    assert finding.status == "broken"
    assert str(finding.reason).endswith("its dtypes: unknown name 'flaot16' (did you mean 'float16'?)")


def test_settings_that_are_no_mapping_make_a_backend_broken(tmp_path: Path) -> None:
    finding = examine_adapter(tmp_path, settings="['fast']")
    assert (finding.status, str(finding.reason).split(": ", 1)[1]) == (
        "broken",
        "its settings are no mapping: ['fast']",
    )


def test_text_that_cannot_be_written_is_spelled_out(tmp_path: Path) -> None:
    finding = examine_adapter(tmp_path, settings=r"{'a\ud800': ['\udcff \x1b[2J']}", devices=("cpu", "cuda:\ud800"))
    assert finding.settings == {r"a\ud800": [r"\udcff \x1b[2J"]}
    assert list(finding.devices) == ["cpu", r"cuda:\ud800"]


def test_a_backend_without_devices_is_broken(tmp_path: Path) -> None:
    assert examine_adapter(tmp_path, devices=()).reason == "it finds no device"


def test_a_broken_backend_does_not_affect_others(tmp_path: Path) -> None:
    findings = probe(["numpy", "fake"], [adapter(tmp_path, start="import os; os.abort()")])
    assert [(name, finding.status) for name, finding in findings.items()] == [("numpy", "ready"), ("fake", "broken")]


class TestCache:
    @pytest.fixture
    def examined(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """The names of the backends for which a process was started."""
        names: list[str] = []
        original = inventory._probe_in_process

        def record(name: str, *rest: Any) -> Finding:
            names.append(name)
            return original(name, *rest)

        monkeypatch.setattr(inventory, "_probe_in_process", record)
        return names

    def test_a_ready_backend_is_examined_once(self, tmp_path: Path, examined: list[str]) -> None:
        cache = tmp_path / "new" / "inventory.json"
        first = probe(["numpy"], cache=cache)
        assert probe(["numpy"], cache=cache) == first
        assert examined == ["numpy"]

    def test_a_broken_backend_is_examined_again(self, tmp_path: Path, examined: list[str]) -> None:
        file, cache = adapter(tmp_path, start="raise OSError"), tmp_path / "inventory.json"
        for _ in range(2):
            assert probe(["fake"], [file], cache)["fake"].status == "broken"
        assert examined == ["fake", "fake"]

    @pytest.mark.parametrize("change", ["file", "variable", "cut off"])
    def test_a_change_invalidates_the_cache(
        self, tmp_path: Path, examined: list[str], monkeypatch: pytest.MonkeyPatch, change: str
    ) -> None:
        file, cache = adapter(tmp_path), tmp_path / "inventory.json"
        probe(["fake"], [file], cache)
        if change == "file":
            os.utime(file, ns=(0, 0))
        elif change == "variable":
            monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
        else:
            cache.write_text(cache.read_text()[:40])
        probe(["fake"], [file], cache)
        assert examined == ["fake", "fake"]

    def test_no_flipped_bit_is_believed(self, tmp_path: Path, examined: list[str]) -> None:
        cache, file = tmp_path / "inventory.json", tmp_path / "a.yaml"
        file.write_text("kind: einsum\ncases: {a: {equation: 'i->', shapes: [[2]]}}\n")
        first = probe(["numpy"], cache=cache, case_files=[file])
        whole = cache.read_bytes()
        for bit in range(0, 8 * len(whole), len(whole) // 3 + 1):
            damaged = bytearray(whole)
            damaged[bit // 8] ^= 1 << bit % 8
            cache.write_bytes(damaged)
            assert inventory._read(cache) in (
                {},
                json.loads(whole)["entries"],
            )  # the same, where a bit of white space flipped
        assert probe(["numpy"], cache=cache, case_files=[file]) == first

    def test_findings_of_other_backends_stay_cached(self, tmp_path: Path, examined: list[str]) -> None:
        file, cache = adapter(tmp_path), tmp_path / "inventory.json"
        probe(["fake"], [file], cache)
        probe(["numpy"], [file], cache)
        probe(["numpy", "fake"], [file], cache)
        assert examined == ["fake", "numpy"]


class TestSupport:
    """What a backend does not support is asked once for each content of a case file."""

    FILE = (
        "kind: einsum\ndefaults: {dtypes: [float32, bfloat16]}\n"
        "cases:\n  product: {equation: 'ij,jk->ik', shapes: [[2, 3], [3, 4]]}\n"
    )

    def test_checks_that_are_not_supported_are_listed(self, tmp_path: Path) -> None:
        file = tmp_path / "products.yaml"
        file.write_text(self.FILE)
        lacking = probe(["numpy"], case_files=[file])["numpy"].lacking[str(file)]
        assert "product[numpy-cpu-einsum-eager-bfloat16]" in lacking
        assert not [name for name in lacking if "float32" in name]

    def test_an_adapter_that_cannot_say_what_a_check_costs_is_broken(self, tmp_path: Path) -> None:
        file = adapter(tmp_path)
        file.write_text(file.read_text().replace("implementations = {}", "implementations = {'einsum': ('einsum',)}"))
        with file.open("a") as text:
            text.write("    @classmethod\n    def cost(cls, check): return None\n")
        (cases := tmp_path / "a.yaml").write_text('kind: einsum\ncases: {one: {equation: "i->", sizes: {i: 1}}}\n')
        finding = probe(["fake"], [file], case_files=[cases])["fake"]
        assert (finding.status, str(finding.reason).partition(":")[0]) == ("broken", "TypeError")

    def test_a_file_that_cannot_be_used_has_no_checks(self, tmp_path: Path) -> None:
        file = tmp_path / "broken.yaml"
        file.write_text("kind: [")
        assert probe(["numpy"], case_files=[file])["numpy"].lacking == {str(file): []}

    def test_the_answer_is_cached_by_content(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        first, second, cache = tmp_path / "a.yaml", tmp_path / "b.yaml", tmp_path / "inventory.json"
        first.write_text(self.FILE)
        second.write_text(self.FILE)
        answer = probe(["numpy"], cache=cache, case_files=[first])["numpy"].lacking[str(first)]
        monkeypatch.setattr(inventory, "_probe_in_process", None)  # would raise
        assert probe(["numpy"], cache=cache, case_files=[second])["numpy"].lacking == {str(second): answer}

    def test_another_content_is_asked_about(self, tmp_path: Path) -> None:
        file, cache = tmp_path / "a.yaml", tmp_path / "inventory.json"
        file.write_text(self.FILE)
        probe(["numpy"], cache=cache, case_files=[file])
        file.write_text(self.FILE.replace("product", "another"))
        lacking = probe(["numpy"], cache=cache, case_files=[file])["numpy"].lacking[str(file)]
        assert "another[numpy-cpu-einsum-eager-bfloat16]" in lacking

    def test_it_is_said_what_is_waited_for(self, tmp_path: Path) -> None:
        announced: list[tuple[list[str], float]] = []
        probe(["numpy"], announce=lambda names, seconds: announced.append((names, seconds)))
        assert announced[0] == (["numpy"], 0.0)
