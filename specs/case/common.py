"""What every entry of a case file can say, whatever it computes.

The field descriptions here and in `einsum`, `attention` and `attention_fields` are also those of the JSON Schema with
which editors complete and check case files.  A case never mentions a framework except in `implementations` and `modes`,
which only narrow.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator
from typing_extensions import TypeAliasType

from specs.case.error import ErrorClass
from specs.case.model import Model, Size

DTypeName = Literal[
    "float64", "float32", "float16", "bfloat16", "complex128", "complex64",
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool",
]  # fmt: skip
Recipe = Literal["normal", "uniform", "integers", "wide", "cancelling", "large", "sparse", "nonfinite"]
# What each makes, in a few words; of those that are designed too (`specs.inputs.designed`)
RECIPES = {
    "normal": "standard normal numbers",
    "uniform": "numbers between 0 and 1",
    "integers": "small integers, so that every sum is exact",
    "wide": "normal numbers over twelve binary orders of magnitude",
    "cancelling": "terms that nearly cancel",
    "large": "normal numbers times 32, of which attention's scores become large",
    "sparse": "normal numbers, nine in ten of them 0",
    "nonfinite": "normal numbers, infinities and NaN",
    "exact": "integers of which every order of contraction makes the same sums, bit for bit",
    "ramp": "scores by which each query takes the first or the last key that it may see",
    "equal": "scores that are all the same, of values that are 1 or -1",
}
Memory = Literal["contiguous", "transposed", "strided"]
Probe = Literal["multiply", "accumulate", "rounding", "subnormals", "repeatable"]
Mode = Literal["eager", "jit", "xla"]
# A scalar or nested lists of them
Numbers = TypeAliasType("Numbers", "int | float | bool | complex | list[Numbers]")


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
        "Operands are made such that the result shows it (specs/inputs/probes.py); "
        "for repeatable they are those of `data`.",
    )
    expect: Expect | None = Field(default=None, description="What is right, where it is not the reference's value.")
    weak: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        default=None,
        description="Why the case is worth having although its checks prove little (`specs.verdict.weakness`).",
    )
    modes: list[Mode] | None = Field(default=None, description="Narrow to these modes.")
    implementations: list[str] | None = Field(default=None, description="Narrow to these implementations.")

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
