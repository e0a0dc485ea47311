"""Backends and formulations take a framework's modules from what they are made with, and import none themselves."""

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
LOADERS = {
    "backends/parts/framework.py",
    "backends/discovery/registry.py",
}  # of a framework's modules, and of files with backends
FILES = sorted(ROOT.glob("backends/**/*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_file_imports_a_framework(file: Path) -> None:
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.append(node.module)
    assert not {name.partition(".")[0] for name in found} & FRAMEWORKS


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_nothing_is_imported_or_evaluated_by_a_name_but_in_one_place(file: Path) -> None:
    nodes = list(ast.walk(ast.parse(file.read_text())))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    names |= {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    assert not names & {"eval", "exec"}
    assert str(file.relative_to(ROOT)) in LOADERS or not names & IMPORTING


class Counted(Framework):
    """The installed modules, and which of them were asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __getitem__(self, module: str) -> Any:
        self.asked.append(module)
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
def test_a_backend_computes_with_the_modules_that_it_is_given(name: str, implementation: str, module: str) -> None:
    pytest.importorskip(module)
    case = case_of(AttentionConfig(q_len=4, num_heads=2, head_dim=8, causal="top_left", layout="bshd"))
    given, check = Counted(), check_of(case, implementation, dtype="float32")
    backend = registry.declare(name)(given)
    found = backend.run(check, operands_of(case, "float32"))
    assert module in given.asked
    assert (found == registry.get(name).run(check, operands_of(case, "float32"))).all()


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
    found: Array = own.run(check, operands)
    assert (found == registry.get("torch").run(check, operands)).all()
