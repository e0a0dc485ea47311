"""Fused operations and modules: they run the kernel they are named after, refuse what is declared, and have gradients.

Their accuracy is tested by the suite, their arguments by `test_fused`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.attention.torch import FlashAttention
from backends.discovery import registry
from specs.case.attention import AttentionConfig
from specs.case.case import Case
from specs.inputs.inputs import differentiable
from specs.inputs.inputs import operands as operands_of
from tests.support.checks import check_of, framework, unsupported

PLAIN = {"batch": 2, "q_len": 4, "kv_len": 6, "num_heads": 2, "head_dim": 8}
MODULE = PLAIN | {
    "layout": "bsd",
    "kv_len": 4,
    "self_attention": True,
    "projections": {"kind": "linear", "bias": True, "output": True},
}
ADDED = {"mask": {"type": "additive", "shape": "qk"}}
MODULES = [
    ("torch", "multihead"),
    ("torch", "multihead-weights"),
    ("tensorflow", "keras-multihead"),
    ("tensorflow", "keras-multihead-scores"),
    ("tensorflow", "keras-grouped-query"),
    ("tensorflow", "keras-grouped-query-scores"),
]


def case_of(fields: dict[str, Any]) -> Case:
    return Case("tests/modules::case", "case", Path(__file__), 1, AttentionConfig(**fields))


def run(name: str, implementation: str, fields: dict[str, Any], mode: str = "eager") -> Any:
    case = case_of(fields)
    return framework(name).run(check_of(case, implementation, mode, "float32"), operands_of(case, "float32"))


# Where they are offered -----------------------------------------------------------------------------------------------


def test_kernels_of_gpus_are_offered_on_gpus_only() -> None:
    for name, of_gpus in (("torch", {"sdpa-efficient", "sdpa-cudnn"}), ("jax", {"dot-product-attention-cudnn"})):
        backend = registry.load_class(name)
        assert backend.implementations_on("attention", "cuda:0") == backend.implementations["attention"]
        assert (
            set(backend.implementations_on("attention", "cpu")) == set(backend.implementations["attention"]) - of_gpus
        )


def test_metal_has_no_flash_kernel() -> None:
    assert "sdpa-flash" not in registry.load_class("torch").implementations_on("attention", "mps")


# What they refuse -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [{"value_dim": 5}, {"layout": "ds", "batch": 1, "num_heads": 1}, {"memory": "strided"}, {"memory": "transposed"}],
    ids=str,
)
def test_the_flash_kernel_of_the_cpu_refuses_what_is_declared(fields: dict[str, Any]) -> None:
    assert unsupported(FlashAttention, AttentionConfig(**PLAIN | fields))
    with pytest.warns(UserWarning, match="kernel not used"), pytest.raises(RuntimeError, match="No available kernel"):
        run("torch", "sdpa-flash", PLAIN | fields)


def test_the_flash_kernel_has_no_gradient_of_a_mask() -> None:
    assert unsupported(FlashAttention, AttentionConfig(**PLAIN), direction="grad") is None
    assert "gradient" in str(unsupported(FlashAttention, AttentionConfig(**PLAIN | ADDED), direction="grad"))
    torch: Any = framework("torch")
    case = case_of(PLAIN | ADDED)
    result = run("torch", "sdpa", PLAIN)
    with pytest.warns(UserWarning, match="kernel not used"), pytest.raises(RuntimeError, match="No available kernel"):
        torch.gradient(
            check_of(case, "sdpa-flash", direction="grad"), operands_of(case, "float32"), np.ones_like(result)
        )


def test_an_abort_of_the_process_is_declared_for_the_version_that_aborts(monkeypatch: pytest.MonkeyPatch) -> None:
    case, jax = case_of({"q_len": 64, "num_heads": 2, "head_dim": 1}), framework("jax")
    checks = {mode: check_of(case, "dot-product-attention", mode, "bfloat16") for mode in jax.modes}
    for version, aborts in (("0.10.2", True), ("0.10.3", False)):
        monkeypatch.setattr("backends.attention.jax.version", lambda package, version=version: version)
        refused = [mode for mode, check in checks.items() if jax.unsupported(check)]
        assert refused == ["jit"] * aborts  # neither eager nor where the compiler folds what is constant


@pytest.mark.parametrize(
    "fields",
    [{"scale": 0.3}, {"projections": None, "self_attention": False}, {"layout": "ds", "batch": 1, "num_heads": 1}],
    ids=str,
)
@pytest.mark.parametrize(("name", "implementation"), MODULES)
def test_modules_refuse_what_they_cannot_express(name: str, implementation: str, fields: dict[str, Any]) -> None:
    formulation = registry.load_class(name).formulations[implementation]
    assert unsupported(formulation, AttentionConfig(**MODULE)) is None
    assert unsupported(formulation, AttentionConfig(**MODULE | fields))


# What they are --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("implementation", ["multihead", "multihead-weights", "multihead-fast"])
def test_only_one_implementation_takes_the_fast_path(implementation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    framework("torch")
    import torch

    calls = []
    native = torch._native_multi_head_attention

    def count_call(*arguments: Any) -> Any:
        calls.append(arguments)
        return native(*arguments)

    monkeypatch.setattr(torch, "_native_multi_head_attention", count_call)
    run("torch", implementation, MODULE | {"kv_lengths": [3, 4]})
    assert len(calls) == (implementation == "multihead-fast")


@pytest.mark.parametrize(
    ("implementation", "fused"),
    [
        ("keras-multihead", True),
        ("keras-multihead-scores", False),
        ("keras-grouped-query", True),
        ("keras-grouped-query-scores", False),
    ],
)
def test_a_layer_asked_for_its_scores_leaves_the_fused_operation(
    implementation: str, fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    framework("tensorflow")
    from keras import ops
    from keras.src import ops as used_by_layers

    calls = []

    def count_call(*arguments: Any, **named: Any) -> Any:
        calls.append(named)
        return original(*arguments, **named)

    original = ops.dot_product_attention
    monkeypatch.setattr(used_by_layers, "dot_product_attention", count_call)
    run("tensorflow", implementation, MODULE)
    assert len(calls) == fused


@pytest.mark.parametrize(("name", "implementation"), MODULES)
def test_gradients_reach_every_operand(name: str, implementation: str) -> None:
    case = case_of(MODULE)
    operands = operands_of(case, "float32")
    result = run(name, implementation, MODULE)
    gradients = framework(name).gradient(
        check_of(case, implementation, direction="grad"), operands, np.ones_like(result)
    )
    assert set(gradients) == set(differentiable(operands))
    assert all(np.abs(gradient).max() > 0 for gradient in gradients.values())


@pytest.mark.parametrize("mode", ["jit", "xla"])
@pytest.mark.parametrize(("name", "implementation"), [row for row in MODULES if row[0] == "tensorflow"])
def test_compiled_layers_equal_eager_ones(name: str, implementation: str, mode: str) -> None:
    compiled, eager = (run(name, implementation, MODULE, mode=m) for m in (mode, "eager"))
    np.testing.assert_allclose(compiled, eager, rtol=1e-5, atol=1e-5)
