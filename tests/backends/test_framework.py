"""Backends and formulations take a framework's modules from the `Framework` they get, and import none themselves."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from backends.discovery import registry
from backends.parts.framework import Framework
from specs.arithmetic.formats import Array
from specs.case.attention import AttentionConfig
from specs.inputs.inputs import operands as operands_of
from tests.support import ROOT
from tests.support.checks import case_of, check_of

FRAMEWORKS = {"torch", "jax", "jaxlib", "tensorflow", "keras", "opt_einsum"}
IMPORTING = {"__import__", "import_module", "exec_module"}
# They import a framework's modules, and files with backends
LOADERS = {"backends/parts/framework.py", "backends/discovery/registry.py"}
FILES = sorted(ROOT.glob("backends/**/*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_file_imports_a_framework(file: Path) -> None:
    result = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            result += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            result.append(node.module)
    assert not {name.partition(".")[0] for name in result} & FRAMEWORKS


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_only_loaders_import_or_evaluate_by_name(file: Path) -> None:
    nodes = list(ast.walk(ast.parse(file.read_text())))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    names |= {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    assert not names & {"eval", "exec"}
    assert str(file.relative_to(ROOT)) in LOADERS or not names & IMPORTING


class RecordingFramework(Framework):
    """The installed modules, and the names of those that were accessed."""

    def __init__(self) -> None:
        self.accessed: list[str] = []

    def __getitem__(self, module: str) -> Any:
        self.accessed.append(module)
        return super().__getitem__(module)


@pytest.mark.parametrize(
    ("name", "implementation", "module"),
    [
        ("numpy", "matmul", "numpy"),
        ("torch", "sdpa-math", "torch.nn.attention"),
        ("torch", "flex", "torch.nn.attention.flex_attention"),
        ("jax", "dot-product-attention", "jax"),
        ("tensorflow", "keras", "keras"),
    ],
)
def test_a_backend_computes_with_the_modules_that_it_is_created_with(
    name: str, implementation: str, module: str
) -> None:
    pytest.importorskip(module)
    case = case_of(AttentionConfig(q_len=4, num_heads=2, head_dim=8, causal="top_left", layout="bshd"))
    modules, check = RecordingFramework(), check_of(case, implementation, dtype="float32")
    backend = registry.load_class(name)(modules)
    result = backend.run(check, operands_of(case, "float32"))
    assert module in modules.accessed
    assert (result == registry.get(name).run(check, operands_of(case, "float32"))).all()


ADAPTER = """
from backends.parts.primitives import Primitives
from backends.attention.torch import ScaledDotProductAttention
from backends.base import Backend

class Own(Backend):
    name = distribution = "own"
    implementations = {"einsum": ("einsum",), "attention": ("sdpa",)}
    formulations = {"sdpa": ScaledDotProductAttention}

    def __init__(self):
        import torch
        self.torch = torch
        self.primitives = Primitives(
            torch.einsum, torch.permute, torch.reshape, torch.broadcast_to, torch.cat, torch.repeat_interleave,
            torch.where, lambda x, axis: torch.any(x, axis, keepdim=True), torch.softmax, torch.tanh,
            lambda length, like: torch.arange(length), lambda like: torch.finfo(like.dtype).min,
        )

    def devices(self):
        return ["cpu"]

    def dtypes(self, device):
        return frozenset({"float32"})

    def from_numpy(self, array, device):
        return self.torch.from_numpy(array.copy())

    def to_numpy(self, tensor):
        return tensor.numpy()
"""


def test_an_adapter_need_not_know_where_modules_come_from() -> None:
    pytest.importorskip("torch")
    scope: dict[str, Any] = {"__name__": "own"}
    exec(ADAPTER, scope)
    own = scope["Own"]()
    case = case_of(AttentionConfig(q_len=4, num_heads=2, head_dim=8, causal="top_left"))
    check, operands = check_of(case, "sdpa", dtype="float32"), operands_of(case, "float32")
    result: Array = own.run(check, operands)
    assert (result == registry.get("torch").run(check, operands)).all()
