"""Strategies of einsum cases: equations that have a meaning for their shapes, and ones that have none.

A valid equation is made from its parts (`Parts`), as `specs.case.equation` states the grammar, so it is valid by
construction.  An invalid one is a valid one with a single defect, whose class is known from how it was made.  Either
way `bind` has the last word.  What is listed first is what an example shrinks to.
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
MOST_TERMS = 4096  # of the whole contraction, and numbers in an operand: an example is to cost milliseconds
MOST_OPERANDS = 8
MOST_AXES = 8  # of an operand and of the output; some kernels have no more
RECIPES = get_args(Recipe)


def sometimes(draw: Draw, share: int) -> bool:
    """True for about one example in `share`; shrinks to False."""
    return draw(st.integers(0, share - 1)) == share - 1


@dataclass(frozen=True)
class Parts:
    """An equation taken apart, with its shapes; `output` None is an implicit one."""

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
    """An einsum case of one of the dtypes; about one in six is to be refused."""
    parts, dtype = draw(valid()), draw(st.sampled_from(dtypes))
    said: dict[str, Any] = {"dtypes": [dtype], "seed": draw(st.integers(0, 2**16))}
    equation, shapes = parts.equation, parts.shapes
    if sometimes(draw, 6):
        equation, shapes, error = draw(defects(parts))
        said["expect"] = Expect(error=error)
    elif DTYPES[dtype].inexact and (recipe := draw(recipes(bind(equation, shapes), DTYPES[dtype]))) != "normal":
        said["data"] = recipe
    return EinsumConfig(equation=equation, shapes=[list(shape) for shape in shapes], **said)


def recipes(contraction: Contraction, dtype: DType) -> st.SearchStrategy[Recipe]:
    """Those that fit: terms cancel along a summed label, and infinities where every order of evaluation agrees.

    An order that sums one operand first has other NaN than the formula, for (2 - 1) inf is not 2 inf - 1 inf, and ways
    to multiply complex numbers differ in theirs.
    """
    unfit: set[Recipe] = set()
    if not any(contraction.sizes[label] > 1 for label in contraction.summed_labels):
        unfit.add("cancelling")
    operands = Counter(label for term in contraction.operands for label in set(term))
    partial_sums = len(contraction.operands) > 1 and any(operands[label] == 1 for label in contraction.summed_labels)
    if dtype.kind == "complex" or len(contraction.operands) > 2 or partial_sums:
        unfit.add("nonfinite")
    return st.sampled_from([recipe for recipe in RECIPES if recipe not in unfit])


# Valid equations ------------------------------------------------------------------------------------------------------


@st.composite
def valid(draw: Draw) -> Parts:
    """Up to eight operands with repeated labels, ellipses, axes of size 0 and 1 that broadcast, rarely many labels.

    Whether something is used is drawn beside what it would be, and not before: then leaving it out moves nothing else,
    and an example shrinks further.
    """
    many, unnamed = sometimes(draw, 30), sometimes(draw, 4)
    pool = LETTERS[:40] if many else LETTERS[: draw(st.integers(1, 6))]
    terms: list[Term] = []
    ranks: list[int] = []
    more = True
    while len(terms) < MOST_OPERANDS and (more or (many and len(terms) < 6)):
        terms.append(draw(_term(pool, unnamed=unnamed, many=many)))
        rank = draw(st.integers(0, 2))
        ranks.append(rank if ELLIPSIS in terms[-1] else 0)
        more = draw(st.integers(0, 9)) > 2
    named = sorted({label for term in terms for label in term} - {ELLIPSIS})
    axes = tuple(f"{ELLIPSIS}{axis}" for axis in reversed(range(max(ranks))))
    times = {label: max(term.count(label) for term in terms) for label in named} | dict.fromkeys(axes, 1)
    shapes = draw(_shapes(terms, ranks, axes, draw(_sizes(times))))
    return Parts(tuple(terms), draw(_output(terms, named)), shapes, sometimes(draw, 8))


@st.composite
def _term(draw: Draw, pool: str, *, unnamed: bool, many: bool) -> Term:
    repeats, scalar, without, place = (
        sometimes(draw, 4),
        sometimes(draw, 6),
        sometimes(draw, 4),
        draw(st.integers(0, 4)),
    )
    labels = draw(st.lists(st.sampled_from(pool), min_size=1, max_size=4, unique=not repeats or many))
    if many:
        labels = list(dict.fromkeys([*labels, *draw(st.lists(st.sampled_from(pool), min_size=3, max_size=3))]))
    if scalar:
        labels = []
    if unnamed and not without:
        labels.insert(min(place, len(labels)), ELLIPSIS)
    return tuple(labels)


@st.composite
def _sizes(draw: Draw, times: Mapping[str, int]) -> dict[str, int]:
    """A size for each label, which is there so many times in one operand at most; small enough for MOST_TERMS."""
    empty, long, length = sometimes(draw, 12), sometimes(draw, 8), draw(st.integers(17, 70))
    sizes: dict[str, int] = {}
    room = MOST_TERMS
    for label, repeated in times.items():
        size = draw(st.integers(1, 6))
        size = length if long and not sizes else 0 if empty and size == 6 else min(size, 2 if len(times) > 10 else 5)
        sizes[label] = size if size**repeated <= room else 1
        room //= max(1, sizes[label] ** repeated)
    return sizes


@st.composite
def _shapes(draw: Draw, terms: list[Term], ranks: list[int], axes: Term, sizes: dict[str, int]) -> tuple[Shape, ...]:
    """Of each operand; where sizes broadcast, an operand has 1 on every axis of a label instead."""
    broadcasts = sometimes(draw, 4)
    shapes = []
    for term, rank in zip(terms, ranks, strict=True):
        resolved = [r for label in term for r in (axes[len(axes) - rank :] if label == ELLIPSIS else (label,))]
        ones = {label for label in dict.fromkeys(resolved) if sometimes(draw, 3) and broadcasts}
        shapes.append(tuple(1 if label in ones else sizes[label] for label in resolved))
    return tuple(shapes)


@st.composite
def _output(draw: Draw, terms: list[Term], named: list[str]) -> Term | None:
    implicit, drops, alone, place = sometimes(draw, 3), sometimes(draw, 5), sometimes(draw, 20), draw(st.integers(0, 4))
    labels = draw(st.lists(st.sampled_from(named), unique=True, max_size=MOST_AXES)) if named else []
    if implicit:
        once = [label for label in named if sum(term.count(label) for term in terms) == 1]
        return None if len(once) <= MOST_AXES else ()
    if not drops if any(ELLIPSIS in term for term in terms) else alone:
        labels.insert(min(place, len(labels)), ELLIPSIS)
    return tuple(labels)


# Defects --------------------------------------------------------------------------------------------------------------

Defective = tuple[str, tuple[Shape, ...], ErrorClass]


@st.composite
def defects(draw: Draw, parts: Parts) -> Defective:
    """The valid equation with one defect, and the class of error that it is."""
    error = draw(st.sampled_from([error for error, (possible, _) in DEFECTS.items() if possible(parts)]))
    equation, shapes = draw(DEFECTS[error][1](parts))
    try:
        bind(equation, shapes)
    except CaseError as refused:
        assume(refused.error == error)  # another size can be one that broadcasts
        return equation, shapes, error
    assume(False)
    raise AssertionError


Broken = tuple[str, tuple[Shape, ...]]


@st.composite
def _syntax(draw: Draw, parts: Parts) -> Broken:
    """A character that is no label, a second arrow, a second or a shorter ellipsis, an arrow or an ellipsis split."""
    equation = parts.equation
    slips = ["_", "1", "->", "-", ">", "..", ".", ";", "\u03b1", "\t", "......"]
    at = draw(st.integers(0, len(equation)))
    broken = equation[:at] + draw(st.sampled_from(slips)) + equation[at:]
    splits = [equation.replace(whole, split, 1) for whole, split in (("->", "- >"), (ELLIPSIS, ". .."))]
    return draw(st.sampled_from([broken, *(split for split in splits if split != equation)])), parts.shapes


@st.composite
def _size_mismatch(draw: Draw, parts: Parts) -> Broken:
    """One axis has another size."""
    which = draw(st.sampled_from([i for i, shape in enumerate(parts.shapes) if shape]))
    axis = draw(st.integers(0, len(parts.shapes[which]) - 1))
    return parts.equation, _resized(parts.shapes, which, axis, draw(st.sampled_from((2, 3, 1, 6))))


@st.composite
def _rank_mismatch(draw: Draw, parts: Parts) -> Broken:
    """One operand has an axis more or less."""
    which = draw(st.integers(0, len(parts.shapes) - 1))
    shape = parts.shapes[which]
    other = draw(st.sampled_from([(*shape, 2), shape[:-1]] if shape else [(2,)]))
    return parts.equation, (*parts.shapes[:which], other, *parts.shapes[which + 1 :])


@st.composite
def _unknown_label(draw: Draw, parts: Parts) -> Broken:
    """The output names a label that no operand has."""
    used = {label for term in parts.terms for label in term}
    label = draw(st.sampled_from([letter for letter in LETTERS if letter not in used][:3]))
    return _with_output_label(draw, parts, label).equation, parts.shapes


@st.composite
def _repeated_output(draw: Draw, parts: Parts) -> Broken:
    """The output names a label twice."""
    assert parts.output is not None
    return _with_output_label(draw, parts, draw(st.sampled_from(parts.output))).equation, parts.shapes


@st.composite
def _operand_count(draw: Draw, parts: Parts) -> Broken:
    """An operand more or less than the equation has terms."""
    fewer = parts.shapes[:-1]
    return parts.equation, draw(st.sampled_from([(*parts.shapes, parts.shapes[-1]), *([fewer] if fewer else [])]))


def _with_output_label(draw: Draw, parts: Parts, label: str) -> Parts:
    output = parts.output or ()
    at = draw(st.integers(0, len(output)))
    return replace(parts, output=(*output[:at], label, *output[at:]))


def _resized(shapes: tuple[Shape, ...], which: int, axis: int, size: int) -> tuple[Shape, ...]:
    shape = shapes[which]
    return (*shapes[:which], (*shape[:axis], size, *shape[axis + 1 :]), *shapes[which + 1 :])


def _has_shared_label(parts: Parts) -> bool:
    labels = [label for term in parts.terms for label in term if label != ELLIPSIS]
    return len(set(labels)) < len(labels)


Possible = Callable[[Parts], bool]
Break = Callable[[Parts], st.SearchStrategy[Broken]]
DEFECTS: dict[ErrorClass, tuple[Possible, Break]] = {
    "size_mismatch": (_has_shared_label, _size_mismatch),
    "rank_mismatch": (lambda parts: any(ELLIPSIS not in term for term in parts.terms), _rank_mismatch),
    "unknown_label": (lambda parts: parts.output is not None, _unknown_label),
    "repeated_output": (lambda parts: bool(parts.output), _repeated_output),
    "operand_count": (lambda parts: True, _operand_count),
    "syntax": (lambda parts: True, _syntax),
}
