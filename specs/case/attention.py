"""The fields of a case of kind attention."""

from __future__ import annotations

import cmath
import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from specs.case.attention_fields import Mask, Projections, Relative, Rotary, Window
from specs.case.common import Common, Numbers, Recipe
from specs.case.model import Finite, Positive, Size

AttentionRecipe = Literal[Recipe, "ramp", "equal", "pairs"]


class AttentionConfig(Common):
    """Softmax attention: weights = softmax(scale * query key^T + ...), output = weights value."""

    kind: ClassVar[Literal["attention"]] = "attention"
    data: AttentionRecipe = Field(
        default="normal",
        description="How inputs are generated from the case's id. normal: random numbers, plus, in the same check, "
        "`ramp` (each query selects the first or the last key visible to it) and `equal` (all keys have equal scores).",
    )
    batch: Size = Field(default=1, description="Batch size.")
    q_len: Size = Field(description="Number of queries.")
    kv_len: Size = Field(
        default_factory=lambda data: data.get("q_len", 0), description="Number of keys and values (default q_len)."
    )
    num_heads: Positive = Field(default=1, description="Query heads.")
    num_kv_heads: Positive = Field(
        default_factory=lambda data: data.get("num_heads", 1),
        description="Key and value heads; each is shared by num_heads / num_kv_heads consecutive query heads.",
    )
    head_dim: Positive = Field(description="Features of a query and of a key.")
    value_dim: Positive = Field(
        default_factory=lambda data: data.get("head_dim", 1), description="Features of a value (default head_dim)."
    )
    layout: Literal["bshd", "bhsd", "sbhd", "bsd", "ds"] = Field(
        default="bshd",
        description="Axes of query, key, value and output: batch, sequence, heads, features; "
        "`bsd` packs the heads into the features, `ds` stores tokens as columns (one head, no batch).",
    )
    scale: Finite | None = Field(
        default=None,
        description="Scale factor of the scores (default head_dim ** -0.5).",
        examples=[1.0, 0.5, 0.3, 2.0, 0.0, -1.0],
    )
    scale_at: Literal["scores", "weights"] = Field(
        default="scores", description="Where the scale is applied: to the scores, or to the weights after the softmax."
    )
    causal: Literal["none", "top_left", "bottom_right"] = Field(
        default="none",
        description="Causal mask: keys after a query's aligned position are masked. top_left aligns the first query "
        "with the first key, bottom_right the last query with the last key.",
    )
    window: Window | None = Field(default=None, description="Sliding window, aligned like `causal` (default top_left).")
    mask: Mask | None = Field(default=None, description="A mask operand.")
    kv_lengths: list[Size] | None = Field(default=None, description="Number of valid keys of each batch item.")
    bias: Literal["random", "alibi"] | None = Field(
        default=None, description="Bias of the scores: a random (heads, q, k) operand, or ALiBi slopes."
    )
    bias_at: Literal["scores", "products"] = Field(
        default="scores",
        description="Where the bias is added: to the scaled scores, or to the products before scaling.",
    )
    softcap: Annotated[Finite, Field(gt=0)] | None = Field(
        default=None,
        description="Replaces the scores by softcap * tanh(scores / softcap), before masking.",
        examples=[1.0, 5.0, 0.7, 50.0],
    )
    sink: bool = Field(
        default=False,
        description="Adds a sink logit for each query head (operand `sink`), whose weight applies to no value.",
    )
    past: Size | None = Field(
        default=None,
        description="How many of the kv_len keys and values, the first ones, come from a KV cache: they are already "
        "projected and rotated.",
    )
    rotary: Rotary | None = Field(default=None, description="Rotary position embedding of queries and new keys.")
    relative: Relative | None = Field(default=None, description="Relative position embeddings of keys and values.")
    projections: Projections | None = Field(default=None, description="Projections of the inputs and of the output.")
    self_attention: bool = Field(default=False, description="Query, key and value are projections of the same input.")
    fully_masked: Literal["zeros", "mean", "nan"] = Field(
        default="zeros", description="The expected output of a query that sees no key."
    )
    unseen: Literal["nan", "inf"] | None = Field(
        default=None,
        description="The content of keys and values that no query sees, like leftover memory in a KV cache.",
    )
    masked_values: Literal["ignored", "spread"] = Field(
        default="ignored",
        description="Effect of a masked non-finite value on the output: ignored, or spread as NaN (0 * inf).",
    )
    query: Numbers | None = Field(default=None, description="Literal query, in the case's layout.")
    key: Numbers | None = Field(default=None, description="Literal key, in the case's layout.")
    value: Numbers | None = Field(default=None, description="Literal value, in the case's layout.")

    @model_validator(mode="after")
    def _check_combinations(self) -> AttentionConfig:
        if message := next((message for message, applies in _contradictions(self).items() if applies), None):
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _check_rotary(self) -> AttentionConfig:
        if self.rotary is None:
            return self
        if self.rotary_dims % 2:
            raise ValueError(f"rotary rotates pairs of features: dims must be even, not {self.rotary_dims}")
        if self.rotary_dims > self.head_dim:
            raise ValueError(f"rotary cannot rotate {self.rotary_dims} of {self.head_dim} features: lower dims")
        if self.query_offset < 0:
            raise ValueError(
                "rotary needs positions >= 0: bottom_right with q_len > kv_len makes the first ones negative"
            )
        return self

    @property
    def query_offset(self) -> int:
        """The key position aligned with query 0; causal masks, windows and rotary positions start from it."""
        return self.kv_len - self.q_len if self.causal == "bottom_right" else 0

    @property
    def scaled_terms(self) -> frozenset[str]:
        """Operands that are added to the products before these are scaled."""
        return frozenset({"bias"}) if self.bias_at == "products" else frozenset()

    @property
    def new_len(self) -> int:
        """Number of keys that do not come from a cache: the length of `key`, `value` or `input`."""
        return self.kv_len - (self.past or 0)

    @property
    def rotary_dims(self) -> int:
        """Number of rotated features of a head; 0 without rotary."""
        if self.rotary is None:
            return 0
        return self.head_dim if self.rotary.dims is None else self.rotary.dims

    @property
    def has_finite_values(self) -> bool:
        """Whether every value is finite, so that a masked one cannot affect the result."""
        return self.unseen is None and self.data != "nonfinite" and (self.value is None or _finite(self.value))

    @property
    def score_scale(self) -> float:
        """The scale of the scores, before any rounding to the dtype; 1 if the weights are scaled instead."""
        if self.scale_at == "weights":
            return 1.0
        return 1.0 / math.sqrt(self.head_dim) if self.scale is None else self.scale


def _contradictions(c: AttentionConfig) -> dict[str, bool]:
    """Message about a combination of fields → whether it applies; the first that does is reported."""
    p, packed = c.projections, c.layout in ("bsd", "ds")
    return {
        "layout ds has neither batch nor heads: leave batch, num_heads and num_kv_heads at 1": (
            c.layout == "ds" and (c.batch, c.num_heads, c.num_kv_heads) != (1, 1, 1)
        ),
        "self_attention needs projections: without them query, key and value would be equal": (
            c.self_attention and p is None
        ),
        "linear projections act on packed features: use layout bsd or ds": (
            p is not None and p.kind == "linear" and not packed
        ),
        "an output projection acts on packed features: use layout bsd or ds": p is not None and p.output and not packed,
        f"past cannot exceed the {c.kv_len} keys: kv_len includes the cached ones": (c.past or 0) > c.kv_len,
        "self_attention has one sequence: q_len must be kv_len - past": c.self_attention and c.q_len != c.new_len,
        "per_head projections of one input need as many num_kv_heads as num_heads": (
            c.self_attention and p is not None and p.kind == "per_head" and c.num_kv_heads != c.num_heads
        ),
        f"kv_lengths needs one length for each of the {c.batch} batch items": (
            c.kv_lengths is not None and len(c.kv_lengths) != c.batch
        ),
        "scale_at weights needs an explicit scale": c.scale_at == "weights" and c.scale is None,
        "bias_at needs a bias": c.bias_at == "products" and c.bias is None,
        "with a sink, a query that sees no key yields zeros: leave fully_masked at zeros": (
            c.sink and c.fully_masked != "zeros"
        ),
        "without keys there is no mean: fully_masked must be zeros or nan": c.fully_masked == "mean" and c.kv_len == 0,
        "unseen cannot be combined with self_attention: a key that no query sees is a query too": (
            c.unseen is not None and c.self_attention
        ),
    }


def _finite(numbers: Numbers) -> bool:
    return all(map(_finite, numbers)) if isinstance(numbers, list) else cmath.isfinite(numbers)
