"""Attention of Keras, and the framework that it computes on; Keras is imported when it is first used.

KERAS_BACKEND is Keras's own variable (https://keras.io/getting_started/#configuring-your-backend), and is read for a
whole process; where it says nothing, this project runs Keras on TensorFlow.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, ClassVar

from backends.attention.base import Attention, without
from backends.attention.by_hand import LinearLayer
from backends.attention.heads import HEADS
from backends.attention.visibility import VISIBILITY
from backends.parts.framework import INSTALLED, Framework
from backends.parts.primitives import Operands, Primitives, Tensor
from specs.case.attention import AttentionConfig
from specs.verdict.check import Check

VARIABLE = "KERAS_BACKEND"
DEFAULT_HOST = "tensorflow"


def host() -> str:
    """The framework that Keras runs on in this process."""
    return os.environ.get(VARIABLE, DEFAULT_HOST)


def hosted_keras(framework: Framework = INSTALLED) -> Any:
    """Keras on its host; whatever imported it first has chosen what it runs on."""
    os.environ.setdefault(VARIABLE, DEFAULT_HOST)
    keras = framework["keras"]
    if (found := keras.backend.backend()) != host():
        raise ImportError(f"keras was imported with its {found} backend before {host()} was used")
    return keras


def dtype_of(x: Tensor, keras: Any) -> str:
    """The name of a tensor's dtype, whichever framework's it is."""
    name: str = keras.backend.standardize_dtype(x.dtype)
    return name


class KerasDense(LinearLayer):
    """keras.layers.Dense."""

    def __init__(self, primitives: Primitives, config: AttentionConfig) -> None:
        self.keras = hosted_keras(primitives.framework)
        super().__init__(primitives, config)

    def layer(self, outputs: int, inputs: int, bias: bool) -> Any:
        """One for each dtype of the case: a layer casts whatever it is given to its own."""
        layers = {name: self.keras.layers.Dense(outputs, use_bias=bias, dtype=name) for name in self.config.dtypes}
        for layer in layers.values():
            layer.build((None, inputs))
        return layers

    def applied(self, layer: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        kernel = self.ops.permute(weight, (1, 0))
        output, _ = layer[dtype_of(x, self.keras)].stateless_call([kernel] if bias is None else [kernel, bias], [], x)
        return output


class KerasAttention(Attention):
    """keras.ops.dot_product_attention, with its own arguments wherever they mean what the case says.

    options   further arguments, none of which Keras 3.4 had
    """

    options: ClassVar[Mapping[str, Any]] = {}
    axes = "bshd"
    understands = HEADS | VISIBILITY | {"num_kv_heads", "scale"}
    lacks = {
        "softcap": "keras.ops.dot_product_attention has a softcap on JAX's TPUs only",
        "sink": "keras.ops.dot_product_attention has no sink",
        "relative": "keras.ops.dot_product_attention has no relative positions",
        "scale_at": "keras.ops.dot_product_attention scales the scores only",
        "value_dim": "keras.ops.dot_product_attention takes values of the keys' shape only",
    }

    @classmethod
    def unsupported(cls, config: AttentionConfig, check: Check) -> str | None:
        function = getattr(hosted_keras().ops, "dot_product_attention", None)
        if function is None:
            return f"keras {version('keras')} has no keras.ops.dot_product_attention"
        return without(function, cls.options, "keras") or super().unsupported(config, check)

    def __init__(self, primitives: Primitives, config: AttentionConfig) -> None:
        super().__init__(primitives, config)
        self.keras = hosted_keras(primitives.framework)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, operands: Operands) -> Tensor:
        is_causal = self.config.causal == "top_left"
        return self.keras.ops.dot_product_attention(
            query,
            key,
            value,
            bias=self.added(operands),
            mask=self.visible(operands, query, native=("causal",) if is_causal else ()),
            scale=self.config.scale,
            is_causal=is_causal,
            **self.options,
        )


class KerasFlashAttention(KerasAttention):
    """The same with the host's flash attention, or not at all."""

    options = {"flash_attention": True}
