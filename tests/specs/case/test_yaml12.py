"""The YAML 1.2 parser: values of scalars, positions, and what is refused."""

import math

import pytest
import yaml

from specs.case import yaml12
from specs.case.yaml12 import Flaw, Position, YamlError, parse


@pytest.fixture(params=["CSafeLoader", "SafeLoader"], autouse=True)
def _either_parser(request, monkeypatch):
    """Run every test with libyaml and with the pure Python parser, which is used if libyaml is missing."""
    if not hasattr(yaml, request.param):
        pytest.skip("PyYAML was built without libyaml")
    monkeypatch.setattr(yaml12, "_LOADER", getattr(yaml, request.param))


def flaws(text: str | bytes) -> list[Flaw]:
    with pytest.raises(YamlError) as raised:
        parse(text.encode() if isinstance(text, str) else text)
    return raised.value.flaws


def flaw(text: str | bytes) -> Flaw:
    (only,) = flaws(text)
    return only


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("null", None),
        ("~", None),
        ("", None),
        ("true", True),
        ("False", False),
        ("12", 12),
        ("-12", -12),
        ("012", 12),
        ("0o17", 15),
        ("0x1F", 31),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e-5", 1e-5),
        ("-1E+3", -1000.0),
        (".inf", math.inf),
        ("-.inf", -math.inf),
        ("0x1.8p-3", 0.1875),
        ("-0x1p-1074", -5e-324),
        ("0x1p3", 8.0),
        ("1-2j", 1 - 2j),
        ("2j", 2j),
        ("-1.5e-3+.5e2j", -1.5e-3 + 50j),
        (".inf-.infj", complex(math.inf, -math.inf)),
    ],
)
def test_a_plain_scalar_has_the_value_defined_by_the_core_schema(text, value):
    data = parse(f"key: {text}".encode()).data
    assert data == {"key": value}
    assert type(data["key"]) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        "no",
        "on",
        "yes",
        "off",
        "n",
        "y",
        "2024-01-31",
        "1_000",
        "12:30:45",
        "0b11",
        "0x1.8",
        "1e",
        "+",
        ".",
        "ij,jk->ik",
        "j",
        "1 - 2j",
        "1-2i",
        "1-2j,3j",
        "-.nanj",
    ],
)
def test_what_other_versions_of_yaml_read_as_something_else_is_text(text):
    assert parse(f"key: {text}".encode()).data == {"key": text}


def test_not_a_number():
    assert math.isnan(parse(b".nan").data)


def test_the_parts_of_a_complex_number_keep_their_signs_and_nan():
    first, second = parse(b"[-0.0-0.0j, 1+.nanj]").data
    assert (math.copysign(1, first.real), math.copysign(1, first.imag)) == (-1, -1)
    assert (second.real, math.isnan(second.imag)) == (1, True)


@pytest.mark.parametrize("text", ["'12'", '"true"', '"~"', "'1e-5'"])
def test_a_quoted_scalar_is_text(text):
    assert parse(text.encode()).data == text[1:-1]


@pytest.mark.parametrize("number", ["1e999", "-0x1p9999", "1+1e999j", "9" * 5000])
def test_a_number_that_no_float_can_hold_does_not_become_infinite(number):
    assert "is too large (write .inf for infinity)" in flaw(f"a: {number}").message


def test_text_that_looks_like_a_switch_can_be_a_key():
    assert parse(b"{n: 1, y: 2, on: 3}").data == {"n": 1, "y": 2, "on": 3}


def test_every_value_and_every_key_has_its_position():
    document = parse("cases:\n  rows:\n    shapes: [[2, 3],\n             [4]]\n    é: {a: b}\n".encode())
    assert document.data == {"cases": {"rows": {"shapes": [[2, 3], [4]], "é": {"a": "b"}}}}
    assert document.positions == {
        (): (1, 1),
        ("cases",): (2, 3),
        ("cases", "rows"): (3, 5),
        ("cases", "rows", "shapes"): (3, 13),
        ("cases", "rows", "shapes", 0): (3, 14),
        ("cases", "rows", "shapes", 0, 0): (3, 15),
        ("cases", "rows", "shapes", 0, 1): (3, 18),
        ("cases", "rows", "shapes", 1): (4, 14),
        ("cases", "rows", "shapes", 1, 0): (4, 15),
        ("cases", "rows", "é"): (5, 8),
        ("cases", "rows", "é", "a"): (5, 12),
    }
    assert document.key_positions == {
        ("cases",): (1, 1),
        ("cases", "rows"): (2, 3),
        ("cases", "rows", "shapes"): (3, 5),
        ("cases", "rows", "é"): (5, 5),
        ("cases", "rows", "é", "a"): (5, 9),
    }


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n"])
def test_an_empty_file_is_an_empty_document(text):
    document = parse(text.encode())
    assert document.data is None
    assert () in document.positions


def test_a_byte_order_mark_is_not_content():
    document = parse(b"\xef\xbb\xbfa: 1")
    assert document.data == {"a": 1}
    assert document.key_positions["a",] == (1, 1)


def test_duplicate_keys_are_refused_at_the_second_one_and_the_first_value_is_kept():
    with pytest.raises(YamlError) as raised:
        parse(b"a: 1\nb: {c: 1, c: 2}\na: 3\n")
    assert raised.value.flaws == [
        Flaw(Position(2, 11), "the key 'c' is given twice (the first is on line 2)"),
        Flaw(Position(3, 1), "the key 'a' is given twice (the first is on line 1)"),
    ]
    assert raised.value.document.data == {"a": 1, "b": {"c": 1}}
    assert raised.value.document.positions["a",] == (1, 4)
    assert raised.value.document.key_positions["a",] == (1, 1)


@pytest.mark.parametrize("key", ["1", "1.5", "true", "~", "[a]", "{a: b}"])
def test_a_key_that_is_not_text_is_refused(key):
    assert flaw(f"x: 1\n? {key}\n: 1\n") == Flaw(
        Position(2, 3), "this key is not text (expected a name; quote it if it is one)"
    )


def test_anchors_and_aliases_are_refused_at_their_positions():
    message = "anchors and aliases are not used here (write the value out, or state it in `defaults`)"
    assert flaws("a: &x [1]\nb: [2, *x]\n") == [Flaw(Position(1, 4), message), Flaw(Position(2, 8), message)]


def test_a_value_that_contains_itself_is_refused():
    assert [position for position, _ in flaws("a: &x [*x]")] == [(1, 4), (1, 8)]


def test_a_bomb_of_aliases_is_not_expanded():
    levels = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    levels += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    assert len(flaws("\n".join(levels))) == 30 + 29 * 9


def test_merge_keys_are_refused():
    assert flaw("a: {<<: {b: 1}}") == Flaw(
        Position(1, 5), "merge keys are not used here (state what is shared in `defaults`)"
    )
    assert parse(b"{'<<': 1}").data == {"<<": 1}


@pytest.mark.parametrize("value", ["!!str 5", "!mine [1]", "!!python/object/apply:os.getcwd []", "!!set {a}"])
def test_tags_are_refused(value):
    position, message = flaw(f"a: {value}")
    assert position == (1, 4)
    assert message.startswith("the tag ")


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("a: 1\nb: [1, 2\n", (3, 1)),
        ("a: 1\n b: 2\n", (2, 3)),
        ("a: b\n\tc: 1\n", (2, 1)),
        ("a: 'open\n", (2, 1)),
        ("é: 1\nb: é\x07\n", (2, 5)),
        ("a: 1\x00", (1, 5)),
    ],
)
def test_broken_syntax_is_one_flaw_with_a_position(text, position):
    assert flaw(text).position == position
    assert "not valid YAML" in flaw(text).message


def test_a_file_that_is_not_utf8_is_refused_at_the_first_wrong_byte():
    assert flaw("a: 1\nb: ä".encode("latin-1")) == Flaw(
        Position(2, 4), "byte 0xe4 is not UTF-8 (expected a file saved as UTF-8)"
    )


def test_a_second_document_is_refused():
    assert flaw("a: 1\n---\nb: 2\n") == Flaw(
        Position(2, 1), "a second document begins (expected one document in a file)"
    )


@pytest.mark.parametrize("text", ["[" * 100_000, "- " * 100_000 + "a", "{a: " * 70 + "1" + "}" * 70])
def test_deep_nesting_is_refused_instead_of_crashing_the_process(text):
    assert "more than 64 levels of nesting" in flaw(text).message


def test_flaws_before_a_syntax_error_are_reported_too():
    assert [position.line for position, _ in flaws("a: 1\na: 2\nb: }\n")] == [2, 3]


def test_the_text_of_the_error_has_line_and_column():
    with pytest.raises(YamlError, match=r"^2:1: the key 'a' is given twice"):
        parse(b"a: 1\na: 2\n")
