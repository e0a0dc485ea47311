"""The oldest supported versions: they are stated once, and what they do not have is unsupported."""

from __future__ import annotations

import tomllib
from importlib.metadata import version
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from backends.attention import torch as torch_attention
from backends.attention import torch_flex
from backends.attention.base import missing_argument
from backends.attention.jax import DotProductAttention
from backends.attention.keras import KerasAttention
from backends.attention.keras_multihead import KerasGroupedQueryAttention, KerasMultiHeadAttention
from backends.attention.torch import ScaledDotProductAttention
from backends.attention.torch_flex import FlexAttention
from backends.discovery import registry
from specs.case.attention import AttentionConfig
from tests.support import ROOT
from tests.support.checks import unsupported

PLAIN: dict[str, Any] = {"q_len": 4, "num_heads": 2, "head_dim": 8}
MODULE = PLAIN | {
    "layout": "bsd",
    "self_attention": True,
    "projections": {"kind": "linear", "bias": True, "output": True},
}
WINDOW = {"window": {"left": 1, "right": 1}}
LENGTHS = {"kv_lengths": [3]}


def lower_bounds() -> dict[str, Version]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements = map(Requirement, [*project["dependencies"], *project["optional-dependencies"]["frameworks"]])
    return {r.name: Version(next(s.version for s in r.specifier if s.operator == ">=")) for r in requirements}


def test_the_oldest_environment_has_each_framework_at_its_lower_bound() -> None:
    lines = (ROOT / "requirements-oldest.txt").read_text().splitlines()
    pins = {pin.name: Version(str(pin.specifier).removeprefix("==")) for pin in map(Requirement, filter(_named, lines))}
    bounds = lower_bounds()
    assert {registry.load_class(name).distribution for name in registry.names()} <= pins.keys() | {"torch"}
    for name, pinned in pins.items():
        bound = bounds[name].release
        assert pinned.release[: len(bound)] == bound, name


def _named(line: str) -> bool:
    return bool(line) and line[0] not in "#-"


# What they do not have ------------------------------------------------------------------------------------------------


def early_function(query: Any, key: Any, value: Any, bias: Any = None, mask: Any = None, **implementation: Any) -> None:
    """A function without the arguments that were added later."""


def test_the_reason_for_a_missing_argument_names_the_version() -> None:
    reason = missing_argument(early_function, ["mask", "window"], "numpy")
    assert reason == f"early_function of numpy {version('numpy')} has no argument window"
    assert missing_argument(early_function, ["mask"], "numpy") is None


@pytest.mark.parametrize(
    ("fields", "missing"),
    [
        (WINDOW, "local_window_size"),
        (LENGTHS, "key_value_seq_lengths"),
        (WINDOW | {"causal": "bottom_right"}, None),  # expressed by a mask
        ({}, None),
    ],
    ids=str,
)
def test_arguments_that_jax_does_not_have_are_unsupported(
    fields: dict[str, Any], missing: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    jax = pytest.importorskip("jax")
    config = AttentionConfig(**PLAIN | fields)
    assert unsupported(DotProductAttention, config) is None
    monkeypatch.setattr(jax.nn, "dot_product_attention", early_function)
    reason = unsupported(DotProductAttention, config)
    assert (reason is None) if missing is None else f"has no argument {missing}" in str(reason)


def test_keras_without_the_operation_is_unsupported(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorflow")
    keras = registry.get("tensorflow") and pytest.importorskip("keras")
    config = AttentionConfig(**PLAIN)
    assert unsupported(KerasAttention, config) is None
    monkeypatch.delattr(keras.ops, "dot_product_attention")
    assert unsupported(KerasAttention, config) == f"keras {keras.__version__} has no keras.ops.dot_product_attention"


@pytest.mark.parametrize("formulation", [KerasMultiHeadAttention, KerasGroupedQueryAttention])
def test_windows_are_unsupported_where_keras_layers_have_no_argument(
    formulation: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorflow")
    keras = registry.get("tensorflow") and pytest.importorskip("keras")
    window = AttentionConfig(**MODULE | WINDOW)
    assert unsupported(formulation, window) is None
    monkeypatch.setattr(keras.layers, formulation.kind, type("Early", (), {"__init__": early_function}))
    assert "has no argument sliding_window" in unsupported(formulation, window)
    assert unsupported(formulation, AttentionConfig(**MODULE)) is None


def test_grouped_heads_are_unsupported_before_torch_2_5(monkeypatch: pytest.MonkeyPatch) -> None:
    grouped, plain = AttentionConfig(**PLAIN | {"num_kv_heads": 1}), AttentionConfig(**PLAIN)
    for installed, expected in {
        "2.4.0": "of torch 2.4.0 has no argument enable_gqa",
        "2.5.0": None,
        "2.13.0+cpu": None,
    }.items():
        monkeypatch.setattr(torch_attention, "version", lambda name, installed=installed: installed)
        reason = unsupported(ScaledDotProductAttention, grouped)
        assert reason is None if expected is None else expected in str(reason)
        assert unsupported(ScaledDotProductAttention, plain) is None


def test_flex_attention_without_return_aux_is_unsupported(monkeypatch: pytest.MonkeyPatch) -> None:
    flex = pytest.importorskip("torch.nn.attention.flex_attention")
    torch_flex.missing_feature.cache_clear()
    assert unsupported(FlexAttention, AttentionConfig(**PLAIN)) is None
    monkeypatch.delattr(flex, "AuxRequest")
    torch_flex.missing_feature.cache_clear()
    reason = unsupported(FlexAttention, AttentionConfig(**PLAIN))
    torch_flex.missing_feature.cache_clear()
    assert reason == f"torch {version('torch')} has no flex_attention with return_aux"
