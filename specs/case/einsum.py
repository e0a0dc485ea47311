"""What an entry of kind einsum can say."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from specs.case.common import Common, DTypeName, Numbers, Recipe
from specs.case.model import Size

# With those that are designed so that a class of faults shows (`specs.inputs.designed`)
EinsumRecipe = Literal[Recipe, "exact"]


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
    def requested_dtype(self) -> DTypeName | None:
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
