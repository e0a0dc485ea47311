"""The multi-head layers of Keras, which is imported when the first of them is created."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

from backends.attention.base import first_reason, missing_argument
from backends.attention.keras import dtype_of, import_keras
from backends.attention.module import Module
from backends.parts.framework import Framework
from backends.parts.primitives import Operands, Primitives, Tensor
from specs.case.attention import AttentionConfig
from specs.case.operands import adds_to_scores
from specs.verdict.check import Check


class Sizes(NamedTuple):
    """The sizes of a layer.  Its weights are passed with each call, so cases of equal sizes share a layer."""

    num_heads: int
    num_kv_heads: int
    head_dim: int
    value_dim: int
    input_dim: int
    window: int | None

    @classmethod
    def from_config(cls, config: AttentionConfig) -> Sizes:
        c, p = config, config.projections
        features = (p and p.input_dim) or c.num_heads * c.head_dim
        return cls(c.num_heads, c.num_kv_heads, c.head_dim, c.value_dim, features, native_window(c))


@lru_cache(maxsize=64)
def build_layer(framework: Framework, layer: Callable[..., Any], sizes: Sizes, dtype: str) -> Any:
    """The layer with its variables; it does not depend on the sequence lengths."""
    options = {} if sizes.window is None else {"sliding_window": sizes.window}
    instance = layer(import_keras(framework), sizes, dtype=dtype, **options)
    instance.build((None, None, sizes.input_dim), (None, None, sizes.input_dim))
    return instance


class KerasLayer(Module, ABC):
    """A layer of Keras, one for each dtype of the case, because a layer casts its inputs to its own dtype.

    kind     its name in keras.layers
    scores   whether the attention scores, which are not judged, are returned too: without them the layer calls
             keras.ops.dot_product_attention, with them it computes products, mask and softmax itself
    """

    kind: ClassVar[str]
    scores: ClassVar[bool] = False

    @classmethod
    def unsupported(cls, config: AttentionConfig, check: Check) -> str | None:
        mask = config.mask
        reason = super().unsupported(config, check) or cls.version_limitation(config)
        return reason or first_reason(
            {
                "the layer takes boolean masks only": adds_to_scores(config),
                "the layer documents masks that are the same for all heads": bool(mask and "h" in mask.shape),
            }
        )

    @classmethod
    def version_limitation(cls, config: AttentionConfig) -> str | None:
        """Which argument, added after 3.4, the config needs and the installed Keras does not have."""
        if native_window(config) is None:
            return None
        return missing_argument(getattr(import_keras().layers, cls.kind).__init__, ["sliding_window"], "keras")

    def __init__(self, primitives: Primitives, config: AttentionConfig) -> None:
        super().__init__(primitives, config)
        self.keras, sizes = import_keras(primitives.framework), Sizes.from_config(config)
        # Created now, because a compiler that traces the call refuses to create variables
        self.layers: dict[str, Any] = {
            name: build_layer(primitives.framework, type(self).make_layer, sizes, name) for name in config.dtypes
        }

    @staticmethod
    @abstractmethod
    def make_layer(keras: Any, sizes: Sizes, **options: Any) -> Any:
        """A layer of these sizes, not yet built."""

    def __call__(self, operands: Operands) -> Tensor:
        c = self.config
        query, key, value = self.inputs(operands)
        variables = [*self.input_projection("query", c.num_heads, c.head_dim, operands)]
        variables += self.input_projection("key", c.num_kv_heads, c.head_dim, operands)
        variables += self.input_projection("value", c.num_kv_heads, c.value_dim, operands)
        kernel = self.ops.permute_dims(operands["output_weight"], (1, 0))
        variables += [self.ops.reshape(kernel, (c.num_heads, c.value_dim, -1)), operands["output_bias"]]
        layer = self.layers[dtype_of(query, self.keras)]
        result, _ = layer.stateless_call(
            variables,
            [],
            query,
            value,
            key=key,
            return_attention_scores=self.scores,
            **self.mask_arguments(operands, query),
        )
        return result[0] if self.scores else result

    def input_projection(self, name: str, heads: int, features: int, operands: Operands) -> list[Tensor]:
        """Kernel (in, heads, features) and bias (heads, features) of an input's projection."""
        kernel = self.ops.permute_dims(operands[f"{name}_weight"], (1, 0))
        bias = operands[f"{name}_bias"]
        return [self.ops.reshape(kernel, (-1, heads, features)), self.ops.reshape(bias, (heads, features))]

    def mask_arguments(self, operands: Operands, like: Tensor) -> dict[str, Any]:
        """The masks as arguments of the layer, its own ones wherever they express what the case says."""
        c = self.config
        expressible = {"causal": c.causal == "top_left", "window": native_window(c) is not None}
        native = [name for name, value in expressible.items() if value]
        keys, pairs = self.mask_parts(operands, like, native=native)
        arguments: dict[str, Any] = {"use_causal_mask": c.causal == "top_left"}
        if keys is not None:
            arguments["value_mask"] = self.ops.repeat(keys, c.batch // keys.shape[0], 0)
        if pairs is not None:
            batch, _, q_len, kv_len = (1, 1, 1, *pairs.shape)[-4:]
            arguments["attention_mask"] = self.ops.reshape(pairs, (batch, q_len, kv_len))
        return arguments


def native_window(config: AttentionConfig) -> int | None:
    """`sliding_window`, the same on both sides and counting the query's own key; None where it cannot express it."""
    window, causal = config.window, config.causal
    if window is None or window.left is None or causal == "bottom_right":
        return None
    symmetric = window.left == window.right or (causal == "top_left" and (window.right is None or window.right >= 0))
    return window.left + 1 if symmetric else None


class KerasMultiHeadAttention(KerasLayer):
    """keras.layers.MultiHeadAttention."""

    kind = "MultiHeadAttention"

    @classmethod
    def unsupported(cls, config: AttentionConfig, check: Check) -> str | None:
        return super().unsupported(config, check) or first_reason(
            {"MultiHeadAttention has as many key heads as query heads": config.num_heads != config.num_kv_heads}
        )

    @staticmethod
    def make_layer(keras: Any, sizes: Sizes, **options: Any) -> Any:
        make, merged = keras.layers.MultiHeadAttention, sizes.num_heads * sizes.value_dim
        return make(sizes.num_heads, sizes.head_dim, value_dim=sizes.value_dim, output_shape=merged, **options)


class KerasMultiHeadAttentionWithScores(KerasMultiHeadAttention):
    """The same, returning its scores too."""

    scores = True


class KerasGroupedQueryAttention(KerasLayer):
    """keras.layers.GroupQueryAttention."""

    kind = "GroupQueryAttention"

    @classmethod
    def unsupported(cls, config: AttentionConfig, check: Check) -> str | None:
        c = config
        return super().unsupported(c, check) or first_reason(
            {
                "GroupQueryAttention has values of the keys' width": c.value_dim != c.head_dim,
                "GroupQueryAttention has an output as wide as its input": bool(
                    c.projections and c.projections.input_dim not in (None, c.num_heads * c.head_dim)
                ),
            }
        )

    @staticmethod
    def make_layer(keras: Any, sizes: Sizes, **options: Any) -> Any:
        make = keras.layers.GroupQueryAttention
        return make(sizes.head_dim, sizes.num_heads, sizes.num_kv_heads, **options)


class KerasGroupedQueryAttentionWithScores(KerasGroupedQueryAttention):
    """The same, returning its scores too."""

    scores = True
