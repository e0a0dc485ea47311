"""The JSON Schema with which editors complete and check case files, generated from the models that validate them.

It covers what the models check, except what requires a merged entry: that required fields are present (`defaults` or a
`sweep` may supply them) and that fields are consistent.  `python -m specs check` checks those.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from specs.case.loading import ENTRIES, CaseFile
from specs.case.yaml12 import COMPLEX

SCHEMA_PATH = Path(__file__).parents[1] / "case.schema.json"
_COMPLEX = {"type": "string", "pattern": f"^{COMPLEX.pattern}$"}
_HEX_FLOAT = {"type": "string", "pattern": r"^[-+]?0x[0-9a-fA-F]+(\.[0-9a-fA-F]*)?p[-+]?[0-9]+$"}


class _EditorSchema(GenerateJsonSchema):
    """JSON Schema for editors: no titles, and numbers that editors read as text (hex floats, complex) are accepted."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def float_schema(self, schema: Any) -> dict[str, Any]:
        return {"anyOf": [super().float_schema(schema), _HEX_FLOAT]}

    def complex_schema(self, schema: Any) -> dict[str, Any]:
        return _COMPLEX


def build() -> dict[str, Any]:
    """The schema of a case file, as JSON data."""
    models: Any = [(model, "validation") for model in (CaseFile, *ENTRIES.values())]
    definitions: dict[str, Any] = models_json_schema(models, schema_generator=_EditorSchema)[1]["$defs"]
    for model in ENTRIES.values():
        entry = definitions[model.__name__]
        entry.pop("required", None)
        sweep = _resolve(entry["properties"]["sweep"]["anyOf"][0], definitions)
        sweep["minProperties"] = 1
        for name, values in sweep["properties"].items():
            del values["default"]
            values["items"] = _swept_value(entry["properties"][name], definitions)
    file = definitions.pop(CaseFile.__name__)
    cases = file["properties"]["cases"]
    (name_pattern,) = cases.pop("patternProperties")  # on its own it would accept other names
    cases |= {"propertyNames": {"pattern": name_pattern}, "additionalProperties": {"type": "object"}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **file,
        "allOf": [_fields_for(kind, model.__name__) for kind, model in ENTRIES.items()],
        "$defs": definitions,
    }


def render() -> str:
    """The content of the schema file; deterministic."""
    return json.dumps(build(), indent=2, ensure_ascii=False) + "\n"


def _fields_for(kind: str, entry: str) -> dict[str, Any]:
    reference = {"$ref": f"#/$defs/{entry}"}
    return {
        "if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]},
        "then": {"properties": {"defaults": reference, "cases": {"additionalProperties": reference}}},
    }


def _swept_value(field: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Schema of one value in a sweep; a mapping is merged into the entry's own, so none of its keys is required."""
    value = {key: part for key, part in field.items() if key not in ("default", "description", "examples")}
    if "anyOf" in value:
        value["anyOf"] = [_without_required(choice, definitions) for choice in value["anyOf"]]
    return value


def _without_required(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    target = _resolve(schema, definitions)
    return {key: part for key, part in target.items() if key != "required"} if "required" in target else schema


def _resolve(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """The definition that a schema refers to, or the schema itself if it is not a reference."""
    target: dict[str, Any] = definitions.get(schema.get("$ref", "").rpartition("/")[2], schema)
    return target
