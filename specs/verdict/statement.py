"""The content of a case, as every report reads it: in JSON's types, written once for all checks of the case."""

from __future__ import annotations

from typing import Any

from specs.case.case import Case
from specs.case.einsum import EinsumConfig
from specs.case.error import CaseError
from specs.case.shapes import attention_shapes, einsum_shapes
from specs.verdict.record import SCHEMA_VERSION, to_plain


def make_statement(case: Case) -> dict[str, Any]:
    """The fields of a case with its file's defaults, and what follows from them.

    config  the fields that are stated, including the defaults of the file but not those of the model
    data    the recipe of its inputs
    shapes  of the operands, in order; None where the case is invalid because of them
    """
    config = case.config
    try:
        shapes = einsum_shapes(config) if isinstance(config, EinsumConfig) else attention_shapes(config)
    except CaseError:
        shapes = None
    fields = {
        "case": case.id,
        "kind": case.kind,
        "config": config.model_dump(exclude_unset=True),
        "data": config.data,
        "shapes": shapes,
    }
    return {"schema": SCHEMA_VERSION, **to_plain(fields)}
