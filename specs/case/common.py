"""The fields shared by all kinds of cases.

The field descriptions here and in `einsum`, `attention` and `attention_fields` also go into the JSON Schema with which
editors complete and check case files.  A case never mentions a framework except in `implementations` and `modes`, which
only narrow what is run.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticKnownError
from typing_extensions import TypeAliasType

from specs.case.error import ErrorClass
from specs.case.model import Model
from specs.case.problems import join_or

DTypeName = Literal[
    "float64", "float32", "float16", "bfloat16", "complex128", "complex64",
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool",
]  # fmt: skip
Recipe = Literal["normal", "uniform", "integers", "wide", "cancelling", "large", "sparse", "nonfinite"]
# A short description of each recipe, including the designed ones (`specs.inputs.designed`)
RECIPES = {
    "normal": "standard normal numbers",
    "uniform": "numbers between 0 and 1",
    "integers": "small integers, so that every sum is exact",
    "wide": "normal numbers over twelve binary orders of magnitude",
    "cancelling": "terms that nearly cancel",
    "large": "normal numbers times 32, which make attention scores large",
    "sparse": "normal numbers, nine in ten of them replaced by 0",
    "nonfinite": "normal numbers, infinities and NaN",
    "exact": "integers whose sums are the same, bit for bit, in every order of contraction",
    "ramp": "scores that make each query select the first or the last key visible to it",
    "equal": "equal scores, with values that are 1 or -1",
    "pairs": "small integers, and scores that make each query select a pair of keys",
}
RESULT = "result"  # the label of the output that every computation has
Memory = Literal["contiguous", "transposed", "strided", "reversed", "broadcast", "unaligned", "shared"]
COTANGENT = "cotangent"  # its name among the operands of a gradient
Probe = Literal["multiply", "accumulate", "rounding", "subnormals", "repeatable"]


def _check_declared(name: str, info: ValidationInfo) -> str:
    """The name, if a backend declares it or backends are unknown; the context of a validation has names by field."""
    declared = (info.context or {}).get(info.field_name)
    if declared is not None and name not in declared:
        raise PydanticKnownError("literal_error", {"expected": join_or([*map(repr, declared)])})
    return name


# A name that backends declare, such as that of a mode
Declared = Annotated[str, AfterValidator(_check_declared)]
Names = Annotated[list[Declared], Field(min_length=1)]
# A scalar or nested lists of them
Numbers = TypeAliasType("Numbers", "int | float | bool | complex | list[Numbers]")


class Expect(Model):
    """The expected outcome, if it is not simply the reference's value."""

    value: Numbers | None = Field(
        default=None,
        description="The literal result as nested lists; compared exactly for integers, otherwise within the bound. "
        "Complex numbers are written `1-2j`, without spaces.",
    )
    error: ErrorClass | None = Field(
        default=None, description="The computation is invalid, with this class of error: every backend must refuse it."
    )

    @model_validator(mode="after")
    def _check_exactly_one(self) -> Expect:
        if (self.value is None) == (self.error is None):
            raise ValueError("give exactly one of: value, error")
        return self


class Common(Model):
    """Fields of every case of any kind.

    output_fields  those whose values are the labels of outputs that a case asks for besides the result
    """

    output_fields: ClassVar[tuple[str, ...]] = ()
    about: str | None = Field(default=None, max_length=300, description="What the case tests, in one sentence.")
    source: str | None = Field(default=None, max_length=200, description="Where the computation comes from.")
    dtypes: list[DTypeName] = Field(
        default=["float64", "float32", "bfloat16", "float16"],
        min_length=1,
        description="Element types; each makes a separate check.",
    )
    memory: Memory | Annotated[dict[str, Memory], Field(min_length=1)] = Field(
        default="contiguous",
        description="Memory layout of the operands and the cotangent, for frameworks with strides; or of some of them, "
        "by name (`query`, `operand_0`, `cotangent`). transposed: axes in reverse order. strided: every second element "
        "along the last axis. reversed: negative strides. broadcast: the items along the first axis longer than one "
        "are one item, with stride 0. unaligned: one element beyond an aligned address. shared: one tensor is given "
        "for this operand and the first one of its shape and dtype.",
        examples=["transposed", "strided", "reversed", "broadcast", "unaligned"],
    )
    seed: Annotated[int, Field(ge=0)] | None = Field(
        default=None,
        description="Derive the inputs from this number instead of the case's id, so that renaming keeps them.",
    )
    gradient: bool | Annotated[list[DTypeName], Field(min_length=1)] = Field(
        default=True,
        description="Whether gradients of floating and complex dtypes are also checked; or a list of the dtypes whose "
        "gradients are.",
    )
    probe: Probe | None = Field(
        default=None,
        description="A property of the arithmetic to observe and compare with the declared precision. "
        "Operands are designed so that the result reveals it (specs/inputs/probes.py); "
        "for repeatable they follow `data`.",
    )
    expect: Expect | None = Field(default=None, description="The expected outcome, if it is not the reference's value.")
    weak: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        default=None,
        description="Why the case is useful although its checks prove little (`specs.verdict.weakness`).",
    )
    modes: Names | None = Field(default=None, description="Run only in these modes.")
    implementations: Names | None = Field(default=None, description="Run only with these implementations.")

    @field_validator("dtypes")
    @classmethod
    def _check_unique(cls, names: list[str]) -> list[str]:
        if len(set(names)) < len(names):
            raise ValueError("a dtype is listed twice")
        return names

    @model_validator(mode="after")
    def _check_probe(self) -> Common:
        if self.probe and (self.expect or self.gradient):
            raise ValueError("a probe only observes the result: it needs gradient: false and no expect")
        return self

    @model_validator(mode="after")
    def _check_shared(self) -> Common:
        if "shared" in self.memory_kinds and self.gradient:
            raise ValueError("memory shared needs gradient: false, because one tensor has one gradient")
        return self

    @property
    def memory_kinds(self) -> frozenset[Memory]:
        """The memory layouts that the case asks for."""
        return frozenset(self.memory.values() if isinstance(self.memory, dict) else {self.memory})

    def memory_of(self, name: str) -> Memory:
        """The memory layout of an operand, or of the cotangent, which is never shared."""
        memory = self.memory.get(name, "contiguous") if isinstance(self.memory, dict) else self.memory
        return "contiguous" if name == COTANGENT and memory == "shared" else memory

    @property
    def probe_design(self) -> Probe | None:
        """The probe for which operands are designed; None if they follow `data`."""
        return None if self.probe == "repeatable" else self.probe

    @property
    def output_labels(self) -> tuple[str, ...]:
        """Names of all outputs of the computation."""
        return (RESULT, *(label for field in self.output_fields for label in getattr(self, field)))

    @property
    def expected_error(self) -> ErrorClass | None:
        return self.expect.error if self.expect else None
