"""The einsum grammar: worked examples, and agreement with NumPy."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specs.case.equation import bind, parse, shapes_from_sizes
from specs.case.error import CaseError

# equation, shapes, shape of the output
VALID = [
    # explicit
    ("ij,jk->ik", [(2, 3), (3, 4)], (2, 4)),
    ("ij,jk->ki", [(2, 3), (3, 4)], (4, 2)),
    ("i,j->ji", [(2,), (3,)], (3, 2)),
    ("ij->", [(2, 3)], ()),
    ("->", [()], ()),
    (",->", [(), ()], ()),
    ("ii->i", [(3, 3)], (3,)),
    ("iji->j", [(3, 2, 3)], (2,)),
    ("bA,bA->A", [(2, 3), (2, 3)], (3,)),
    # implicit: labels that occur once, in ASCII order
    ("ij,jk", [(2, 3), (3, 4)], (2, 4)),
    ("ba", [(2, 3)], (3, 2)),
    ("aB", [(2, 3)], (3, 2)),
    ("ii", [(3, 3)], ()),
    ("i,i", [(3,), (3,)], ()),
    ("", [()], ()),
    ("zYx,Y", [(2, 3, 4), (3,)], (4, 2)),
    # ellipsis: none, some, first, middle, last, absorbed, implicit, of different ranks, of size 1
    ("...", [(2, 3)], (2, 3)),
    ("...ij->...ji", [(2, 3)], (3, 2)),
    ("...ij,...jk->...ik", [(5, 6, 2, 3), (6, 3, 4)], (5, 6, 2, 4)),
    ("i...j->j...i", [(2, 5, 6, 3)], (3, 5, 6, 2)),
    ("i...->...", [(2, 5)], (5,)),
    ("...i,...i", [(5, 3), (5, 3)], (5,)),
    ("i...,...j", [(2, 5), (5, 3)], (5, 2, 3)),
    ("...i->i", [(4, 5, 3)], (3,)),
    ("...,i->...i", [(4, 5), (3,)], (4, 5, 3)),
    ("...i,...i->...", [(4, 1, 3), (5, 3)], (4, 5)),
    ("...,...->...", [(1,), (4, 5)], (4, 5)),
    ("...,...->...", [(), (4,)], (4,)),
    ("ij->...ij", [(2, 3)], (2, 3)),
    # broadcasting of size 1 between operands
    ("ij,jk->ik", [(2, 1), (3, 4)], (2, 4)),
    ("ij,ij->ij", [(1, 3), (2, 1)], (2, 3)),
    ("i,i->", [(1,), (4,)], ()),
    ("i,i->i", [(1,), (0,)], (0,)),
    ("ii,i->i", [(1, 1), (3,)], (3,)),
    # zero sizes
    ("ij,jk->ik", [(2, 0), (0, 4)], (2, 4)),
    ("ij,jk->ik", [(0, 3), (3, 4)], (0, 4)),
    ("i->i", [(0,)], (0,)),
    ("ii->i", [(0, 0)], (0,)),
    # spaces
    (" i j , j k -> i k ", [(2, 3), (3, 4)], (2, 4)),
    ("... i , i -> ...", [(5, 3), (3,)], (5,)),
    ("b a", [(2, 3)], (3, 2)),
]

REJECTED = [
    ("syntax", "i-j", [(2, 3)]),
    ("syntax", "i>j", [(2, 3)]),
    ("syntax", "ij-", [(2, 3)]),
    ("syntax", "i- >i", [(2,)]),
    ("syntax", "ij->i->j", [(2, 3)]),
    ("syntax", "ij->->", [(2, 3)]),
    ("syntax", "i1->i", [(2, 3)]),
    ("syntax", "i_j", [(2, 3)]),
    ("syntax", "i\u03b1", [(2, 3)]),
    ("syntax", "i\tj", [(2, 3)]),
    ("syntax", "i;j", [(2,), (3,)]),
    ("syntax", "..i", [(2, 3)]),
    ("syntax", "....i", [(2, 3)]),
    ("syntax", ". ..i", [(2, 3)]),
    ("syntax", "...i...", [(2, 3)]),
    ("syntax", "...i->......i", [(2, 3)]),
    ("syntax", "ij->i,j", [(2, 3)]),
    ("size_mismatch", "ij,jk->ik", [(2, 3), (4, 5)]),
    ("size_mismatch", "ii->i", [(2, 3)]),
    ("size_mismatch", "ii->i", [(1, 3)]),
    ("size_mismatch", "i,i,i->", [(2,), (1,), (3,)]),
    ("size_mismatch", "...,...->...", [(2, 3), (2, 4)]),
    ("size_mismatch", "i,i->", [(0,), (2,)]),
    ("rank_mismatch", "ij->", [(2,)]),
    ("rank_mismatch", "i->", [(2, 3)]),
    ("rank_mismatch", "->", [(2,)]),
    ("rank_mismatch", "i...j->", [(2,)]),
    ("rank_mismatch", ",i->i", [(2,), (2,)]),
    ("unknown_label", "ij->k", [(2, 3)]),
    ("unknown_label", "ij->ijk", [(2, 3)]),
    ("unknown_label", "i->I", [(2,)]),
    ("unknown_label", "->i", [()]),
    ("repeated_output", "ij->ii", [(2, 3)]),
    ("repeated_output", "i->ii", [(2,)]),
    ("repeated_output", "ij,jk->iki", [(2, 3), (3, 4)]),
    ("operand_count", "ij,jk->ik", [(2, 3)]),
    ("operand_count", "ij->ij", [(2, 3), (2, 3)]),
    ("operand_count", "i,->i", [(2,)]),
    ("operand_count", "i", []),
]  # fmt: skip


@pytest.mark.parametrize(("equation", "shapes", "output"), VALID, ids=[f"{e}{s}" for e, s, _ in VALID])
def test_output_shape(equation: str, shapes: list, output: tuple) -> None:
    assert bind(equation, shapes).output_shape == output


@pytest.mark.parametrize(("error", "equation", "shapes"), REJECTED, ids=[f"{c}:{e!a}" for c, e, _ in REJECTED])
def test_rejection(error: str, equation: str, shapes: list) -> None:
    with pytest.raises(CaseError) as raised:
        bind(equation, shapes)
    assert raised.value.error == error
    copy = pickle.loads(pickle.dumps(raised.value))  # as when sent by a worker
    assert (copy.error, str(copy)) == (error, str(raised.value))


@pytest.mark.parametrize(
    ("equation", "shapes", "length"),
    [
        ("ij,jk->ik", [(2, 3), (3, 4)], 3),
        ("ij,jk->ik", [(2, 1), (3, 4)], 3),
        ("ijk->", [(2, 3, 4)], 24),
        ("ij->ij", [(2, 3)], 1),
        ("...i->i", [(5, 6, 3)], 30),
        ("ii->", [(3, 3)], 3),
        ("i,i->", [(0,), (0,)], 0),
    ],
)
def test_length_is_the_number_of_terms_in_each_sum(equation: str, shapes: list, length: int) -> None:
    assert bind(equation, shapes).length == length


def test_parse_keeps_the_terms_as_they_are_written() -> None:
    assert parse("...ij, jk -> ...ik") == ((("...", "i", "j"), ("j", "k")), ("...", "i", "k"))
    assert parse("ij,jk") == ((("i", "j"), ("j", "k")), None)
    assert parse("i->") == ((("i",),), ())


def test_shapes_follow_from_the_sizes_of_labels() -> None:
    assert shapes_from_sizes("ij,jk->ik", {"i": 2, "j": 3, "k": 4}) == [(2, 3), (3, 4)]
    assert shapes_from_sizes(",i", {"i": 2}) == [(), (2,)]


@pytest.mark.parametrize(
    ("error", "equation", "sizes"),
    [
        ("unknown_label", "ij->i", {"i": 2}),
        ("unknown_label", "ij->i", {"i": 2, "j": 3, "k": 4}),
        ("rank_mismatch", "...i->i", {"i": 2}),
    ],
)
def test_sizes_must_be_those_of_the_labels(error: str, equation: str, sizes: dict) -> None:
    with pytest.raises(CaseError) as raised:
        shapes_from_sizes(equation, sizes)
    assert raised.value.error == error


@st.composite
def equations(draw: st.DrawFn) -> tuple[str, list[tuple[int, ...]]]:
    """Equations of few labels, mostly well formed, with shapes that mostly fit."""
    label = st.sampled_from("abcXY")
    sizes = {name: draw(st.integers(0, 4)) for name in "abcXY"} | {".": draw(st.integers(1, 3))}
    terms, shapes = [], []
    for _ in range(draw(st.integers(1, 3))):
        term = draw(st.lists(label, max_size=3))
        unnamed = draw(st.integers(-1, 2))
        shape = [1 if draw(st.integers(0, 5)) == 0 else sizes[name] for name in term]
        if unnamed >= 0:
            index = draw(st.integers(0, len(term)))
            term.insert(index, "...")
            shape[index:index] = [draw(st.sampled_from([1, sizes["."]])) for _ in range(unnamed)]
        terms.append("".join(term))
        shapes.append(tuple(shape))
    equation = ",".join(terms)
    if draw(st.booleans()):
        labels = sorted(set(equation) - set(".,"))
        output = draw(st.lists(st.sampled_from(labels), unique=True)) if labels else []
        equation += "->" + draw(st.sampled_from(["...", ""])) + "".join(output)
    return equation, shapes


@settings(max_examples=500)
@given(equations())
def test_output_shape_equals_numpys_if_both_accept(case: tuple[str, list[tuple[int, ...]]]) -> None:
    equation, shapes = case
    try:
        expected = np.einsum(equation, *(np.ones(shape) for shape in shapes)).shape
        actual = bind(equation, shapes).output_shape
    except (ValueError, CaseError):
        return
    assert actual == expected


@settings(max_examples=300)
@given(equations())
def test_everything_numpy_accepts_is_accepted_except_diagonals_of_broadcast_axes(case: tuple[str, list]) -> None:
    equation, shapes = case
    try:
        np.einsum(equation, *(np.ones(shape) for shape in shapes))
    except ValueError:
        return
    rejection = None
    try:
        bind(equation, shapes)
    except CaseError as error:
        rejection = error
    assert rejection is None or (rejection.error == "size_mismatch" and "in one operand" in str(rejection))
