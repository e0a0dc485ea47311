"""Loading and finding case files."""

from pathlib import Path

import pytest

from specs.case.common import Expect
from specs.case.einsum import EinsumConfig
from specs.case.loading import discover, load
from tests.support.case_texts import einsum_file


def test_an_entry_becomes_a_case(cases_of, tmp_path):
    (case,) = cases_of("""
        # a comment
        kind: einsum
        about: Products of two matrices.
        cases:
          rows_by_rows:
            equation: ij,kj->ik
            shapes: [[2, 3], [4, 3]]
        """)
    assert vars(case) == {
        "id": "einsum/products::rows_by_rows",
        "name": "rows_by_rows",
        "file": tmp_path / "cases" / "einsum" / "products.yaml",
        "line": 5,
        "config": EinsumConfig(equation="ij,kj->ik", shapes=[[2, 3], [4, 3]]),
    }


def test_the_examples_of_the_design_load(cases_of):
    cases = cases_of("""
        kind: einsum
        about: Products of two matrices, plain and transposed.
        defaults: {dtypes: [float64, float32, bfloat16, float16]}
        cases:
          attention_scores:
            about: Multi-head attention scores.
            source: seed 000
            equation: nqhd,nkhd->nhqk
            sizes: {n: 2, q: 5, k: 7, h: 4, d: 16}      # label sizes instead of shapes
          outer_of_integers:
            equation: ij,km->ijkm
            dtypes: [int32]
            operands: [[[1, 2, 3], [4, 5, 6]], [[7, 8, 9]]]
            expect:
              value: [[[[7, 8, 9]], [[14, 16, 18]], [[21, 24, 27]]], [[[28, 32, 36]], [[35, 40, 45]], [[42, 48, 54]]]]
          one_label_two_sizes:
            equation: ij,jk->ik
            shapes: [[2, 3], [4, 5]]
            expect: {error: size_mismatch}
          long_sums:
            equation: i,i->
            sweep: {sizes: [{i: 1}, {i: 1024}, {i: 65536}]}
        """)
    assert [case.name for case in cases] == [
        "attention_scores",
        "outer_of_integers",
        "one_label_two_sizes",
        "long_sums/1",
        "long_sums/1024",
        "long_sums/65536",
    ]
    assert cases[2].config.expect == Expect(error="size_mismatch")
    assert cases[5].config.sizes == {"i": 65536}
    assert {case.line for case in cases[3:]} == {20}


def test_literal_numbers_may_be_exact_bits(cases_of):
    (case,) = cases_of(einsum_file('{equation: "i->", operands: [[0x1.8p-3, 1e-5, .inf, 2, true]]}'))
    assert case.config.operands == [[0.1875, 1e-5, float("inf"), 2, True]]


def test_an_entry_overrides_the_defaults_without_deep_merging(cases_of):
    plain, own = cases_of("""
        kind: attention
        defaults: {q_len: 4, head_dim: 8, causal: top_left, window: {left: 1, right: 2}}
        cases:
          plain: {}
          own: {head_dim: 16, window: {left: 3}}
        """)
    assert (plain.config.head_dim, plain.config.causal, plain.config.window.right) == (8, "top_left", 2)
    assert (own.config.head_dim, own.config.causal, own.config.window.left) == (16, "top_left", 3)
    assert own.config.window.right is None


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("cases/einsum/products.yaml", "einsum/products::one"),
        ("cases/top.yaml", "top::one"),
        ("tests/specs/own.case.yaml", "tests/specs/own.case::one"),
        ("../elsewhere.yaml", "elsewhere::one"),
    ],
)
def test_the_id_contains_the_path_of_the_file(tmp_path, file, expected):
    root = tmp_path / "project"
    path = root / file
    root.mkdir()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(einsum_file('{equation: "i->", sizes: {i: 1}}'), encoding="utf-8")
    assert [case.id for case in load(path, root)] == [expected]


# Finding case files


def test_discover_returns_each_case_file_once_and_in_order(tmp_path):
    for name in ("cases/b/two.yaml", "cases/a/one.yaml", "cases/a/notes.txt", "other/named.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    one, two = tmp_path / "cases/a/one.yaml", tmp_path / "cases/b/two.yaml"
    assert discover([], tmp_path) == [one, two]
    assert discover([tmp_path / "cases/b", one, two], tmp_path) == [one, two]
    assert discover([tmp_path / "other/named.txt"], tmp_path) == [tmp_path / "other/named.txt"]
    with pytest.raises(FileNotFoundError, match="nowhere"):
        discover([one, Path("nowhere")], tmp_path)
