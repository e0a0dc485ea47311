"""Backends are found by their file names, and can be added from files outside the project."""

from __future__ import annotations

from pathlib import Path

import pytest

from backends.base import Backend
from backends.discovery import registry
from backends.discovery.registry import AdapterError, UnknownBackendError

ADAPTER = """
from backends.base import Backend

class {cls}(Backend):
    name = {name!r}
    distribution = "numpy"
    implementations = {{}}
    def devices(self): return ["cpu"]
    def dtypes(self, device): return frozenset({{"float32"}})
    def from_numpy(self, array, device): return array
    def to_numpy(self, tensor): return tensor
"""


@pytest.fixture(autouse=True)
def _forget_adapters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_adapters", {})


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_every_file_defines_the_backend_of_its_name() -> None:
    assert registry.names() == ["jax", "numpy", "tensorflow", "torch"]
    for name in registry.names():
        backend = registry.load_class(name)
        assert backend.name == name
        assert registry.source(name).stem == name
        assert backend.__doc__
        assert set(backend.implementations) == {"einsum", "attention"}
        assert set(backend.default_modes) <= set(backend.modes)
        assert tuple(backend.formulations) == backend.implementations["attention"]


def test_an_unknown_name_lists_known_names_and_the_nearest() -> None:
    with pytest.raises(UnknownBackendError, match=r"'troch'; did you mean torch\? \(known: jax, numpy, "):
        registry.load_class("troch")
    with pytest.raises(LookupError):
        registry.get("mlx")


def test_one_instance_per_process() -> None:
    assert registry.get("numpy") is registry.get("numpy")


def test_adapter(tmp_path: Path) -> None:
    file = write(tmp_path / "mine.py", ADAPTER.format(cls="Mine", name="mine"))
    assert registry.add(file) == "mine"
    assert registry.add(str(file)) == "mine"  # a worker adds what the controller already did
    assert registry.names() == ["jax", "mine", "numpy", "tensorflow", "torch"]
    assert issubclass(registry.load_class("mine"), Backend)
    assert registry.load_class("mine")().devices() == ["cpu"]
    assert registry.source("mine") == file


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "must define exactly one subclass of Backend, and defines none"),
        ("from backends.numpy import Numpy", "defines none"),
        (ADAPTER.format(cls="A", name="a") + ADAPTER.format(cls="B", name="b"), "defines A, B"),
        (ADAPTER.format(cls="A", name="numpy"), r"'numpy' is already known, from .*backends/numpy\.py"),
        (
            "from backends.base import Backend\nclass A(Backend):\n    name = 'a'",
            "does not state its distribution, impl",
        ),
        (
            ADAPTER.format(cls="A", name="a") + "    directions = ('forward', 'back')\n",
            r"bad.py:\d+: A.directions: unknown name 'back' \(known: forward or grad\)",
        ),
        (
            ADAPTER.format(cls="A", name="a") + "    implementations = {'einsun': ('einsum',)}\n",
            r"bad.py:\d+: A.implementations: unknown name 'einsun' .did you mean 'einsum'",
        ),
        (
            ADAPTER.format(cls="A", name="a") + r"    modes = ('eager', 'fast\ud800')",
            r"states modes = \('eager', 'fast\\ud800'\), where a tuple of names",
        ),
        (
            ADAPTER.format(cls="A", name="a") + "    shares = {'eager': None}\n",
            "states shares = {'eager': None}, where a share of each mode is required",
        ),
        ("raise OSError('\\ud800')", r"importing it failed: OSError: \\ud800"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("def", "SyntaxError"),
    ],
)
def test_adapter_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    file = write(tmp_path / "bad.py", text)
    with pytest.raises(AdapterError, match=message):
        registry.add(file)
    assert registry.names() == ["jax", "numpy", "tensorflow", "torch"]


def test_adapter_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="no such file"):
        registry.add(tmp_path / "absent.py")
