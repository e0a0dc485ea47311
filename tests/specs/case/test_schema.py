"""The JSON Schema describes every field, and accepts and refuses what loading does."""

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from specs.case import schema, yaml12
from specs.case.attention import AttentionConfig
from specs.case.einsum import EinsumConfig


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(schema.build())


def properties(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every property that the schema describes anywhere, by its path."""
    if isinstance(node, list):
        for index, item in enumerate(node):
            yield from properties(item, f"{path}/{index}")
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "properties" and "/if/" not in f"{path}/" and "/then/" not in f"{path}/":
                yield from ((f"{path}/{name}", schema) for name, schema in value.items())
            yield from properties(value, f"{path}/{key}")


def test_the_file_is_up_to_date():
    current = schema.SCHEMA_PATH.read_text(encoding="utf-8")
    assert current == schema.render(), "run `python -m specs schema`"


def test_it_is_a_valid_schema_without_dangling_references():
    root = schema.build()
    jsonschema.Draft202012Validator.check_schema(root)
    references = {part.split('"')[0] for part in json.dumps(root).split('"$ref": "#/$defs/')[1:]}
    assert references <= set(root["$defs"])


def test_every_property_is_described():
    schemas = dict(properties(schema.build()))
    assert len(schemas) > 100
    assert [path for path, value in schemas.items() if not value.get("description")] == []


def test_every_mapping_of_fields_refuses_unknown_keys():
    root = schema.build()
    models = {name: model for name, model in root["$defs"].items() if "properties" in model} | {"the file": root}
    assert {"EinsumEntry", "AttentionSweep", "Mask"} <= set(models)
    assert [name for name, model in models.items() if model.get("additionalProperties") is not False] == []


@pytest.mark.parametrize(("entry", "config"), [("EinsumEntry", EinsumConfig), ("AttentionEntry", AttentionConfig)])
def test_an_entry_has_the_fields_of_its_model_and_a_sweep_over_them(entry, config):
    definitions = schema.build()["$defs"]
    assert set(definitions[entry]["properties"]) == {*config.model_fields, "sweep"}
    assert set(definitions[entry.replace("Entry", "Sweep")]["properties"]) == set(config.model_fields)
    assert "required" not in definitions[entry]


GOOD = {
    "an einsum": """
        kind: einsum
        about: Products.
        defaults: {dtypes: [float64, bfloat16]}
        cases:
          rows: {equation: "ij,kj->ik", shapes: [[2, 3], [4, 3]]}
          integers: {equation: "i->", operands: [[1, 2]], expect: {value: 3}}
          sums: {equation: "i->", sweep: {sizes: [{i: 1}, {i: 1024}], dtypes: [[int8], [bool]]}}
        """,
    "an attention": """
        kind: attention
        defaults: {q_len: 9, head_dim: 16, sweep: null}
        cases:
          all_from_defaults: {}
          masked: {mask: {type: additive, fill: -.inf, shape: 1hqk}, window: {left: null, right: 0}}
          swept: {mask: {type: bool}, sweep: {mask: [{shape: qk}, null], window: [{left: 1}, null]}}
        """,
    "what defaults supply": 'kind: einsum\ndefaults: {equation: "i->"}\ncases: {one: {sizes: {i: 1}}}',
}
BAD = {
    "no kind": "cases: {a: {}}",
    "no cases": "kind: einsum",
    "no case": "kind: einsum\ncases: {}",
    "unknown kind": "kind: einsun\ncases: {a: {}}",
    "unknown key of the file": "kind: einsum\ncase: {}\ncases: {a: {}}",
    "unknown key": "kind: einsum\ncases: {a: {equaton: i}}",
    "unknown key of the defaults": "kind: einsum\ndefaults: {equaton: i}\ncases: {a: {}}",
    "a key of the other kind": "kind: einsum\ncases: {a: {q_len: 3}}",
    "unknown nested key": "kind: attention\ncases: {a: {window: {lfet: 1}}}",
    "a nested key is missing": "kind: attention\ncases: {a: {mask: {shape: qk}}}",
    "no snake case": "kind: einsum\ncases: {BadName: {}}",
    "wrong type": "kind: attention\ncases: {a: {q_len: two}}",
    "wrong word": "kind: attention\ncases: {a: {causal: left}}",
    "out of range": "kind: einsum\ncases: {a: {shapes: [[-1]]}}",
    "text in a literal": "kind: einsum\ncases: {a: {operands: [[1, [2, x]]]}}",
    "nothing swept": "kind: einsum\ncases: {a: {sweep: {}}}",
    "no value swept": "kind: einsum\ncases: {a: {sweep: {sizes: []}}}",
    "unknown key swept": "kind: einsum\ncases: {a: {sweep: {size: [{i: 1}]}}}",
    "wrong type swept": "kind: einsum\ncases: {a: {sweep: {sizes: [{i: x}]}}}",
    "unknown nested key swept": "kind: attention\ncases: {a: {sweep: {mask: [{shap: qk}]}}}",
    "an empty entry": "kind: einsum\ncases: {a: }",
}


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD)
def test_good_files_are_accepted(validator, text):
    assert [error.message for error in validator.iter_errors(yaml12.parse(text.encode()).data)] == []


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_bad_files_are_refused(validator, text):
    assert not validator.is_valid(yaml12.parse(text.encode()).data)


@pytest.mark.parametrize(
    ("number", "valid"), [("1-2j", True), (".nan+1e5j", True), ("-2j", True), ("1 - 2j", False), ("j", False)]
)
def test_complex_numbers_are_numbers_though_editors_read_them_as_text(validator, number, valid):
    fields = {"equation": "i->i", "operands": [[1, number]], "expect": {"value": [1, number]}}
    assert validator.is_valid({"kind": "einsum", "cases": {"a": fields}}) is valid


@pytest.mark.parametrize(("bits", "valid"), [("0x1.8p-3", True), ("-0x1p4", True), ("0x1.8", False), ("big", False)])
def test_hex_floats_are_numbers_though_editors_read_them_as_text(validator, bits, valid):
    einsum = {"kind": "einsum", "cases": {"a": {"equation": "i->", "operands": [[1, bits]]}}}
    attention = {"kind": "attention", "cases": {"a": {"scale": bits}}}
    assert validator.is_valid(einsum) is valid
    assert validator.is_valid(attention) is valid
