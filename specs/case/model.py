"""The base class of all models of YAML files, and the number types that their fields share."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Size = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]


class Model(BaseModel):
    """Base of all models of YAML files: immutable, strict about types, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
