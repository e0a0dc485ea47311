"""Attention of Keras, and the framework that it runs on; Keras is imported when it is first used.

Keras's own variable KERAS_BACKEND (https://keras.io/getting_started/#configuring-your-backend) holds for a whole
process; where it is not set, this project runs Keras on TensorFlow.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, ClassVar

from backends.attention.base import Attention, missing_argument
from backends.attention.by_hand import LinearLayer
from backends.attention.heads import HEADS
from backends.attention.visibility import VISIBILITY
from backends.parts.framework import INSTALLED, Framework
from backends.parts.primitives import Operands, Primitives, Tensor
from backends.parts.versions import version
from specs.case.attention import AttentionConfig
from specs.verdict.check import Check

VARIABLE = "KERAS_BACKEND"
DEFAULT_HOST = "tensorflow"


def host() -> str:
    """The framework that Keras runs on in this process."""
    return os.environ.get(VARIABLE, DEFAULT_HOST)


def import_keras(framework: Framework = INSTALLED) -> Any:
    """Keras on its host; ImportError if Keras was imported earlier and runs on another framework."""
    os.environ.setdefault(VARIABLE, DEFAULT_HOST)
    keras = framework["keras"]
    if (backend := keras.backend.backend()) != host():
        raise ImportError(f"keras was imported with its {backend} backend before {host()} was used")
    return keras


def dtype_of(x: Tensor, keras: Any) -> str:
    """The name of a tensor's dtype, in any framework."""
    name: str = keras.backend.standardize_dtype(x.dtype)
    return name


class KerasDense(LinearLayer):
    """keras.layers.Dense."""

    def __init__(self, primitives: Primitives, config: AttentionConfig) -> None:
        self.keras = import_keras(primitives.framework)
        super().__init__(primitives, config)

    def make_layer(self, outputs: int, inputs: int, bias: bool) -> Any:
        """One layer for each dtype of the case, because a layer casts its inputs to its own dtype."""
        layers = {name: self.keras.layers.Dense(outputs, use_bias=bias, dtype=name) for name in self.config.dtypes}
        for layer in layers.values():
            layer.build((None, inputs))
        return layers

    def apply_layer(self, layer: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        kernel = self.ops.permute_dims(weight, (1, 0))
        output, _ = layer[dtype_of(x, self.keras)].stateless_call([kernel] if bias is None else [kernel, bias], [], x)
        return output


class KerasAttention(Attention):
    """keras.ops.dot_product_attention, with its own arguments wherever they express what the case says.

    options   further arguments, all of them added after Keras 3.4
    """

    options: ClassVar[Mapping[str, Any]] = {}
    axes = "bshd"
    understands = HEADS | VISIBILITY | {"num_kv_heads", "scale"}
    limitations = {
        "softcap": "keras.ops.dot_product_attention has a softcap on JAX's TPUs only",
        "sink": "keras.ops.dot_product_attention has no sink",
        "relative": "keras.ops.dot_product_attention has no relative positions",
        "scale_at": "keras.ops.dot_product_attention scales the scores only",
        "value_dim": "keras.ops.dot_product_attention takes values of the keys' shape only",
    }

    @classmethod
    def unsupported(cls, config: AttentionConfig, check: Check) -> str | None:
        function = getattr(import_keras().ops, "dot_product_attention", None)
        if function is None:
            return f"keras {version('keras')} has no keras.ops.dot_product_attention"
        return missing_argument(function, cls.options, "keras") or super().unsupported(config, check)

    def __init__(self, primitives: Primitives, config: AttentionConfig) -> None:
        super().__init__(primitives, config)
        self.keras = import_keras(primitives.framework)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, operands: Operands) -> Tensor:
        is_causal = self.config.causal == "top_left"
        return self.keras.ops.dot_product_attention(
            query,
            key,
            value,
            bias=self.additive_bias(operands),
            mask=self.visible(operands, query, native=("causal",) if is_causal else ()),
            scale=self.config.scale,
            is_causal=is_causal,
            **self.options,
        )


class KerasFlashAttention(KerasAttention):
    """The same with the host's flash attention required."""

    options = {"flash_attention": True}
