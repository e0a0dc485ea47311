"""The project's einsum grammar, and the meaning of an equation for given shapes.

    equation  = terms [ "->" term ]          terms = term { "," term }
    term      = { label | "..." }            at most one "..." in a term
    label     = a letter, a-z or A-Z;        spaces are allowed anywhere except inside "->" and "..."

Each element of the output is the sum, over all values of the labels missing from the output, of the product of one
element of each operand.  Nothing is conjugated, no term is skipped (zero times infinity is NaN), an empty sum is zero,
and the result has the operands' dtype: integers wrap, booleans are combined by `and` and `or`.

NumPy, PyTorch, JAX and TensorFlow disagree in places.  Cases are judged by the following rules; deviations from them
are recorded in `backends/deviations`.

* Without "->" the output is the ellipsis axes, then every label that occurs exactly once, in ASCII order (capitals
  first), as defined by NumPy.  (NumPy, PyTorch, JAX; TensorFlow counts "..." like a label, so when two operands have
  it, it omits it from the output and refuses the equation.)
* A label has one size.  An axis of size 1 broadcasts against any other size of its label in *another* operand, as
  an unnamed axis would (NumPy, PyTorch and JAX agree; TensorFlow refuses).  Within one operand a repeated label must
  have equal sizes: the diagonal of a broadcast axis has no agreed meaning (JAX broadcasts it, the others refuse).
* Zero is a size like any other: it matches zero, and 1 broadcasts to it.  (np.einsum, for a diagonal, and TensorFlow's
  eager kernel, for two operands, treat a zero that comes first as "not known yet", and then accept any size; NumPy's
  result then reads memory beyond the operand.)
* "..." stands for the unnamed axes.  They are aligned from the right and broadcast, regardless of its position in each
  term and of how many each operand has (all agree).  An equation that omits them from an explicit output sums over
  them, as over any other omitted axis (PyTorch, JAX and NumPy's optimize=True; np.einsum itself and TensorFlow refuse,
  unless there are none).  A "..." in the output alone stands for no axes (all agree).
* There is at most one "..." in each term and in the output (JAX and NumPy's optimize=True accept a second one in the
  output if it stands for no axes; TensorFlow's eager kernel treats two in a row as one).
* Every label of the output occurs in an operand, and once in the output: einsum writes no diagonals (all agree).
* Only letters are labels, since a case must mean the same everywhere.  (JAX accepts any character: digits, Greek, `#`.)
* Spaces between symbols are ignored, but one inside an arrow or an ellipsis is a syntax error, as in any language with
  multi-character symbols.  (JAX, NumPy's optimize=True and, for the arrow, TensorFlow remove spaces first.)  Tabs and
  line breaks are not spaces.
* There are as many terms as operands; an empty term belongs to a scalar, and an empty equation to a single scalar.
* The result keeps the dtype.  (PyTorch sums a label that occurs in only one operand by torch.sum, which promotes
  booleans and all other integers to int64; with that exception all agree.)
* The order of contraction is free, so the result may depend on it within the error bound, and where infinities meet:
  in inf * b1 * c1 + inf * b2 * c2, the sum of b * c may be computed first.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NoReturn

from specs.case.error import CaseError, ErrorClass

ELLIPSIS = "..."
Term = tuple[str, ...]  # labels, with ELLIPSIS standing for unnamed axes
Shape = tuple[int, ...]

_TERM = re.compile(r"\.\.\.|[a-zA-Z]")


@dataclass(frozen=True)
class Contraction:
    """An equation bound to shapes: ellipses are resolved, so that every axis has a label.

    Labels of ellipsis axes are "...0", "...1" …, counted from the right.  `sizes` holds each label's full size; an
    operand's axis has that size, or 1 if it broadcasts.
    """

    operands: tuple[Term, ...]
    output: Term
    sizes: dict[str, int]

    @property
    def output_shape(self) -> Shape:
        return tuple(self.sizes[label] for label in self.output)

    @property
    def summed_labels(self) -> tuple[str, ...]:
        """Labels that are summed over: those that the output lacks."""
        return tuple(label for label in self.sizes if label not in self.output)

    @property
    def length(self) -> int:
        """Number of terms in the sum of each output element (K in the bound's derivation); 1 if nothing is summed."""
        return math.prod(self.sizes[label] for label in self.summed_labels)

    def components(self) -> list[list[int]]:
        """Indices of the operands, those together that labels connect: their contraction is a factor of the whole."""
        components: list[list[int]] = []
        for index, term in enumerate(self.operands):
            labels = set(term)
            joined = [group for group in components if any(labels & {*self.operands[i]} for i in group)]
            components = [group for group in components if group not in joined]
            components.append(sorted([*(i for group in joined for i in group), index]))
        return components

    def factor(self, component: Sequence[int]) -> Contraction:
        """The contraction of some operands, of which labels connect none to another."""
        terms = tuple(self.operands[i] for i in component)
        labels = {label for term in terms for label in term}
        sizes = {label: size for label, size in self.sizes.items() if label in labels}
        return Contraction(terms, tuple(label for label in self.output if label in labels), sizes)


@lru_cache(maxsize=256)  # an equation is read again for its shapes, its inputs, its reference
def parse(equation: str) -> tuple[tuple[Term, ...], Term | None]:
    """The operands' terms and the output's term, which is None if implicit; raises CaseError (syntax).

    >>> parse("...ij, jk -> ...ik")
    ((('...', 'i', 'j'), ('j', 'k')), ('...', 'i', 'k'))
    """
    operands, arrow, output = equation.partition("->")
    if "->" in output:
        _reject("syntax", f"{equation!r} has more than one ->")
    terms = tuple(_term(text, equation) for text in operands.split(","))
    return terms, _term(output, equation) if arrow else None


def bind(equation: str, shapes: Sequence[Shape]) -> Contraction:
    """The contraction of operands with these shapes; raises CaseError with the class of the first defect."""
    return _bind(equation, tuple(map(tuple, shapes)))


@lru_cache(maxsize=256)
def _bind(equation: str, shapes: tuple[Shape, ...]) -> Contraction:
    terms, output = parse(equation)
    if len(terms) != len(shapes):
        _reject("operand_count", f"{equation!r} has {len(terms)} terms for {len(shapes)} operands")
    ellipsis_rank = max((len(s) - len(t) + 1 for t, s in zip(terms, shapes, strict=True) if ELLIPSIS in t), default=0)
    operands = tuple(_resolve(term, shape, equation) for term, shape in zip(terms, shapes, strict=True))
    sizes = _sizes(operands, shapes, equation)
    ellipsis = _ellipsis_labels(ellipsis_rank)
    if output is None:
        counts = Counter(label for term in terms for label in term if label != ELLIPSIS)
        resolved = ellipsis + tuple(sorted(label for label, count in counts.items() if count == 1))
    else:
        _check_output(output, terms, equation)
        resolved = tuple(r for label in output for r in (ellipsis if label == ELLIPSIS else (label,)))
    return Contraction(operands, resolved, sizes)


def shapes_from_sizes(equation: str, sizes: dict[str, int]) -> list[Shape]:
    """Operand shapes for an equation without ellipses, from the sizes of exactly its labels; else raises CaseError."""
    terms, _ = parse(equation)
    labels = {label for term in terms for label in term}
    if ELLIPSIS in labels:
        _reject("rank_mismatch", "sizes do not determine how many axes `...` stands for: give shapes")
    if labels != set(sizes):
        difference = ", ".join(sorted(labels ^ set(sizes)))
        _reject("unknown_label", f"sizes and the labels of {equation!r} differ in: {difference}")
    return [tuple(sizes[label] for label in term) for term in terms]


def _reject(error: ErrorClass, message: str) -> NoReturn:
    raise CaseError(error, message)


def _term(text: str, equation: str) -> Term:
    labels = tuple(_TERM.findall(text))
    if "".join(labels) != text.replace(" ", ""):
        _reject("syntax", f"{text.strip()!r} in {equation!r} has characters other than letters and `...`")
    if labels.count(ELLIPSIS) > 1:
        _reject("syntax", f"{text.strip()!r} in {equation!r} has more than one `...`")
    return labels


def _ellipsis_labels(rank: int) -> Term:
    return tuple(f"{ELLIPSIS}{axis}" for axis in reversed(range(rank)))


def _resolve(term: Term, shape: Shape, equation: str) -> Term:
    """The term with its ellipsis replaced by one label for each unnamed axis of the shape."""
    unnamed = len(shape) - (len(term) - (ELLIPSIS in term))
    if unnamed < 0 or (unnamed > 0 and ELLIPSIS not in term):
        _reject("rank_mismatch", f"term {''.join(term)!r} of {equation!r} does not fit an operand of shape {shape}")
    return tuple(r for label in term for r in (_ellipsis_labels(unnamed) if label == ELLIPSIS else (label,)))


def _sizes(operands: tuple[Term, ...], shapes: Sequence[Shape], equation: str) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for term, shape in zip(operands, shapes, strict=True):
        operand_sizes: dict[str, int] = {}
        for label, size in zip(term, shape, strict=True):
            if (other := operand_sizes.setdefault(label, size)) != size:
                _reject("size_mismatch", f"label {label!r} of {equation!r} is {other} and {size} in one operand")
        for label, size in operand_sizes.items():
            other = sizes.get(label, 1)
            if other != 1 and size not in (1, other):
                _reject(
                    "size_mismatch", f"label {label!r} of {equation!r} is {other} in one operand, {size} in another"
                )
            sizes[label] = other if size == 1 else size
    return sizes


def _check_output(output: Term, terms: tuple[Term, ...], equation: str) -> None:
    operand_labels = {label for term in terms for label in term}
    for label, count in Counter(output).items():
        if count > 1:
            _reject("repeated_output", f"the output of {equation!r} repeats {label!r}")
        # An ellipsis in the output alone stands for no axes; every framework allows it
        if label not in operand_labels and label != ELLIPSIS:
            _reject("unknown_label", f"the output of {equation!r} has the label {label!r}, which no operand has")
