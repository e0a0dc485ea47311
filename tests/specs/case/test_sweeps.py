"""A sweep makes cases that are named by their values."""

import pytest

from specs.case import loading
from specs.case.case import Case
from specs.case.loading import MAX_SWEEP_CASES
from tests.support.case_texts import attention_file, einsum_file


def names(cases: list[Case]) -> list[str]:
    return [case.name.partition("/")[2] for case in cases]


def test_a_sweep_is_every_combination_and_later_fields_vary_fastest(cases_of):
    cases = cases_of(attention_file("{head_dim: 4, sweep: {q_len: [1, 2], kv_len: [1, 33]}}"))
    assert names(cases) == ["1-1", "1-33", "2-1", "2-33"]
    assert [(case.config.q_len, case.config.kv_len) for case in cases] == [(1, 1), (1, 33), (2, 1), (2, 33)]
    assert cases[1].id == "einsum/products::one/1-33"


def test_a_swept_mapping_is_merged_over_the_entrys_own_and_anything_else_replaces_it(cases_of):
    cases = cases_of(
        einsum_file(
            '{equation: "ij->", sizes: {i: 2, j: 3}, dtypes: [int8], sweep: {sizes: [{j: 5}], dtypes: [[bool]]}}'
        )
    )
    assert [(case.config.sizes, case.config.dtypes) for case in cases] == [({"i": 2, "j": 5}, ["bool"])]


def test_a_swept_null_removes_a_field(cases_of):
    cases = cases_of(attention_file("{q_len: 1, head_dim: 4, window: {left: 1}, sweep: {window: [null, {right: 2}]}}"))
    assert names(cases) == ["none", "2"]
    assert cases[0].config.window is None
    assert (cases[1].config.window.left, cases[1].config.window.right) == (1, 2)


def test_defaults_may_have_a_sweep_which_an_entry_may_remove(cases_of):
    cases = cases_of("""
        kind: attention
        defaults: {head_dim: 4, sweep: {q_len: [1, 2]}}
        cases:
          both: {}
          other: {sweep: {q_len: [3]}}
          single: {q_len: 4, sweep: null}
        """)
    assert [(case.name, case.config.q_len) for case in cases] == [
        ("both/1", 1),
        ("both/2", 2),
        ("other/3", 3),
        ("single", 4),
    ]


@pytest.mark.parametrize(
    ("field", "value", "label"),
    [
        ("sizes", "{i: 1, j: 1024}", "1x1024"),
        ("shapes", "[[2, 3]]", "2x3"),
        ("shapes", "[[2, 3], [4]]", "2x3,4"),
        ("shapes", "[[]]", "empty"),
        ("dtypes", "[float32, float16]", "float32xfloat16"),
        ("gradient", "false", "false"),
        ("expect", "null", "none"),
        ("operands", "[0x1p-1, -2]", "0.5x-2"),
        ("equation", "'ij, jk -> ik'", "ij,jk->ik"),
        ("equation", "'[a]::b/c\\d'", "abcd"),
        ("equation", "' '", "empty"),
    ],
)
def test_a_members_name_is_made_of_its_values_and_is_safe_in_a_test_id(cases_of, monkeypatch, field, value, label):
    monkeypatch.setattr(loading, "find_contradiction", lambda case: None)  # the values need not be valid
    base = {"equation": "i->", "shapes": "[[1], [1]]"}
    if field in ("sizes", "operands"):
        del base["shapes"]
    fields = ", ".join(f"{key}: {text!r}" if key == "equation" else f"{key}: {text}" for key, text in base.items())
    assert names(cases_of(einsum_file(f"{{{fields}, sweep: {{{field}: [{value}]}}}}"))) == [label]


def test_inserting_a_value_renames_no_other_member(cases_of):
    before = names(cases_of(attention_file("{head_dim: 4, sweep: {q_len: [1, 9], kv_len: [1, 33]}}")))
    after = names(cases_of(attention_file("{head_dim: 4, sweep: {q_len: [1, 5, 9], kv_len: [1, 33]}}")))
    assert set(before) < set(after)


def test_two_members_with_one_name_are_a_problem(problems_of):
    assert problems_of(einsum_file('{equation: "i->", sweep: {sizes: [{i: 1}, {i: 2}, {i: 1}]}}')) == [
        "3:26: two members of the sweep are named 'one/1' (expected values that differ)"
    ]


@pytest.mark.parametrize(
    ("sweep", "problem"),
    [
        ("{}", "3:39: sweep is empty (expected at least one field with its values)"),
        ("{q_len: []}", "3:47: sweep.q_len is an empty list (expected a length of at least 1)"),
        ("{q_len: 3}", "3:47: sweep.q_len is 3 (expected a list)"),
        ("[1, 2]", "3:39: sweep is a list (expected a mapping)"),
        ("{q_lem: [1]}", "3:40: unknown key 'q_lem' (did you mean 'q_len'?)"),
    ],
)
def test_an_invalid_sweep_is_refused(problems_of, sweep, problem):
    assert problems_of(attention_file(f"{{head_dim: 4, q_len: 2, sweep: {sweep}}}")) == [problem]


def test_a_huge_sweep_is_refused_before_it_is_expanded(problems_of):
    values = list(range(1, 101))
    fields = ", ".join(f"{field}: {values}" for field in ("q_len", "kv_len", "num_heads", "batch", "head_dim"))
    (problem,) = problems_of(attention_file(f"{{sweep: {{{fields}}}}}"))
    assert problem == f"3:16: sweep makes 10000000000 cases (expected at most {MAX_SWEEP_CASES})"


def test_a_wrong_value_in_a_sweep_is_reported_once_at_its_position(problems_of):
    assert problems_of("""
        kind: attention
        defaults: {head_dim: 4}
        cases:
          swept:
            causal: none
            window: {left: -1}
            sweep:
              q_len: [1, two, 3]
              window: [{right: 1}, {rigth: 2}]
        """) == [
        "6:20: window.left is -1 (expected at least 0)",
        "8:18: q_len is the text 'two' (expected a whole number)",
        "9:29: unknown key 'rigth' (did you mean 'right'?)",
    ]


def test_a_problem_of_some_members_names_them(problems_of):
    assert problems_of(attention_file("{head_dim: 4, kv_lengths: [1], q_len: 3, sweep: {batch: [1, 2, 3]}}")) == [
        "3:3: kv_lengths needs one length for each of the 2 batch items (in one/2)",
        "3:3: kv_lengths needs one length for each of the 3 batch items (in one/3)",
    ]
