"""Backends on which Keras can run.  It uses one framework per process, so exactly one backend offers it.

Keras's NumPy backend, which is for inference without a framework, is not among them.
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
    import_keras,
)
from backends.attention.keras_multihead import (
    KerasGroupedQueryAttention,
    KerasGroupedQueryAttentionWithScores,
    KerasMultiHeadAttention,
    KerasMultiHeadAttentionWithScores,
)
from backends.base import Backend, Computation, Declaration
from backends.parts.contraction import Contraction
from specs.case.case import Config
from specs.case.einsum import EinsumConfig
from specs.verdict.check import Check

KERAS_FORMULATIONS: Mapping[str, type[Attention]] = {
    "keras": KerasAttention,
    "keras-flash": KerasFlashAttention,
    "keras-dense": KerasDense,
    "keras-multihead": KerasMultiHeadAttention,
    "keras-multihead-scores": KerasMultiHeadAttentionWithScores,
    "keras-grouped-query": KerasGroupedQueryAttention,
    "keras-grouped-query-scores": KerasGroupedQueryAttentionWithScores,
}
# Those that call keras.ops.dot_product_attention, and with it the host's own operation; the others do not
FUSED_KERAS = ("keras", "keras-flash", "keras-multihead", "keras-grouped-query")
UNFUSED_KERAS = tuple(name for name in KERAS_FORMULATIONS if name not in FUSED_KERAS)

SCALED_QUERIES = tuple(
    Declaration(
        {"scaled": dtype},
        kind="attention",
        implementation=layer,
        dtype=dtype,
        reason="the layers of Keras multiply the query by the scale before the product",
    )
    for dtype in ("float16", "bfloat16")
    for layer in ("keras-multihead-scores", "keras-grouped-query-scores")
)


class KerasHost(Backend):
    """A backend that also offers Keras's einsum, attention and layers where it hosts Keras."""

    def __init_subclass__(cls, **rest: Any) -> None:
        super().__init_subclass__(**rest)
        own = cls.implementations
        if host() != cls.name or "keras" in own["einsum"]:  # a subclass of a host has inherited it
            return
        cls.implementations = {
            "einsum": (*own["einsum"], "keras"),
            "attention": (*own["attention"], *KERAS_FORMULATIONS),
        }
        cls.formulations = {**cls.formulations, **KERAS_FORMULATIONS}
        cls.on_request = cls.on_request | {"keras-flash"}
        cls.related = ("keras", *cls.related)
        if cls.name != DEFAULT_HOST:
            cls.variables = {name: {VARIABLE: cls.name} for name in KERAS_FORMULATIONS}

    def unsupported(self, check: Check) -> str | None:
        config = check.case.config
        if isinstance(config, EinsumConfig) and check.implementation == "keras" and config.asks_for_dtype:
            return "keras.ops.einsum has no argument for the result's dtype"
        return super().unsupported(check)

    def computation(self, config: Config, implementation: str) -> Computation:
        if isinstance(config, EinsumConfig) and implementation == "keras":
            return Contraction(import_keras(self.framework).ops.einsum, config.equation)
        return super().computation(config, implementation)
