"""A formulation of attention handles what it declares in `understands`, and names any other feature of a case."""

from __future__ import annotations

import pytest
from pydantic import Field

from backends.attention.base import Attention
from backends.attention.by_hand import Matmul
from backends.discovery import registry
from specs.case.attention import AttentionConfig
from specs.case.attention_fields import Mask, Projections, Relative, Rotary, Window
from specs.case.features import features
from specs.case.loading import discover, load
from tests.support import ROOT
from tests.support.checks import unsupported

FORMULATIONS = {
    f"{name}-{implementation}": formulation
    for name in registry.names()
    for implementation, formulation in registry.load_class(name).formulations.items()
}


class ExtendedMask(Mask):
    documents: bool = Field(default=False)


class ExtendedConfig(AttentionConfig):
    """A future config of attention: two more fields, and one more in a part that exists."""

    segments: list[int] | None = Field(default=None)
    mask: ExtendedMask | None = Field(default=None)
    dropout: float = Field(default=0.0)


@pytest.mark.parametrize("formulation", FORMULATIONS.values(), ids=FORMULATIONS)
@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("segments", {"segments": [0, 1]}),
        ("mask.documents", {"mask": ExtendedMask(type="bool", documents=True)}),
        ("dropout", {"dropout": 0.5}),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_an_unknown_field_is_unsupported_by_name(formulation: type[Attention], name: str, fields: dict) -> None:
    if "Keras" in formulation.__name__:  # it inspects the installed version
        pytest.importorskip("keras")
    config = ExtendedConfig(q_len=2, head_dim=4, **fields)
    assert name in (unsupported(formulation, config) or "")


def test_whatever_a_case_states_today_is_understood_by_hand() -> None:
    stated = {
        feature
        for file in discover([], ROOT)
        for case in load(file, ROOT)
        if isinstance(case.config, AttentionConfig)
        for feature in features(case.config)
    }
    assert stated <= Matmul.understands
    assert "softcap" in stated


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({}, ""),
        ({"batch": 3, "num_heads": 2, "kv_len": 7, "fully_masked": "mean", "unseen": "nan"}, ""),
        ({"num_heads": 4, "num_kv_heads": 2, "value_dim": 3}, "num_kv_heads value_dim"),
        ({"causal": "bottom_right", "scale": 1.0}, "causal=bottom_right scale"),
        ({"window": Window(left=1)}, "window window.left"),
        ({"mask": Mask(type="bool", shape="k", pattern="padding")}, "mask mask.type=bool mask.shape"),
        ({"relative": Relative(values=False)}, "relative relative.values=False"),
        ({"rotary": Rotary(pairing="interleaved")}, "rotary rotary.pairing=interleaved"),
        ({"projections": Projections(kind="per_head")}, "projections projections.kind=per_head"),
    ],
    ids=str,
)
def test_features_are_what_differs_from_plain_attention(fields: dict, names: str) -> None:
    assert features(AttentionConfig(q_len=2, head_dim=4, **fields)) == set(names.split())
