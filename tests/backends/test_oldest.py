"""The oldest supported versions: stated once, and what they lack is known before it is asked for."""

from __future__ import annotations

import tomllib
from importlib.metadata import version
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from backends.attention import torch as torch_attention
from backends.attention import torch_flex
from backends.attention.base import without
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
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = map(Requirement, [*stated["dependencies"], *stated["optional-dependencies"]["frameworks"]])
    return {each.name: Version(next(s.version for s in each.specifier if s.operator == ">=")) for each in wanted}


def test_the_oldest_environment_has_each_framework_at_its_lower_bound() -> None:
    lines = (ROOT / "requirements-oldest.txt").read_text().splitlines()
    pins = {pin.name: Version(str(pin.specifier).removeprefix("==")) for pin in map(Requirement, filter(_named, lines))}
    bounds = lower_bounds()
    assert {registry.declare(name).distribution for name in registry.names()} <= pins.keys() | {"torch"}
    for name, pinned in pins.items():
        stated = bounds[name].release
        assert pinned.release[: len(stated)] == stated, name


def _named(line: str) -> bool:
    return bool(line) and line[0] not in "#-"


# What they lack -------------------------------------------------------------------------------------------------------


def early(query: Any, key: Any, value: Any, bias: Any = None, mask: Any = None, **implementation: Any) -> None:
    """A function with none of the arguments that came later."""


def test_what_a_version_lacks_is_told_with_the_version() -> None:
    told = without(early, ["mask", "window"], "numpy")
    assert told == f"early of numpy {version('numpy')} has no argument window"
    assert without(early, ["mask"], "numpy") is None


@pytest.mark.parametrize(
    ("fields", "lacking"),
    [
        (WINDOW, "local_window_size"),
        (LENGTHS, "key_value_seq_lengths"),
        (WINDOW | {"causal": "bottom_right"}, None),  # a mask says it
        ({}, None),
    ],
    ids=str,
)
def test_jax_is_not_asked_for_arguments_that_it_lacks(
    fields: dict[str, Any], lacking: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    jax = pytest.importorskip("jax")
    config = AttentionConfig(**PLAIN | fields)
    assert unsupported(DotProductAttention, config) is None
    monkeypatch.setattr(jax.nn, "dot_product_attention", early)
    told = unsupported(DotProductAttention, config)
    assert (told is None) if lacking is None else f"has no argument {lacking}" in str(told)


def test_keras_without_the_operation_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorflow")
    keras = registry.get("tensorflow") and pytest.importorskip("keras")
    config = AttentionConfig(**PLAIN)
    assert unsupported(KerasAttention, config) is None
    monkeypatch.delattr(keras.ops, "dot_product_attention")
    assert unsupported(KerasAttention, config) == f"keras {keras.__version__} has no keras.ops.dot_product_attention"


@pytest.mark.parametrize("formulation", [KerasMultiHeadAttention, KerasGroupedQueryAttention])
def test_keras_layers_are_not_asked_for_windows_that_they_lack(
    formulation: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorflow")
    keras = registry.get("tensorflow") and pytest.importorskip("keras")
    window = AttentionConfig(**MODULE | WINDOW)
    assert unsupported(formulation, window) is None
    monkeypatch.setattr(keras.layers, formulation.kind, type("Early", (), {"__init__": early}))
    assert "has no argument sliding_window" in unsupported(formulation, window)
    assert unsupported(formulation, AttentionConfig(**MODULE)) is None


def test_torch_is_not_asked_for_grouped_heads_before_it_knew_them(monkeypatch: pytest.MonkeyPatch) -> None:
    grouped, plain = AttentionConfig(**PLAIN | {"num_kv_heads": 1}), AttentionConfig(**PLAIN)
    for installed, told in {
        "2.4.0": "of torch 2.4.0 has no argument enable_gqa",
        "2.5.0": None,
        "2.13.0+cpu": None,
    }.items():
        monkeypatch.setattr(torch_attention, "version", lambda name, installed=installed: installed)
        said = unsupported(ScaledDotProductAttention, grouped)
        assert said is None if told is None else told in str(said)
        assert unsupported(ScaledDotProductAttention, plain) is None


def test_torch_without_what_flex_attention_is_asked_for_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    flex = pytest.importorskip("torch.nn.attention.flex_attention")
    torch_flex.lacking.cache_clear()
    assert unsupported(FlexAttention, AttentionConfig(**PLAIN)) is None
    monkeypatch.delattr(flex, "AuxRequest")
    torch_flex.lacking.cache_clear()
    said = unsupported(FlexAttention, AttentionConfig(**PLAIN))
    torch_flex.lacking.cache_clear()
    assert said == f"torch {version('torch')} has no flex_attention with return_aux"
