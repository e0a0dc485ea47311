"""Wrong formulas of attention: softmax, scale, softcap, bias."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from backends.attention.by_hand import ByHand
from backends.numpy import Numpy
from backends.parts.primitives import Operands, Primitives, Tensor
from specs.arithmetic.formats import Array
from specs.case.attention import AttentionConfig
from tests.faulty.fault import fault
from tests.faulty.wrong import Misread

# Softmax --------------------------------------------------------------------------------------------------------------


@fault(
    "one_maximum_for_all",
    nan=[
        "seeds/seed_002_columns::large_logits[einsum-float32]",
        "seeds/seed_002_columns::large_logits[matmul-float32]",
        "attention/scale::large_logits[einsum-float32]",
        "attention/scale::large_logits[matmul-float32]",
    ],
)
class OneMaximumForAll(Numpy):
    """Seed 002's softmax subtracts the largest of all scores, so a row or column far below it is 0 / 0."""

    @staticmethod
    def softmax(x: Array, axis: int) -> Array:
        numerator = np.exp(x - x.max(initial=-np.inf))
        return numerator / numerator.sum(axis=axis, keepdims=True)

    primitives = replace(Numpy.primitives, softmax=softmax)


@fault(
    "no_maximum",
    nan=[
        "seeds/seed_002_columns::large_logits[einsum-float32]",
        "seeds/seed_002_columns::large_logits[matmul-float64]",
        "attention/scale::large_logits[einsum-float32]",
        "attention/scale::large_logits[matmul-float32]",
    ],
)
class NoMaximum(Numpy):
    """Softmax as its formula reads, without subtracting a maximum: exp overflows."""

    @staticmethod
    def softmax(x: Array, axis: int) -> Array:
        return np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True)

    primitives = replace(Numpy.primitives, softmax=softmax)


@fault(
    "softmax_over_queries",
    values=[
        "seeds/seed_003::small[einsum-float32]",
        "seeds/seed_003::small[matmul-float64]",
        "seeds/seed_003::values_only[einsum-float32]",
        "attention/lengths::equal[matmul-float16]",
        "attention/layouts::columns[einsum-float32]",
        "seeds/seed_004::module[matmul-float32]",
    ],
)
class SoftmaxOverQueries(ByHand):
    """Seed 003's first attempt: the softmax runs over the queries instead of the keys."""

    def __init__(self, primitives: Primitives, config: AttentionConfig) -> None:
        over_queries = replace(primitives, softmax=lambda x, axis: primitives.softmax(x, -2 if axis == -1 else -1))
        super().__init__(over_queries, config)


# Scale, softcap, bias -------------------------------------------------------------------------------------------------


@fault(
    "scale_after_softmax",
    values=[
        "seeds/seed_002_linear::scale_before_softmax[einsum-float32]",
        "seeds/seed_002_linear::scale_before_softmax[matmul-float64]",
        "seeds/seed_002_linear::scale_before_softmax_larger[einsum-float32]",
        "attention/scale::default[matmul-float16]",
    ],
)
class ScaleAfterSoftmax(Misread):
    """Seed 002's second part divides by sqrt(dim_k) after the softmax instead of before it."""

    @staticmethod
    def misread(config: AttentionConfig) -> dict[str, Any]:
        return {"scale_at": "weights", "scale": config.score_scale} if config.scale_at == "scores" else {}


@fault(
    "scale_missing",
    values=[
        "attention/scale::default[einsum-float32]",
        "attention/scale::default[matmul-float16]",
        "attention/scale::inverse_of_head_dim[einsum-float32]",
        "attention/lengths::equal[matmul-float32]",
        "seeds/seed_004::module[matmul-float32]",
    ],
)
class ScaleMissing(Misread):
    """The scores are not divided by anything."""

    @staticmethod
    def misread(config: AttentionConfig) -> dict[str, Any]:
        return {"scale": 1.0} if config.scale_at == "scores" else {}


@fault(
    "scale_by_embedding",
    values=[
        "attention/scale::default[einsum-float32]",
        "attention/lengths::equal[einsum-float64]",
        "attention/grouped::packed[matmul-float32]",
        "attention/layouts::packed[matmul-float16]",
    ],
)
class ScaleByEmbedding(Misread):
    """Divided by sqrt(embed_size), as seed 000 writes it, where sqrt(head_dim) is asked for."""

    @staticmethod
    def misread(config: AttentionConfig) -> dict[str, Any]:
        return {"scale": (config.num_heads * config.head_dim) ** -0.5} if config.scale is None else {}


@fault(
    "scale_always_from_head_dim",
    values=[
        "attention/scale::one[einsum-float32]",
        "attention/scale::inverse_of_head_dim[matmul-float32]",
        "attention/scale::not_a_power_of_two[einsum-float64]",
        "attention/scale::zero[matmul-float16]",
        "attention/scale::negative[einsum-float32]",
        "seeds/seed_000_transformer::split_heads[einsum-float32]",
    ],
)
class ScaleAlwaysFromHeadDim(Misread):
    """An explicit scale is ignored: an operation that has no such argument, or an adapter that does not pass it on."""

    @staticmethod
    def misread(config: AttentionConfig) -> dict[str, Any]:
        return {"scale": None} if config.scale_at == "scores" else {}


@fault(
    "scale_widens",
    dtype=[
        "attention/scale::default[einsum-float32]",
        "attention/scale::default[matmul-float32]",
        "attention/scale::default[matmul-float16]",
    ],
)
class ScaleWidens(Misread):
    """The scale is np.sqrt's float64 scalar, which since NumPy 2 makes everything after it float64."""

    @staticmethod
    def misread(config: AttentionConfig) -> dict[str, Any]:
        return {"scale": 1 / np.sqrt(config.head_dim)} if config.scale is None else {}


@fault(
    "softcap_missing",
    values=[
        "attention/bias::softcap[einsum-float32]",
        "attention/bias::softcap[matmul-float16]",
        "attention/bias::softcap_wide[einsum-float32]",
        "attention/bias::bias_and_softcap[matmul-float32]",
    ],
)
class SoftcapMissing(Misread):
    """The softcap is left out, as by a model on an operation that has none."""

    @staticmethod
    def misread(config: AttentionConfig) -> dict[str, Any]:
        return {"softcap": None}


@fault(
    "softcap_after_mask",
    values=[
        "attention/bias::softcap_then_causal[einsum-float32]",
        "attention/bias::softcap_then_causal[matmul-float64]",
        "attention/bias::softcap_then_causal[matmul-float16]",
    ],
)
class SoftcapAfterMask(Misread):
    """The cap is applied once keys are masked, so a masked key's score becomes -cap and it takes part."""

    def __init__(self, primitives: Primitives, config: AttentionConfig) -> None:
        if (cap := config.softcap) is not None:
            softmax, tanh = primitives.softmax, primitives.tanh
            primitives = replace(primitives, softmax=lambda x, axis: softmax(cap * tanh(x / cap), axis))
        super().__init__(primitives, config)

    @staticmethod
    def misread(config: AttentionConfig) -> dict[str, Any]:
        return {"softcap": None}


@fault(
    "bias_before_scale",
    values=[
        "attention/bias::random[einsum-float32]",
        "attention/bias::random[matmul-float16]",
        "attention/bias::alibi[einsum-float64]",
        "attention/bias::alibi_causal[matmul-float32]",
    ],
)
class BiasBeforeScale(ByHand):
    """The bias is added to the raw products and scaled with them."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, operands: Operands) -> Tensor:
        if self.config.bias:
            operands = {**operands, "bias": operands["bias"] * self.config.score_scale}
        return super().attend(query, key, value, operands)
