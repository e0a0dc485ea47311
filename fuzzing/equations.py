"""Strategies for einsum cases: equations that are valid for their shapes, and ones that are not.

A valid equation is assembled from its parts (`Parts`) by the grammar of `specs.case.equation`, so it is valid by
construction.  An invalid one is a valid one with a single defect, whose error class follows from the defect.  `bind`
confirms both.  Examples shrink towards the first of several choices.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from hypothesis import assume
from hypothesis import strategies as st

from specs.arithmetic.formats import DTYPES, DType
from specs.case.common import Expect, Recipe
from specs.case.einsum import EinsumConfig
from specs.case.equation import ELLIPSIS, Contraction, Shape, Term, bind
from specs.case.error import CaseError, ErrorClass

Draw = st.DrawFn
LETTERS = "ijklmnopqrstuvwxyzabcdefghABCDEFGHIJKLMNOPQRSTUVWXYZ"
MAX_TERMS = 4096  # of the whole contraction, and elements of an operand: an example should cost milliseconds
MAX_OPERANDS = 8
MAX_AXES = 8  # of an operand and of the output; some kernels support no more
RECIPES = get_args(Recipe)


def one_in(draw: Draw, count: int) -> bool:
    """True for about one example in `count`; shrinks to False."""
    return draw(st.integers(0, count - 1)) == count - 1


@dataclass(frozen=True)
class Parts:
    """The terms of an equation, and the shapes of its operands; `output` is None for an implicit output."""

    terms: tuple[Term, ...]
    output: Term | None
    shapes: tuple[Shape, ...]
    spaced: bool = False

    @property
    def equation(self) -> str:
        comma, arrow, label = (", ", " -> ", " ") if self.spaced else (",", "->", "")
        operands = comma.join(label.join(term) for term in self.terms)
        return operands if self.output is None else operands + arrow + label.join(self.output)


@st.composite
def configs(draw: Draw, dtypes: Sequence[str]) -> EinsumConfig:
    """An einsum case of one of the dtypes; about one in six must be refused."""
    parts, dtype = draw(valid()), draw(st.sampled_from(dtypes))
    fields: dict[str, Any] = {"dtypes": [dtype], "seed": draw(st.integers(0, 2**16))}
    equation, shapes = parts.equation, parts.shapes
    if one_in(draw, 6):
        equation, shapes, error = draw(defects(parts))
        fields["expect"] = Expect(error=error)
    elif DTYPES[dtype].inexact and (recipe := draw(recipes(bind(equation, shapes), DTYPES[dtype]))) != "normal":
        fields["data"] = recipe
    return EinsumConfig(equation=equation, shapes=[list(shape) for shape in shapes], **fields)


def recipes(contraction: Contraction, dtype: DType) -> st.SearchStrategy[Recipe]:
    """Recipes that the contraction allows.

    `cancelling` needs a summed label.  `nonfinite` needs every order of evaluation to give the same NaNs: an order that
    sums one operand first has others than the formula, for (2 - 1) inf is not 2 inf - 1 inf, and so have different
    algorithms for complex products.
    """
    excluded: set[Recipe] = set()
    if not any(contraction.sizes[label] > 1 for label in contraction.summed_labels):
        excluded.add("cancelling")
    operand_counts = Counter(label for term in contraction.operands for label in set(term))
    partial_sums = len(contraction.operands) > 1 and any(
        operand_counts[label] == 1 for label in contraction.summed_labels
    )
    if dtype.kind == "complex" or len(contraction.operands) > 2 or partial_sums:
        excluded.add("nonfinite")
    return st.sampled_from([recipe for recipe in RECIPES if recipe not in excluded])


# Valid equations ------------------------------------------------------------------------------------------------------


@st.composite
def valid(draw: Draw) -> Parts:
    """Equations of up to eight operands: repeated labels, ellipses, axes of size 0, broadcast axes, rarely many labels.

    Whether a feature is used is drawn next to its value, not before it: then dropping the feature changes no other
    draw, and an example shrinks further.
    """
    many_labels, ellipses = one_in(draw, 30), one_in(draw, 4)
    pool = LETTERS[:40] if many_labels else LETTERS[: draw(st.integers(1, 6))]
    terms: list[Term] = []
    ranks: list[int] = []
    more = True
    while len(terms) < MAX_OPERANDS and (more or (many_labels and len(terms) < 6)):
        terms.append(draw(_term(pool, ellipses=ellipses, many_labels=many_labels)))
        rank = draw(st.integers(0, 2))
        ranks.append(rank if ELLIPSIS in terms[-1] else 0)
        more = draw(st.integers(0, 9)) > 2
    labels = sorted({label for term in terms for label in term} - {ELLIPSIS})
    axes = tuple(f"{ELLIPSIS}{axis}" for axis in reversed(range(max(ranks))))
    counts = {label: max(term.count(label) for term in terms) for label in labels} | dict.fromkeys(axes, 1)
    shapes = draw(_shapes(terms, ranks, axes, draw(_sizes(counts))))
    return Parts(tuple(terms), draw(_output(terms, labels)), shapes, one_in(draw, 8))


@st.composite
def _term(draw: Draw, pool: str, *, ellipses: bool, many_labels: bool) -> Term:
    repeats, scalar, drops_ellipsis, position = (
        one_in(draw, 4),
        one_in(draw, 6),
        one_in(draw, 4),
        draw(st.integers(0, 4)),
    )
    labels = draw(st.lists(st.sampled_from(pool), min_size=1, max_size=4, unique=not repeats or many_labels))
    if many_labels:
        labels = list(dict.fromkeys([*labels, *draw(st.lists(st.sampled_from(pool), min_size=3, max_size=3))]))
    if scalar:
        labels = []
    if ellipses and not drops_ellipsis:
        labels.insert(min(position, len(labels)), ELLIPSIS)
    return tuple(labels)


@st.composite
def _sizes(draw: Draw, counts: Mapping[str, int]) -> dict[str, int]:
    """A size for each label, small enough for MAX_TERMS; `counts` is how often one operand repeats it at most."""
    empty, long, length = one_in(draw, 12), one_in(draw, 8), draw(st.integers(17, 70))
    sizes: dict[str, int] = {}
    max_terms = MAX_TERMS
    for label, count in counts.items():
        size = draw(st.integers(1, 6))
        size = length if long and not sizes else 0 if empty and size == 6 else min(size, 2 if len(counts) > 10 else 5)
        sizes[label] = size if size**count <= max_terms else 1
        max_terms //= max(1, sizes[label] ** count)
    return sizes


@st.composite
def _shapes(draw: Draw, terms: list[Term], ranks: list[int], axes: Term, sizes: dict[str, int]) -> tuple[Shape, ...]:
    """The shape of each operand; where sizes broadcast, an operand may have size 1 on all axes of a label."""
    broadcasts = one_in(draw, 4)
    shapes = []
    for term, rank in zip(terms, ranks, strict=True):
        labels: list[str] = []
        for label in term:
            labels += axes[len(axes) - rank :] if label == ELLIPSIS else (label,)
        ones = {label for label in dict.fromkeys(labels) if one_in(draw, 3) and broadcasts}
        shapes.append(tuple(1 if label in ones else sizes[label] for label in labels))
    return tuple(shapes)


@st.composite
def _output(draw: Draw, terms: list[Term], labels: list[str]) -> Term | None:
    implicit, drops_ellipsis, adds_ellipsis = one_in(draw, 3), one_in(draw, 5), one_in(draw, 20)
    position = draw(st.integers(0, 4))
    output = draw(st.lists(st.sampled_from(labels), unique=True, max_size=MAX_AXES)) if labels else []
    if implicit:
        unique = [label for label in labels if sum(term.count(label) for term in terms) == 1]
        return None if len(unique) <= MAX_AXES else ()
    if not drops_ellipsis if any(ELLIPSIS in term for term in terms) else adds_ellipsis:
        output.insert(min(position, len(output)), ELLIPSIS)
    return tuple(output)


# Defects --------------------------------------------------------------------------------------------------------------

DefectiveEquation = tuple[str, tuple[Shape, ...], ErrorClass]


@st.composite
def defects(draw: Draw, parts: Parts) -> DefectiveEquation:
    """The valid equation with one defect, and the error class of that defect."""
    error = draw(st.sampled_from([error for error, (is_possible, _) in DEFECTS.items() if is_possible(parts)]))
    equation, shapes = draw(DEFECTS[error][1](parts))
    try:
        bind(equation, shapes)
    except CaseError as exception:
        assume(exception.error == error)  # another size may broadcast instead
        return equation, shapes, error
    assume(False)
    raise AssertionError


EquationAndShapes = tuple[str, tuple[Shape, ...]]


@st.composite
def _syntax(draw: Draw, parts: Parts) -> EquationAndShapes:
    """A character that is no label, a second arrow, a second or a shorter ellipsis, an arrow or an ellipsis split."""
    equation = parts.equation
    typos = ["_", "1", "->", "-", ">", "..", ".", ";", "\u03b1", "\t", "......"]
    position = draw(st.integers(0, len(equation)))
    misspelled = equation[:position] + draw(st.sampled_from(typos)) + equation[position:]
    splits = [equation.replace(token, split, 1) for token, split in (("->", "- >"), (ELLIPSIS, ". .."))]
    return draw(st.sampled_from([misspelled, *(split for split in splits if split != equation)])), parts.shapes


@st.composite
def _size_mismatch(draw: Draw, parts: Parts) -> EquationAndShapes:
    """One axis has another size."""
    operand = draw(st.sampled_from([i for i, shape in enumerate(parts.shapes) if shape]))
    axis = draw(st.integers(0, len(parts.shapes[operand]) - 1))
    return parts.equation, _with_size(parts.shapes, operand, axis, draw(st.sampled_from((2, 3, 1, 6))))


@st.composite
def _rank_mismatch(draw: Draw, parts: Parts) -> EquationAndShapes:
    """One operand has an axis too many or too few."""
    operand = draw(st.integers(0, len(parts.shapes) - 1))
    shape = parts.shapes[operand]
    wrong_shape = draw(st.sampled_from([(*shape, 2), shape[:-1]] if shape else [(2,)]))
    return parts.equation, (*parts.shapes[:operand], wrong_shape, *parts.shapes[operand + 1 :])


@st.composite
def _unknown_label(draw: Draw, parts: Parts) -> EquationAndShapes:
    """The output names a label that no operand has."""
    used = {label for term in parts.terms for label in term}
    label = draw(st.sampled_from([letter for letter in LETTERS if letter not in used][:3]))
    return _with_output_label(draw, parts, label).equation, parts.shapes


@st.composite
def _repeated_output(draw: Draw, parts: Parts) -> EquationAndShapes:
    """The output names a label twice."""
    assert parts.output is not None
    return _with_output_label(draw, parts, draw(st.sampled_from(parts.output))).equation, parts.shapes


@st.composite
def _operand_count(draw: Draw, parts: Parts) -> EquationAndShapes:
    """One operand more or fewer than the equation has terms."""
    fewer = parts.shapes[:-1]
    return parts.equation, draw(st.sampled_from([(*parts.shapes, parts.shapes[-1]), *([fewer] if fewer else [])]))


def _with_output_label(draw: Draw, parts: Parts, label: str) -> Parts:
    output = parts.output or ()
    position = draw(st.integers(0, len(output)))
    return replace(parts, output=(*output[:position], label, *output[position:]))


def _with_size(shapes: tuple[Shape, ...], operand: int, axis: int, size: int) -> tuple[Shape, ...]:
    shape = shapes[operand]
    return (*shapes[:operand], (*shape[:axis], size, *shape[axis + 1 :]), *shapes[operand + 1 :])


def _has_shared_label(parts: Parts) -> bool:
    labels = [label for term in parts.terms for label in term if label != ELLIPSIS]
    return len(set(labels)) < len(labels)


IsPossible = Callable[[Parts], bool]
AddDefect = Callable[[Parts], st.SearchStrategy[EquationAndShapes]]
DEFECTS: dict[ErrorClass, tuple[IsPossible, AddDefect]] = {
    "size_mismatch": (_has_shared_label, _size_mismatch),
    "rank_mismatch": (lambda parts: any(ELLIPSIS not in term for term in parts.terms), _rank_mismatch),
    "unknown_label": (lambda parts: parts.output is not None, _unknown_label),
    "repeated_output": (lambda parts: bool(parts.output), _repeated_output),
    "operand_count": (lambda parts: True, _operand_count),
    "syntax": (lambda parts: True, _syntax),
}
