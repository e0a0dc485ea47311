"""The parts of an attention case that have fields of their own: window, mask, projections, positions."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from specs.case.model import Model, Positive, Size


class Window(Model):
    """Sliding window: which keys around its own aligned position a query sees; null is unlimited."""

    left: Size | None = Field(default=None, description="Keys visible before the aligned position.")
    right: Size | None = Field(default=None, description="Keys visible after the aligned position.")


class Mask(Model):
    """A mask operand that the computation receives."""

    type: Literal["bool", "additive"] = Field(
        description="bool: true lets a key take part. additive: added to the scores."
    )
    shape: str = Field(
        default="qk",
        pattern=r"^(((b|1)?(h|1))?(q|1))?(k|1)$",
        description="The axes it varies along, the last of (batch, heads, q, k): `qk`, `b11k`, `1hqk`; 1 broadcasts.",
    )
    pattern: Literal["random", "padding", "masked_row"] = Field(
        default="random",
        description="random: about 3 in 10 masked, key 0 never. padding: the last fifth of the keys. "
        "masked_row: random, and the first query row entirely.",
    )
    fill: float | Literal["lowest"] | None = Field(
        default=None,
        description="Additive only: the value at masked positions (`-.inf`, `lowest` finite, a number); "
        "without it every position holds a random number.",
    )

    @model_validator(mode="after")
    def _fill_is_additive(self) -> Mask:
        if self.fill is not None and self.type == "bool":
            raise ValueError("fill belongs to an additive mask")
        return self

    @model_validator(mode="after")
    def _rows_are_of_queries(self) -> Mask:
        if self.pattern == "masked_row" and not self.shape[:-1].endswith("q"):
            raise ValueError(
                f"pattern masked_row needs a mask that varies along the queries: shape {self.shape} does not"
            )
        return self


class Projections(Model):
    """Weights applied to the inputs before attention, and to its output after."""

    kind: Literal["linear", "per_head"] = Field(
        description="linear: one matrix over the packed features. per_head: a matrix for each head."
    )
    shared: bool = Field(default=False, description="per_head only: all heads use one matrix.")
    bias: bool = Field(default=False, description="Whether a bias follows each projection.")
    output: bool = Field(default=False, description="Whether a linear projection (with bias) follows the merged heads.")
    input_dim: Positive | None = Field(
        default=None,
        description="Features of the input: packed for linear (default num_heads * head_dim), of a head for per_head.",
    )

    @model_validator(mode="after")
    def _shared_is_per_head(self) -> Projections:
        if self.shared and self.kind == "linear":
            raise ValueError("shared belongs to per_head projections")
        return self


class Relative(Model):
    """Learned relative positions, one vector for each (query, key) pair, shared by batch items (Shaw et al. 2018)."""

    keys: bool = Field(default=True, description="Added to the keys: q_i . (k_j + a_ij).")
    values: bool = Field(default=True, description="Added to the values: sum_j w_ij (v_j + a_ij).")


class Rotary(Model):
    """Rotary position embedding of query and key heads (Su et al. 2021), by tables of cosines and sines."""

    pairing: Literal["half", "interleaved"] = Field(
        default="half",
        description="Which features turn together. half: i and i + dims/2. interleaved: 2i and 2i + 1.",
    )
    dims: Annotated[int, Field(ge=2)] | None = Field(
        default=None, description="How many features turn, from the first; even (default head_dim)."
    )
    base: Annotated[float, Field(gt=0)] = Field(
        default=10000.0, description="Pair i turns by position * base ** (-2i / dims)."
    )
