"""The content of a case, as every report reads it: in JSON's types, written once for all checks of the case."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pydantic import ValidationError

from specs.case.case import Case, Config
from specs.case.einsum import EinsumConfig
from specs.case.error import CaseError
from specs.case.loading import CONFIGS
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


def read_config(statement: Mapping[str, Any]) -> Config:
    """The config of a statement as JSON has it; raises ValidationError for fields that no case can have.

    Numbers that JSON cannot hold are text there (`to_plain`); what a model refuses as text is read as a number.
    """
    model, config = CONFIGS[statement["kind"]], statement["config"]
    try:
        return model.model_validate(config)
    except ValidationError as error:
        refused = {flaw["loc"][0] for flaw in error.errors(include_url=False) if flaw["loc"]}
        numbers = {name: _read_numbers(value) if name in refused else value for name, value in config.items()}
        return model.model_validate(numbers)


def _read_numbers(value: Any) -> Any:
    """The value with each text that is a number replaced by that number."""
    if isinstance(value, dict):
        return {key: _read_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_read_numbers(item) for item in value]
    for number in (int, float, complex) if isinstance(value, str) else ():
        with suppress(ValueError):
            return number(value)
    return value
