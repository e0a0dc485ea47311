"""Backends on which Keras can run: it computes on one framework in a process, so one backend offers it.

Its NumPy backend, which Keras has for inference without a framework, is not among them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backends.attention.base import Attention
from backends.attention.keras import (
    DEFAULT_HOST,
    VARIABLE,
    KerasAttention,
    KerasDense,
    KerasFlashAttention,
    host,
    hosted_keras,
)
from backends.attention.keras_multihead import (
    KerasGroupedQueryAttention,
    KerasGroupedQueryAttentionWithScores,
    KerasMultiHeadAttention,
    KerasMultiHeadAttentionWithScores,
)
from backends.base import Backend, Computation
from backends.parts.contraction import Contraction
from specs.case.case import Config
from specs.case.einsum import EinsumConfig
from specs.verdict.check import Check

KERAS: Mapping[str, type[Attention]] = {
    "keras": KerasAttention,
    "keras-flash": KerasFlashAttention,
    "keras-dense": KerasDense,
    "keras-multihead": KerasMultiHeadAttention,
    "keras-multihead-scores": KerasMultiHeadAttentionWithScores,
    "keras-grouped-query": KerasGroupedQueryAttention,
    "keras-grouped-query-scores": KerasGroupedQueryAttentionWithScores,
}
# Those that call keras.ops.dot_product_attention, and so what their host has for it, and those that compute themselves
FUSED_KERAS = ("keras", "keras-flash", "keras-multihead", "keras-grouped-query")
UNFUSED_KERAS = tuple(name for name in KERAS if name not in FUSED_KERAS)


class KerasHost(Backend):
    """A backend that offers Keras's einsum, attention and layers beside its own where it hosts Keras."""

    def __init_subclass__(cls, **rest: Any) -> None:
        super().__init_subclass__(**rest)
        own = cls.implementations
        if host() != cls.name or "keras" in own["einsum"]:  # which a class of its own has inherited
            return
        cls.implementations = {"einsum": (*own["einsum"], "keras"), "attention": (*own["attention"], *KERAS)}
        cls.formulations = {**cls.formulations, **KERAS}
        cls.on_request = cls.on_request | {"keras-flash"}
        cls.related = ("keras", *cls.related)
        if cls.name != DEFAULT_HOST:
            cls.variables = {name: {VARIABLE: cls.name} for name in KERAS}

    def unsupported(self, check: Check) -> str | None:
        config = check.case.config
        if isinstance(config, EinsumConfig) and check.implementation == "keras" and config.asks_for_dtype:
            return "keras.ops.einsum has no argument for the result's dtype"
        return super().unsupported(check)

    def computation(self, config: Config, implementation: str) -> Computation:
        if isinstance(config, EinsumConfig) and implementation == "keras":
            return Contraction(hosted_keras(self.framework).ops.einsum, config.equation)
        return super().computation(config, implementation)
