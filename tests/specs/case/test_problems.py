"""All problems of a case file are reported at once: where, what, and what was expected instead."""

import os
import pickle
from functools import partial

import pytest

from specs.case.loading import discover, load
from specs.case.problems import CaseFileError, Problem
from specs.verdict import deviation
from tests.support.case_texts import attention_file, einsum_file


def test_all_problems_of_a_file_are_reported_at_once_with_their_positions(problems_of):
    assert problems_of("""
        kind: einsum
        abuot: Many mistakes.
        defaults: {dtypes: [float64, float23], gradent: true}
        cases:
          first:
            equaton: ij,jk->ik
            shapes: [[2, x], [3.0, -1], 4]
          Second: {equation: 3, operands: [[1, [2, x]], y]}
          third: {equation: "i->", sizes: {i: 1}, sizes: {i: 2}}
          fourth:
          fifth: {equation: "i->", dtypes: [int8]}
        """) == [
        "2:1: unknown key 'abuot' (did you mean 'about'?)",
        "3:30: dtypes[1] is the text 'float23' (expected 'float64', 'float32', 'float16', 'bfloat16', 'complex128', "
        "'complex64', 'int8', 'int16', 'int32', 'int64', 'uint8', 'uint16', 'uint32', 'uint64' or 'bool'; "
        "did you mean 'float32'?)",
        "3:40: unknown key 'gradent' (did you mean 'gradient'?)",
        "5:3: missing field 'equation' (expected: An einsum equation, explicit (`ij,jk->ik`) or implicit (`ij,jk`))",
        "6:5: unknown key 'equaton' (did you mean 'equation'?)",
        "7:18: shapes[0][1] is the text 'x' (expected a whole number)",
        "7:23: shapes[1][0] is 3.0 (expected a whole number)",
        "7:28: shapes[1][1] is -1 (expected at least 0)",
        "7:33: shapes[2] is 4 (expected a list)",
        "8:3: 'Second' is not a name (expected snake_case, such as 'two_by_three')",
        "8:22: equation is 3 (expected text)",
        "8:44: operands[0][1][1] is the text 'x' (expected a number, true or false, a complex number, or a list)",
        "8:49: operands[1] is the text 'y' (expected a number, true or false, a complex number, or a list)",
        "9:43: the key 'sizes' is given twice (the first is on line 9)",
        "10:10: cases.fourth is empty (expected a mapping)",
    ]


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("{head_dim: 4, q_len: two}", "3:29: q_len is the text 'two' (expected a whole number)"),
        ("{head_dim: 4, q_len: 2.5}", "3:29: q_len is 2.5 (expected a whole number)"),
        ("{head_dim: 4, q_len: true}", "3:29: q_len is true (expected a whole number)"),
        ("{head_dim: 4, q_len: }", "3:29: q_len is empty (expected a whole number)"),
        ("{head_dim: 0, q_len: 1}", "3:19: head_dim is 0 (expected at least 1)"),
        ("{head_dim: 4, q_len: 1, softcap: 0}", "3:41: softcap is 0 (expected more than 0)"),
        ("{head_dim: 4, q_len: 1, scale: [1]}", "3:39: scale is a list (expected a number)"),
        ("{head_dim: 4, q_len: 1, gradient: no}", "3:42: gradient is the text 'no' (expected true or false or a list)"),
        ("{head_dim: 4, q_len: 1, window: 3}", "3:40: window is 3 (expected a mapping)"),
        ("{head_dim: 4, q_len: 1, window: {lfet: 3}}", "3:41: unknown key 'lfet' (did you mean 'left'?)"),
        ("{head_dim: 4, q_len: 1, window: {zzz: 3}}", "3:41: unknown key 'zzz' (expected left or right)"),
        ("{head_dim: 4, q_len: 1, dtypes: []}", "3:40: dtypes is an empty list (expected a length of at least 1)"),
        ("{head_dim: 4, q_len: 1, dtypes: [int8, int8]}", "3:40: dtypes: a dtype is listed twice"),
        ("{head_dim: 4, q_len: 1, expect: {}}", "3:40: expect: give exactly one of: value, error"),
        ("{head_dim: 4, q_len: 1, query: [[1, x]]}", "3:44: query[0][1] is the text 'x' (expected a number, true or "
         "false, a complex number, or a list)"),
        ("{head_dim: 4, q_len: 1, mask: {shape: qk}}", "3:32: missing field 'type' (expected: bool: true makes a key "
         "visible. additive: added to the scores)"),
        ("{head_dim: 4, q_len: 1, mask: {type: additive, fill: lowst}}", "3:61: mask.fill is the text 'lowst' "
         "(expected a number or 'lowest'; did you mean 'lowest'?)"),
        ("{head_dim: 4, q_len: 1, mask: {type: bool, shape: zz}}", "3:58: mask.shape is the text 'zz' (expected: The "
         "mask's axes, trailing ones of (batch, heads, q, k): `qk`, `b11k`, `1hqk`; 1 broadcasts)"),
        ("{head_dim: 4, q_len: 1, mask: {type: bool, fill: 1}}", "3:38: mask: fill needs an additive mask"),
        ("{head_dim: 4, q_len: 1, scale_at: weights}", "3:3: scale_at weights needs an explicit scale"),
        ("{head_dim: 4, q_len: 1, sweeep: {}}", "3:32: unknown key 'sweeep' (did you mean 'sweep'?)"),
    ],
)  # fmt: skip
def test_a_mistake_is_described_in_plain_words(problems_of, entry, problem):
    assert problems_of(attention_file(entry)) == [problem]


def test_an_overlong_text_is_abbreviated(problems_of):
    (problem,) = problems_of(attention_file(f"{{head_dim: 4, q_len: 1, about: {'long ' * 100}}}"))
    assert problem.startswith("3:39: about is the text 'long long ")
    assert problem.endswith("…' (expected at most 300 characters)")
    assert len(problem) < 120


def test_missing_fields_are_reported_at_the_name_of_each_entry(problems_of):
    problems = problems_of("kind: attention\ncases:\n  a: {q_len: 1}\n  b: {}\n")
    assert [problem.partition(" (")[0] for problem in problems] == [
        "3:3: missing field 'head_dim'",
        "4:3: missing field 'head_dim'",
        "4:3: missing field 'q_len'",
    ]


def test_a_problem_of_the_defaults_is_reported_there_and_once(problems_of):
    assert problems_of("""
        kind: attention
        defaults:
          head_dim: four
          window: {left: -1}
          nmu_heads: 2
        cases:
          a: {q_len: 1}
          b: {q_len: 2}
        """) == [
        "3:13: head_dim is the text 'four' (expected a whole number)",
        "4:18: window.left is -1 (expected at least 0)",
        "5:3: unknown key 'nmu_heads' (did you mean 'num_heads'?)",
    ]


def test_a_wrong_default_is_reported_even_if_every_entry_overrides_it(problems_of):
    assert problems_of("kind: attention\ndefaults: {head_dim: x}\ncases:\n  a: {q_len: 1, head_dim: 4}\n") == [
        "2:22: head_dim is the text 'x' (expected a whole number)"
    ]


def test_a_problem_of_an_entry_is_reported_there_even_if_the_defaults_have_the_field_too(problems_of):
    assert problems_of("kind: attention\ndefaults: {head_dim: 4}\ncases:\n  a: {q_len: 1, head_dim: x}\n") == [
        "4:27: head_dim is the text 'x' (expected a whole number)"
    ]


def test_incomplete_defaults_are_no_problem(cases_of):
    assert cases_of("""
        kind: einsum
        defaults: {shapes: [[2, 2]], expect: {value: 1}}
        cases:
          a: {equation: "ij->"}
        """)


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("", ["1:1: the file is empty (expected a mapping)"]),
        ("- 1\n", ["1:1: the file is a list (expected a mapping)"]),
        (
            "kind: einsun\ncases: {a: {}}\n",
            ["1:7: kind is the text 'einsun' (expected 'einsum' or 'attention'; did you mean 'einsum'?)"],
        ),
        ("kind: [einsum]\ncases: {a: {}}\n", ["1:7: kind is a list (expected 'einsum' or 'attention')"]),
        ("kind: einsum\ncases: {}\n", ["2:8: cases is an empty mapping (expected a length of at least 1)"]),
        ("kind: einsum\ncases: [a]\n", ["2:8: cases is a list (expected a mapping)"]),
        ("kind: einsum\ndefaults:\ncases: {a: {}}\n", ["2:10: defaults is empty (expected a mapping)"]),
        ("about: x\n", ["1:1: missing field 'cases' (expected: The cases, by snake_case name)",
                        "1:1: missing field 'kind' (expected: What the cases compute; determines which fields they "
                        "have)"]),
        ("kind: einsum\ncases: {a: [\n", ["3:1: not valid YAML: did not find expected node content (while parsing a "
                                          "flow node)"]),
    ],
)  # fmt: skip
def test_a_text_that_is_not_a_case_file(problems_of, text, problems):
    assert problems_of(text) == problems


@pytest.mark.parametrize("name", ["Rows", "2d", "a-b", "a.b", "a/b", "a b", "é", "_a", "a::b"])
def test_names_are_snake_case(problems_of, name):
    entry = '{equation: "i->", sizes: {i: 1}}'
    assert problems_of(f'kind: einsum\ncases:\n  "{name}": {entry}\n') == [
        f"3:3: {name!r} is not a name (expected snake_case, such as 'two_by_three')"
    ]


def test_problems_are_formatted_like_compiler_errors(tmp_path):
    file = tmp_path / "bad.yaml"
    file.write_text("kind: einsum\ncases: {a: {equation: i, sizes: {i: -1}}}\n", encoding="utf-8")
    with pytest.raises(CaseFileError) as raised:
        load(file, tmp_path)
    assert raised.value.problems == [Problem(file, 2, 37, "sizes.i is -1 (expected at least 0)")]
    assert str(raised.value) == f"{file}:2:37: sizes.i is -1 (expected at least 0)"
    assert pickle.loads(pickle.dumps(raised.value)).problems == raised.value.problems


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path):
    with pytest.raises(CaseFileError, match=r"1:1: the file cannot be read: No such file"):
        load(tmp_path / "nowhere.yaml", tmp_path)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "folder.yaml").mkdir()
    (file,) = discover([tmp_path], tmp_path)
    for loader in (partial(load, root=tmp_path), deviation.load):
        with pytest.raises(CaseFileError, match=r"pipe.yaml:1:1: the file cannot be read: Not a regular file"):
            loader(file)


# Contradictions in a case


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{equation: 'ij,jk->ik', shapes: [[2, 3], [4, 5]]}", "size_mismatch"),
        ("{equation: 'i#->i', shapes: [[2]]}", "syntax"),
        ("{equation: 'i->i', shapes: [[2]], expect: {error: size_mismatch}}", "the case is valid"),
        ("{equation: 'i->j', shapes: [[2]], expect: {error: syntax}}", "unknown_label; expect.error is syntax"),
        ("{equation: 'i,j->ij', sizes: {i: 2}}", "unknown_label"),
    ],
)
def test_a_case_that_contradicts_itself_is_refused_at_its_name(problems_of, entry, message):
    (problem,) = problems_of(einsum_file(entry))
    assert problem.startswith("3:3: ")
    assert message in problem


# Values that no array can have


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ("operands: [[1, 1000]], dtypes: [int8]", "42: 1000 is beyond int8 (expected -128 to 127)"),
        ("operands: [[1, -1]], dtypes: [int8, uint8]", "42: -1 is beyond uint8 (expected 0 to 255)"),
        ("operands: [[1, 1.5]], dtypes: [int32]", "42: 1.5 is not a whole number, and int32 has no others"),
        ("operands: [[1, .nan]], dtypes: [int32]", "42: nan is not a whole number, and int32 has no others"),
        ("operands: [[1, .inf]], dtypes: [bool]", "42: inf is no value of bool (expected true or false)"),
        ("operands: [[1, 2]], dtypes: [bool]", "42: 2 is no value of bool (expected true or false)"),
        ("operands: [[1, 1e5]], dtypes: [float16]", "42: 100000.0 is beyond float16 (its largest number is 65504)"),
        ("operands: [[1, 2j]], dtypes: [complex64, int8]", "42: 2j is a complex number, which int8 cannot hold (list "
         "complex dtypes only)"),
        ("operands: [[1, 2]], expect: {value: [1, 2-1j]}", "67: 2-1j is a complex number, which float64 cannot hold "
         "(list complex dtypes only)"),
        ("operands: [[1, 2]], expect: {value: [1, 300]}, dtypes: [int8]", "67: 300 is beyond int8 (expected -128 to "
         "127)"),
        ("operands: [[1, 2]], expect: {value: [[1, 2], [3]]}", "63: the rows of these nested lists differ in length "
         "(expected an array)"),
        ("operands: [[1, 2]], expect: {value: 3}", "63: expect.value has shape (), but the result has (2,)"),
        ("operands: [[1, [2]]], expect: {error: shape_mismatch}", "38: the rows of these nested lists differ in "
         "length (expected an array)"),
        (f"shapes: [{[1] * 100}]", "36: shapes[0] is a list (expected a length of at most 32)"),
        (f"shapes: {[[2]] * 999}", "35: shapes is a list (expected a length of at most 12)"),
        ("shapes: [[2000000000000]]", "37: shapes[0][0] is 2000000000000 (expected at most 1099511627776)"),
        (f"shapes: [[{'9' * 5000}]]", f"37: the number {'9' * 40} is too large (write .inf for infinity)"),
        (f"shapes: [[0x{'f' * 5000}]]", f"37: the number 0x{'f' * 38} is too large (write .inf for infinity)"),
        ("operands: [[1, 1e-999]]", "42: the number 1e-999 is too small (write 0 for zero)"),
    ],
)  # fmt: skip
def test_a_value_that_no_array_can_have_is_refused_where_it_is_written(problems_of, fields, problem):
    assert problems_of(einsum_file(f"{{equation: 'i->i', {fields}}}")) == [f"3:{problem}"]


@pytest.mark.parametrize(
    ("equation", "message"),
    [
        (
            ",".join(["i"] * 999) + "->",
            "equation has 999 operands (expected at most 12, because the bound looks at every group of them)",
        ),
        ("i" * 100 + "->", "a term of the equation has 100 axes (expected at most 32)"),
    ],
)
def test_an_equation_that_no_framework_takes_is_refused(problems_of, equation, message):
    assert problems_of(einsum_file(f"{{sizes: {{i: 1}}, equation: '{equation}'}}")) == [f"3:34: {message}"]


@pytest.mark.parametrize("fields", ["scale: .nan", "softcap: .inf", "rotary: {base: .inf}"])
def test_a_factor_of_attention_is_finite(problems_of, fields):
    (problem,) = problems_of(attention_file(f"{{head_dim: 4, q_len: 3, {fields}}}"))
    assert problem.endswith("(expected a finite number)")


def test_every_value_of_a_dtype_may_be_written(cases_of):
    cases_of("""
        kind: einsum
        defaults: {equation: "i->i"}
        cases:
          bytes: {operands: [[-128, 127.0, true]], dtypes: [int8]}
          words: {operands: [[18446744073709551615, 0]], dtypes: [uint64]}
          truths: {operands: [[true, 0, 1.0]], dtypes: [bool]}
          halves: {operands: [[65519, .inf, .nan, 1e-300]], dtypes: [float16]}
          asked: {operands: [[127]], operand_dtypes: [int8], dtypes: [int32], asks_for_dtype: true}
        """)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("dtypes: [int8]", "attention is not defined for int8"),
        ("past: 4", "past cannot exceed the 3 keys"),
        ("bias_at: products", "bias_at needs a bias"),
        ("sink: true, fully_masked: mean", "with a sink, a query that sees no key yields zeros"),
        ("kv_len: 0, fully_masked: mean", "without keys there is no mean"),
        ("rotary: {dims: 3}", "dims must be even, not 3"),
        ("rotary: {dims: 6}", "cannot rotate 6 of 4 features"),
        ("rotary: {}, kv_len: 2, causal: bottom_right", "rotary needs positions >= 0"),
        ("layout: bsd, self_attention: true, projections: {kind: linear}, past: 1", "q_len must be kv_len - past"),
        (
            "layout: bsd, self_attention: true, projections: {kind: linear}, unseen: 'nan'",
            "unseen cannot be combined with",
        ),
        ("key: [[[[1.0, 2.0]]]]", "the literal key has shape (1, 1, 1, 2), but the case needs (1, 3, 1, 4)"),
    ],
)
def test_invalid_attention_is_refused_with_the_reason(problems_of, fields, message):
    (problem,) = problems_of(attention_file(f"{{head_dim: 4, q_len: 3, {fields}}}"))
    assert message in problem


def test_members_of_a_sweep_that_contradict_themselves_are_named(problems_of):
    text = """
        kind: attention
        cases:
          heads: {q_len: 3, head_dim: 4, num_heads: 8, sweep: {num_kv_heads: [2, 3, 5]}}
        """
    problems = problems_of(text)
    assert [problem.partition(" (in ")[2] for problem in problems] == ["heads/3)", "heads/5)"]
    assert all("head_mismatch" in problem for problem in problems)


def test_a_case_that_expects_its_own_error_is_valid(cases_of):
    (case,) = cases_of(einsum_file("{equation: 'i->j', shapes: [[2]], expect: {error: unknown_label}}"))
    assert case.config.expected_error == "unknown_label"


# Names that backends declare


DECLARED = {
    "modes": ["eager", "jit"],
    "implementations": ["einsum", "sdpa"],
    "einsum": ["einsum"],
    "einsum eager": ["einsum"],
    "einsum jit": [],
}


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ("implementations: [einsun]", "3:57: implementations[0] is the text 'einsun' (expected 'einsum'; did you mean "
         "'einsum'?)"),
        ("implementations: [sdpa]", "3:57: implementations[0] is the text 'sdpa' (expected 'einsum')"),
        ("implementations: []", "3:56: implementations is an empty list (expected a length of at least 1)"),
        ("modes: []", "3:46: modes is an empty list (expected a length of at least 1)"),
        ("modes: [jit], implementations: [einsum]", "3:3: no backend runs einsum in mode jit, so the case would never "
         "be computed"),
    ],
)  # fmt: skip
def test_a_case_that_no_backend_would_compute_is_refused(tmp_path, fields, problem):
    file = tmp_path / "names.yaml"
    file.write_text(einsum_file(f"{{equation: i->, sizes: {{i: 1}}, {fields}}}"))
    with pytest.raises(CaseFileError) as raised:
        load(file, tmp_path, DECLARED)
    assert str(raised.value) == f"{file}:{problem}"
