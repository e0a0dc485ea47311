"""Named features of an attention beyond its sizes; an implementation must understand each one that a case uses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_origin

from cachetools import LRUCache, cached
from pydantic.fields import FieldInfo

from specs.case.attention import AttentionConfig
from specs.case.common import Common
from specs.case.model import Model

SIZE_FIELDS = frozenset({"batch", "q_len", "kv_len", "num_heads", "head_dim"})
INPUT_FIELDS = frozenset({"data", "query", "key", "value", "unseen", "mask.pattern"})  # contents of operands
VERDICT_FIELDS = frozenset({"fully_masked", "masked_values"})  # the expected outcome; they change no computation
NEUTRAL_FIELDS = frozenset(Common.model_fields) | SIZE_FIELDS | INPUT_FIELDS | VERDICT_FIELDS


def features(config: AttentionConfig) -> frozenset[str]:
    """Names of the fields that differ from plain attention.

    A nested field is named with its parent, `window.left`; a choice with its value, `causal=top_left`.

    >>> sorted(features(AttentionConfig(q_len=2, head_dim=4, causal="top_left", softcap=2.0)))
    ['causal=top_left', 'softcap']
    """
    return _features(config)[1]


@cached(LRUCache(4096), key=id)  # hashing a config takes longer
def _features(config: AttentionConfig) -> tuple[AttentionConfig, frozenset[str]]:
    """The config, which must live as long as the entry, and what `features` returns."""
    return config, frozenset(_non_default(config, ""))


def field_of(feature: str) -> str:
    """The field of `AttentionConfig` that a feature belongs to.

    >>> field_of("mask.type=bool"), field_of("causal=top_left"), field_of("sink")
    ('mask', 'causal', 'sink')
    """
    return feature.partition("=")[0].partition(".")[0]


def _non_default(part: Model, prefix: str) -> Iterator[str]:
    for field, info in type(part).model_fields.items():
        name, value = f"{prefix}{field}", getattr(part, field)
        if name in NEUTRAL_FIELDS or value == _default(part, field, info):
            continue
        if isinstance(value, Model):
            yield name
            yield from _non_default(value, f"{name}.")
        elif get_origin(info.annotation) is Literal or value is False:
            yield f"{name}={value}"
        else:
            yield name


def _default(part: Model, field: str, info: FieldInfo) -> Any:
    """The field's default given the other fields; undefined for a required field."""
    if info.default_factory is None:
        return info.default
    return info.default_factory(vars(part))  # type: ignore[call-arg]  # every factory takes the other fields
