"""The fields of a case of kind einsum."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from specs.case.common import Common, DTypeName, Numbers, Recipe
from specs.case.model import MAX_RANK, Size

MAX_OPERANDS = 12  # the bound looks at every group of them: 17 s for 12 in float16

# Including the recipes designed to expose a class of faults (`specs.inputs.designed`)
EinsumRecipe = Literal[Recipe, "exact"]


class EinsumConfig(Common):
    """One contraction: an equation and the operands it is applied to."""

    kind: ClassVar[Literal["einsum"]] = "einsum"
    data: EinsumRecipe = Field(
        default="normal",
        description="How inputs are generated from the case's id. normal: random numbers, plus, in the same check, "
        "`exact` (integers whose sums are the same, bit for bit, in every order of contraction).",
    )
    equation: str = Field(
        max_length=2000, description="An einsum equation, explicit (`ij,jk->ik`) or implicit (`ij,jk`)."
    )
    shapes: list[Annotated[list[Size], Field(max_length=MAX_RANK)]] | None = Field(
        default=None, max_length=MAX_OPERANDS, description="Shape of each operand."
    )
    sizes: dict[str, Size] | None = Field(default=None, description="Size of each label, instead of shapes.")
    operands: list[Numbers] | None = Field(
        default=None,
        description="Literal operands as nested lists, instead of shapes; complex ones are written `1-2j`.",
    )
    operand_dtypes: list[DTypeName] | None = Field(
        default=None,
        description="Element type of each operand, if different from the result's. "
        "`dtypes` then names the result's: the one that the operands promote to, unless asks_for_dtype is true.",
    )
    asks_for_dtype: bool = Field(
        default=False,
        description="Whether the result's dtype is requested (NumPy `dtype=`, JAX `preferred_element_type`), "
        "as if the operands were converted to it first.",
    )

    @property
    def operand_count(self) -> int:
        """Number of shapes or literal operands, regardless of the equation; with sizes, its number of terms."""
        operands = self.operands if self.shapes is None else self.shapes
        return len(operands) if operands is not None else self.equation.partition("->")[0].count(",") + 1

    @property
    def requested_dtype(self) -> DTypeName | None:
        """The dtype that a backend must request, or None."""
        return self.dtypes[0] if self.asks_for_dtype else None

    @model_validator(mode="after")
    def _check_one_result_dtype(self) -> EinsumConfig:
        if (self.operand_dtypes is not None or self.asks_for_dtype) and len(self.dtypes) != 1:
            raise ValueError("operand_dtypes and asks_for_dtype need a single result dtype: list exactly one in dtypes")
        return self

    @model_validator(mode="after")
    def _check_one_source_of_shapes(self) -> EinsumConfig:
        names = [name for name in ("shapes", "sizes", "operands") if getattr(self, name) is not None]
        if len(names) != 1:
            raise ValueError(f"give exactly one of: shapes, sizes, operands (got {' and '.join(names) or 'none'})")
        return self
