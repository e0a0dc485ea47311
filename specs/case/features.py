"""What an attention asks for beyond its sizes, by name: what computes it must understand each of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_origin

from pydantic.fields import FieldInfo

from specs.case.attention import AttentionConfig
from specs.case.common import Common
from specs.case.model import Model

SIZES = frozenset({"batch", "q_len", "kv_len", "num_heads", "head_dim"})
OF_INPUTS = frozenset({"data", "query", "key", "value", "unseen", "mask.pattern"})  # what operands hold
OF_VERDICTS = frozenset({"fully_masked", "masked_values"})  # what is held to be right: a framework does what it does
NEUTRAL = frozenset(Common.model_fields) | SIZES | OF_INPUTS | OF_VERDICTS


def features(config: AttentionConfig) -> frozenset[str]:
    """Names of the fields that are not as in plain attention.

    A field of a part is named with it, `window.left`; a choice with what is chosen, `causal=top_left`.

    >>> sorted(features(AttentionConfig(q_len=2, head_dim=4, causal="top_left", softcap=2.0)))
    ['causal=top_left', 'softcap']
    """
    return frozenset(_differing(config, ""))


def _differing(part: Model, prefix: str) -> Iterator[str]:
    for field, info in type(part).model_fields.items():
        name, value = f"{prefix}{field}", getattr(part, field)
        if name in NEUTRAL or value == _plain(part, field, info):
            continue
        if isinstance(value, Model):
            yield name
            yield from _differing(value, f"{name}.")
        elif get_origin(info.annotation) is Literal or value is False:
            yield f"{name}={value}"
        else:
            yield name


def _plain(part: Model, field: str, info: FieldInfo) -> Any:
    """What the field is where nobody states it; of a required one nothing."""
    return info.get_default(call_default_factory=True, validated_data=vars(part))
