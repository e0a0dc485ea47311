"""What one entry of a case file can say: the models that validate it, and the frozen `Case` made from it.

The field descriptions below are also those of the JSON Schema with which editors complete and check case files.
A case never mentions a framework except in `implementations` and `modes`, which only narrow.
"""

from __future__ import annotations

import cmath
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator
from typing_extensions import TypeAliasType

from specs.attention_fields import Mask, Projections, Relative, Rotary, Window
from specs.model import Model, Positive, Size

ErrorClass = Literal[
    "syntax",
    "size_mismatch",
    "rank_mismatch",
    "unknown_label",
    "repeated_output",
    "operand_count",
    "head_mismatch",
    "shape_mismatch",
    "dtype",
]
DTypeName = Literal[
    "float64", "float32", "float16", "bfloat16", "complex128", "complex64",
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool",
]  # fmt: skip
Recipe = Literal["normal", "uniform", "integers", "wide", "cancelling", "large", "sparse", "nonfinite"]
# With those that are designed so that a class of faults shows (`specs.designed`)
EinsumRecipe = Literal[Recipe, "exact"]
AttentionRecipe = Literal[Recipe, "ramp", "equal"]
Memory = Literal["contiguous", "transposed", "strided"]
Probe = Literal["multiply", "accumulate", "rounding", "subnormals", "repeatable"]
Mode = Literal["eager", "jit", "xla"]
# A scalar or nested lists of them
Numbers = TypeAliasType("Numbers", "int | float | bool | complex | list[Numbers]")


class CaseError(Exception):
    """What is asked for has no meaning: the project's own rejection, with the class a case can expect."""

    def __init__(self, error: ErrorClass, message: str) -> None:
        super().__init__(error, message)
        self.error = error

    def __str__(self) -> str:
        return str(self.args[1])


class Expect(Model):
    """What is right, where that is more than the reference's value."""

    value: Numbers | None = Field(
        default=None,
        description="The literal result as nested lists; compared exactly for integers, else within the bound. "
        "Complex numbers are written `1-2j`, without spaces.",
    )
    error: ErrorClass | None = Field(
        default=None, description="The computation is meaningless for this reason: every backend must refuse it."
    )

    @model_validator(mode="after")
    def _one_of(self) -> Expect:
        if (self.value is None) == (self.error is None):
            raise ValueError("give exactly one of: value, error")
        return self


class Common(Model):
    """Fields of every case, whatever it computes."""

    about: str | None = Field(default=None, max_length=300, description="What the case shows, in one sentence.")
    source: str | None = Field(default=None, max_length=200, description="Where the computation comes from.")
    dtypes: list[DTypeName] = Field(
        default=["float64", "float32", "bfloat16", "float16"],
        min_length=1,
        description="Element types; each is a check of its own.",
    )
    memory: Memory = Field(
        default="contiguous",
        description="How operands lie in memory, where a framework keeps strides. "
        "transposed: with their axes reversed. strided: every second element of the last axis.",
    )
    seed: Size | None = Field(
        default=None,
        description="What inputs are derived from, instead of the case's id: they stay the same under another name.",
    )
    gradient: bool | Annotated[list[DTypeName], Field(min_length=1)] = Field(
        default=True,
        description="Whether gradients are checked too, of floating and complex dtypes; or those of which they are.",
    )
    probe: Probe | None = Field(
        default=None,
        description="What of the arithmetic is observed and held against the declared precision. "
        "Operands are made such that the result shows it (specs/probes.py); for repeatable they are those of `data`.",
    )
    expect: Expect | None = Field(default=None, description="What is right, where it is not the reference's value.")
    weak: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        default=None, description="Why the case is worth having although its checks prove little (`specs.weakness`)."
    )
    modes: list[Mode] | None = Field(default=None, description="Narrow to these modes.")
    implementations: list[str] | None = Field(default=None, description="Narrow to these implementations.")
    requires: dict[Literal["memory_gib"], float] = Field(
        default={}, description="Resources without which the case is not run, e.g. {memory_gib: 4}."
    )

    @field_validator("dtypes")
    @classmethod
    def _unique(cls, names: list[str]) -> list[str]:
        if len(set(names)) < len(names):
            raise ValueError("a dtype is listed twice")
        return names

    @model_validator(mode="after")
    def _designed_or_given(self) -> Common:
        if self.probe and (self.expect or self.gradient):
            raise ValueError("a probe observes a result, whatever it is: give gradient: false, and no expect")
        return self

    @property
    def probe_design(self) -> Probe | None:
        """The probe for which operands are made."""
        return None if self.probe == "repeatable" else self.probe

    @property
    def expected_error(self) -> ErrorClass | None:
        return self.expect.error if self.expect else None


class EinsumConfig(Common):
    """One contraction: an equation and the operands it is applied to."""

    kind: ClassVar[Literal["einsum"]] = "einsum"
    data: EinsumRecipe = Field(
        default="normal",
        description="How inputs are generated from the case's id. normal: random numbers, and in the same "
        "check `exact`: integers of which every order of contraction makes the same sums, bit for bit.",
    )
    equation: str = Field(
        max_length=2000, description="An einsum equation, explicit (`ij,jk->ik`) or implicit (`ij,jk`)."
    )
    shapes: list[list[Size]] | None = Field(default=None, description="Shape of each operand.")
    sizes: dict[str, Size] | None = Field(default=None, description="Size of each label, instead of shapes.")
    operands: list[Numbers] | None = Field(
        default=None,
        description="Literal operands as nested lists, instead of shapes; complex ones are written `1-2j`.",
    )
    operand_dtypes: list[DTypeName] | None = Field(
        default=None,
        description="Element type of each operand, where they are not the result's; "
        "`dtypes` then names the result's, which is what the operands promote to unless asks_for_dtype.",
    )
    asks_for_dtype: bool = Field(
        default=False,
        description="The result's dtype is asked for (NumPy `dtype=`, JAX `preferred_element_type`): "
        "as if the operands were converted to it first.",
    )

    @property
    def operand_count(self) -> int:
        """Of the operands that are given, whatever the equation says."""
        given = self.operands if self.shapes is None else self.shapes
        return len(given) if given is not None else self.equation.partition("->")[0].count(",") + 1

    @property
    def asked_dtype(self) -> DTypeName | None:
        """The dtype that a backend must ask for."""
        return self.dtypes[0] if self.asks_for_dtype else None

    @model_validator(mode="after")
    def _one_result(self) -> EinsumConfig:
        if (self.operand_dtypes is not None or self.asks_for_dtype) and len(self.dtypes) != 1:
            raise ValueError("operand_dtypes and asks_for_dtype go with one result: give a single one of dtypes")
        return self

    @model_validator(mode="after")
    def _one_source_of_shapes(self) -> EinsumConfig:
        given = [n for n in ("shapes", "sizes", "operands") if getattr(self, n) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of: shapes, sizes, operands (got {' and '.join(given) or 'none'})")
        return self


class AttentionConfig(Common):
    """Softmax attention: weights = softmax(scale * query key^T + ...), output = weights value."""

    kind: ClassVar[Literal["attention"]] = "attention"
    data: AttentionRecipe = Field(
        default="normal",
        description="How inputs are generated from the case's id. normal: random numbers, and in the same check "
        "`ramp`: each query takes the first or the last key that it may see; and `equal`: all keys have one score.",
    )
    batch: Size = Field(default=1, description="Batch size.")
    q_len: Size = Field(description="Number of queries.")
    kv_len: Size = Field(
        default_factory=lambda data: data.get("q_len", 0), description="Number of keys and values (default q_len)."
    )
    num_heads: Positive = Field(default=1, description="Query heads.")
    num_kv_heads: Positive = Field(
        default_factory=lambda data: data.get("num_heads", 1),
        description="Key and value heads; each serves num_heads / num_kv_heads consecutive query heads.",
    )
    head_dim: Positive = Field(description="Features of a query and of a key.")
    value_dim: Positive = Field(
        default_factory=lambda data: data.get("head_dim", 1), description="Features of a value (default head_dim)."
    )
    layout: Literal["bshd", "bhsd", "sbhd", "bsd", "ds"] = Field(
        default="bshd",
        description="Axes of query, key, value and output: batch, sequence, heads, features; "
        "`bsd` packs the heads into the features, `ds` has tokens in columns (one head, no batch).",
    )
    scale: float | None = Field(default=None, description="Factor of the scores (default head_dim ** -0.5).")
    scale_at: Literal["scores", "weights"] = Field(
        default="scores", description="Where the factor applies: to the scores, or to the weights after the softmax."
    )
    causal: Literal["none", "top_left", "bottom_right"] = Field(
        default="none",
        description="Keys after the aligned position are masked; aligned at the first or the last query.",
    )
    window: Window | None = Field(default=None, description="Sliding window, aligned as `causal` says (else top left).")
    mask: Mask | None = Field(default=None, description="A mask operand.")
    kv_lengths: list[Size] | None = Field(
        default=None, description="For each batch item, how many of its keys take part."
    )
    bias: Literal["random", "alibi"] | None = Field(
        default=None, description="Added to the scores: a random (heads, q, k) operand, or ALiBi slopes."
    )
    bias_at: Literal["scores", "products"] = Field(
        default="scores", description="Where the bias is added: to the scaled scores, or to the products before that."
    )
    softcap: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="Scores become softcap * tanh(scores / softcap), before masking."
    )
    sink: bool = Field(
        default=False,
        description="One more logit for each query head, a `sink` operand, whose weight goes to no value.",
    )
    past: Size | None = Field(
        default=None,
        description="Of the kv_len keys and values, how many come first from a cache: projected and turned already.",
    )
    rotary: Rotary | None = Field(default=None, description="Rotary position embedding of query and new keys.")
    relative: Relative | None = Field(default=None, description="Relative positions in keys and values.")
    projections: Projections | None = Field(default=None, description="Projections of the inputs and of the output.")
    self_attention: bool = Field(
        default=False, description="Query, key and value are projections of one and the same input."
    )
    fully_masked: Literal["zeros", "mean", "nan"] = Field(
        default="zeros", description="What a query without any key yields."
    )
    unseen: Literal["nan", "inf"] | None = Field(
        default=None, description="What keys and values hold where no query may see them: what a cache is left with."
    )
    masked_values: Literal["ignored", "spread"] = Field(
        default="ignored",
        description="Whether a value that is not finite stays without influence on queries for which it is masked, "
        "or weight 0 times it is NaN.",
    )
    query: Numbers | None = Field(default=None, description="Literal query, in the case's layout.")
    key: Numbers | None = Field(default=None, description="Literal key, in the case's layout.")
    value: Numbers | None = Field(default=None, description="Literal value, in the case's layout.")

    @model_validator(mode="after")
    def _fields_that_go_together(self) -> AttentionConfig:
        if self.layout == "ds" and (self.batch, self.num_heads, self.num_kv_heads) != (1, 1, 1):
            raise ValueError("layout ds has neither batch nor heads: leave batch, num_heads and num_kv_heads at 1")
        if self.projections is None and self.self_attention:
            raise ValueError("self_attention needs projections: without them query, key and value would be equal")
        if self.projections and self.projections.kind == "linear" and self.layout not in ("bsd", "ds"):
            raise ValueError("linear projections act on packed features: use layout bsd or ds")
        if self.projections and self.projections.output and self.layout not in ("bsd", "ds"):
            raise ValueError("an output projection acts on packed features: use layout bsd or ds")
        if self.past is not None and self.past > self.kv_len:
            raise ValueError(f"past cannot exceed the {self.kv_len} keys that there are: kv_len counts them too")
        if self.self_attention and self.q_len != self.new_len:
            raise ValueError("self_attention has one sequence: q_len must be kv_len, less past")
        if (
            self.self_attention
            and self.projections
            and self.projections.kind == "per_head"
            and self.num_kv_heads != self.num_heads
        ):
            raise ValueError("per_head projections of one input need as many num_kv_heads as num_heads")
        if self.kv_lengths is not None and len(self.kv_lengths) != self.batch:
            raise ValueError(f"kv_lengths needs one length for each of the {self.batch} batch items")
        if self.scale_at == "weights" and self.scale is None:
            raise ValueError("scale_at weights needs an explicit scale")
        if self.bias_at == "products" and self.bias is None:
            raise ValueError("bias_at says where a bias is added: give bias too")
        if self.sink and self.fully_masked != "zeros":
            raise ValueError("with a sink a query without any key yields zeros: leave fully_masked at zeros")
        if self.fully_masked == "mean" and self.kv_len == 0:
            raise ValueError("without keys there is no mean: fully_masked must be zeros or nan")
        if self.unseen and self.self_attention:
            raise ValueError("what no query sees is a query too: unseen cannot go with self_attention")
        return self

    @model_validator(mode="after")
    def _rotary_turns_pairs(self) -> AttentionConfig:
        if self.rotary is None:
            return self
        if self.rotary_dims % 2:
            raise ValueError(f"rotary turns pairs of features: dims must be even, not {self.rotary_dims}")
        if self.rotary_dims > self.head_dim:
            raise ValueError(f"rotary cannot turn {self.rotary_dims} of {self.head_dim} features: lower dims")
        if self.query_offset < 0:
            raise ValueError("rotary needs positions from 0 on: bottom_right puts the first of more queries before it")
        return self

    @property
    def query_offset(self) -> int:
        """The key position at which query 0 stands: what causal masks, windows and rotary positions count from."""
        return self.kv_len - self.q_len if self.causal == "bottom_right" else 0

    @property
    def new_len(self) -> int:
        """Number of keys that do not come from a cache: length of `key`, `value` or `input`."""
        return self.kv_len - (self.past or 0)

    @property
    def rotary_dims(self) -> int:
        """How many features of a head turn."""
        if self.rotary is None:
            return 0
        return self.head_dim if self.rotary.dims is None else self.rotary.dims

    @property
    def finite_values(self) -> bool:
        """Whether every value is a finite number, so that one which is masked cannot make itself felt."""
        return self.unseen is None and self.data != "nonfinite" and (self.value is None or _finite(self.value))

    @property
    def score_scale(self) -> float:
        """Factor of the scores, before any rounding to the dtype."""
        if self.scale_at == "weights":
            return 1.0
        return 1.0 / math.sqrt(self.head_dim) if self.scale is None else self.scale


def _finite(numbers: Numbers) -> bool:
    return all(map(_finite, numbers)) if isinstance(numbers, list) else cmath.isfinite(numbers)


Config = EinsumConfig | AttentionConfig


@dataclass(frozen=True, eq=False)
class Case:
    """One named computation; a case is equal to itself alone, so that it can be a key.

    id     unique over a run, and what inputs are derived from unless it has a seed: `einsum/products::rows_by_rows`
    name   the entry's name within its file; members of a sweep are `long_sums/1024`
    file   the YAML file; line is where the entry begins (1-based)
    """

    id: str
    name: str
    file: Path
    line: int
    config: Config

    @property
    def kind(self) -> Literal["einsum", "attention"]:
        return self.config.kind

    @property
    def stream(self) -> str:
        """What its random numbers are named by."""
        return self.id if self.config.seed is None else f"seed {self.config.seed}"
