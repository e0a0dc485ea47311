"""The base class of all models of YAML files, and the number types that their fields share."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

# More than any machine could hold, and few enough that a product of some of them stays a small number in memory
LARGEST_SIZE = 2**40
MAX_RANK = 32  # axes of an array in NumPy before 2.0
Size = Annotated[int, Field(ge=0, le=LARGEST_SIZE)]
Positive = Annotated[int, Field(ge=1, le=LARGEST_SIZE)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Model(BaseModel):
    """Base of all models of YAML files: immutable, strict about types, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
