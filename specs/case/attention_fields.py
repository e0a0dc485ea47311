"""Nested fields of an attention case: window, mask, projections, positions."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from specs.case.model import Finite, Model, Positive, Size


class Window(Model):
    """Sliding window: how many keys on each side of its aligned position a query sees; null is unlimited."""

    left: Size | None = Field(default=None, description="Number of keys visible before the aligned position.")
    right: Size | None = Field(default=None, description="Number of keys visible after the aligned position.")


class Mask(Model):
    """A mask, passed as an operand."""

    type: Literal["bool", "additive"] = Field(
        description="bool: true makes a key visible. additive: added to the scores."
    )
    shape: str = Field(
        default="qk",
        pattern=r"^(((b|1)?(h|1))?(q|1))?(k|1)$",
        description="The mask's axes, trailing ones of (batch, heads, q, k): `qk`, `b11k`, `1hqk`; 1 broadcasts.",
        examples=["qk", "k", "1k", "q1", "1qk", "hqk", "b1qk", "bhqk", "b11k", "11qk", "1hqk"],
    )
    pattern: Literal["random", "padding", "masked_row"] = Field(
        default="random",
        description="Which positions are masked. random: about 3 in 10, but never key 0. padding: the last fifth of "
        "the keys. masked_row: like random, plus the entire first query row.",
    )
    fill: float | Literal["lowest"] | None = Field(
        default=None,
        description="Additive only: the value at masked positions (`-.inf`, `lowest` (the lowest finite number), or a "
        "number); without it every position has a random number.",
    )

    @model_validator(mode="after")
    def _check_fill(self) -> Mask:
        if self.fill is not None and self.type == "bool":
            raise ValueError("fill needs an additive mask")
        return self

    @model_validator(mode="after")
    def _check_pattern(self) -> Mask:
        if self.pattern == "masked_row" and not self.shape[:-1].endswith("q"):
            raise ValueError(
                f"pattern masked_row needs a mask that varies along the queries: shape {self.shape} does not"
            )
        return self


class Projections(Model):
    """Projections of the inputs before attention, and of its output after."""

    kind: Literal["linear", "per_head"] = Field(
        description="linear: one matrix for the packed features. per_head: one matrix for each head."
    )
    shared: bool = Field(default=False, description="per_head only: all heads use one matrix.")
    bias: bool = Field(default=False, description="Whether each projection adds a bias.")
    output: bool = Field(
        default=False, description="Whether a linear projection (with bias) is applied to the merged heads."
    )
    input_dim: Positive | None = Field(
        default=None,
        description="Features of the input: packed for linear (default num_heads * head_dim), per head for per_head.",
        examples=[1, 2, 3, 8],
    )

    @model_validator(mode="after")
    def _check_shared(self) -> Projections:
        if self.shared and self.kind == "linear":
            raise ValueError("shared needs per_head projections")
        return self


class Relative(Model):
    """Learned relative positions: one vector per (query, key) pair, shared by batch items (Shaw et al. 2018)."""

    keys: bool = Field(default=True, description="Added to the keys: q_i . (k_j + a_ij).")
    values: bool = Field(default=True, description="Added to the values: sum_j w_ij (v_j + a_ij).")


class Rotary(Model):
    """Rotary position embedding of query and key heads (Su et al. 2021), from tables of cosines and sines."""

    pairing: Literal["half", "interleaved"] = Field(
        default="half",
        description="Which features are rotated as a pair. half: i and i + dims/2. interleaved: 2i and 2i + 1.",
    )
    dims: Annotated[int, Field(ge=2)] | None = Field(
        default=None,
        description="Number of rotated features, counted from the first; even (default head_dim).",
        examples=[2, 4, 8],
    )
    base: Annotated[Finite, Field(gt=0)] = Field(
        default=10000.0,
        description="Pair i is rotated by the angle position * base ** (-2i / dims).",
        examples=[10.0, 10000.0],
    )
