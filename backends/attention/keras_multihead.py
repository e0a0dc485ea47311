"""The multi-head layers of Keras; it is imported when one is first made."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

from backends.attention.base import first, without
from backends.attention.keras import dtype_of, hosted_keras
from backends.attention.module import Module
from backends.parts.framework import Framework
from backends.parts.primitives import Operands, Primitives, Tensor
from specs.case.attention import AttentionConfig
from specs.verdict.check import Check


class Sizes(NamedTuple):
    """What a layer is made for; its weights come with each call, so cases of equal sizes share it."""

    num_heads: int
    num_kv_heads: int
    head_dim: int
    value_dim: int
    input_dim: int
    window: int | None

    @classmethod
    def of(cls, config: AttentionConfig) -> Sizes:
        c, p = config, config.projections
        features = (p and p.input_dim) or c.num_heads * c.head_dim
        return cls(c.num_heads, c.num_kv_heads, c.head_dim, c.value_dim, features, own_window(c))


@lru_cache(maxsize=64)
def built(framework: Framework, layer: Callable[..., Any], sizes: Sizes, dtype: str) -> Any:
    """The layer with variables in place; of lengths it knows nothing."""
    options = {} if sizes.window is None else {"sliding_window": sizes.window}
    made = layer(hosted_keras(framework), sizes, dtype=dtype, **options)
    made.build((None, None, sizes.input_dim), (None, None, sizes.input_dim))
    return made


class KerasLayer(Module, ABC):
    """A layer of Keras, one for each dtype of the case: a layer casts whatever it is given to its own.

    kind     its name in keras.layers
    scores   whether it is asked for the attention scores too, which are not judged: without them it calls
             keras.ops.dot_product_attention, with them it multiplies, masks and multiplies itself
    """

    kind: ClassVar[str]
    scores: ClassVar[bool] = False

    @classmethod
    def unsupported(cls, config: AttentionConfig, check: Check) -> str | None:
        mask = config.mask
        lacks = super().unsupported(config, check) or cls.asks_for_later(config)
        return lacks or first(
            {
                "the layer takes boolean masks only": bool(config.bias or (mask and mask.type == "additive")),
                "the layer documents masks that are the same for all heads": bool(mask and "h" in mask.shape),
            }
        )

    @classmethod
    def asks_for_later(cls, config: AttentionConfig) -> str | None:
        """Why the installed Keras cannot be asked: its layer may lack an argument that came after 3.4."""
        if own_window(config) is None:
            return None
        return without(getattr(hosted_keras().layers, cls.kind).__init__, ["sliding_window"], "keras")

    def __init__(self, primitives: Primitives, config: AttentionConfig) -> None:
        super().__init__(primitives, config)
        self.keras, sizes = hosted_keras(primitives.framework), Sizes.of(config)
        # Made now, because a compiler that traces the call refuses to make variables
        self.layers: dict[str, Any] = {
            name: built(primitives.framework, type(self).layer, sizes, name) for name in config.dtypes
        }

    @staticmethod
    @abstractmethod
    def layer(keras: Any, sizes: Sizes, **options: Any) -> Any:
        """A layer of these sizes, not yet built."""

    def __call__(self, operands: Operands) -> Tensor:
        c = self.config
        query, key, value = self.inputs(operands)
        variables = [*self.inwards("query", c.num_heads, c.head_dim, operands)]
        variables += self.inwards("key", c.num_kv_heads, c.head_dim, operands)
        variables += self.inwards("value", c.num_kv_heads, c.value_dim, operands)
        kernel = self.ops.permute(operands["output_weight"], (1, 0))
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

    def inwards(self, name: str, heads: int, features: int, operands: Operands) -> list[Tensor]:
        """Kernel, (in, heads, features), and bias, (heads, features), of an input's projection."""
        kernel = self.ops.permute(operands[f"{name}_weight"], (1, 0))
        bias = operands[f"{name}_bias"]
        return [self.ops.reshape(kernel, (-1, heads, features)), self.ops.reshape(bias, (heads, features))]

    def mask_arguments(self, operands: Operands, like: Tensor) -> dict[str, Any]:
        """The layer's own arguments wherever they mean what the case says."""
        c = self.config
        own = {"causal": c.causal == "top_left", "window": own_window(c) is not None}
        keys, pairs = self.visible_parts(operands, like, native=[name for name, has in own.items() if has])
        arguments: dict[str, Any] = {"use_causal_mask": c.causal == "top_left"}
        if keys is not None:
            arguments["value_mask"] = self.ops.repeat(keys, c.batch // keys.shape[0], 0)
        if pairs is not None:
            batch, _, queries, keys_of_each = (1, 1, 1, *pairs.shape)[-4:]
            arguments["attention_mask"] = self.ops.reshape(pairs, (batch, queries, keys_of_each))
        return arguments


def own_window(config: AttentionConfig) -> int | None:
    """The layer's `sliding_window`, which sees as many keys on either side, itself included; None if it cannot."""
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
        return super().unsupported(config, check) or first(
            {"MultiHeadAttention has as many key heads as query heads": config.num_heads != config.num_kv_heads}
        )

    @staticmethod
    def layer(keras: Any, sizes: Sizes, **options: Any) -> Any:
        make, merged = keras.layers.MultiHeadAttention, sizes.num_heads * sizes.value_dim
        return make(sizes.num_heads, sizes.head_dim, value_dim=sizes.value_dim, output_shape=merged, **options)


class KerasMultiHeadAttentionWithScores(KerasMultiHeadAttention):
    """The same asked for its scores too."""

    scores = True


class KerasGroupedQueryAttention(KerasLayer):
    """keras.layers.GroupQueryAttention."""

    kind = "GroupQueryAttention"

    @classmethod
    def unsupported(cls, config: AttentionConfig, check: Check) -> str | None:
        c = config
        return super().unsupported(c, check) or first(
            {
                "GroupQueryAttention has values of the keys' width": c.value_dim != c.head_dim,
                "GroupQueryAttention has an output as wide as its input": bool(
                    c.projections and c.projections.input_dim not in (None, c.num_heads * c.head_dim)
                ),
            }
        )

    @staticmethod
    def layer(keras: Any, sizes: Sizes, **options: Any) -> Any:
        make = keras.layers.GroupQueryAttention
        return make(sizes.head_dim, sizes.num_heads, sizes.num_kv_heads, **options)


class KerasGroupedQueryAttentionWithScores(KerasGroupedQueryAttention):
    """The same asked for its scores too."""

    scores = True
