"""The einsum grammar that the project holds, and what an equation means for given shapes.

    equation  = terms [ "->" term ]          terms = term { "," term }
    term      = { label | "..." }            at most one "..." in a term
    label     = a letter, a-z or A-Z;        spaces may stand anywhere except inside "->" and "..."

Each element of the output is the sum, over all values of the labels that the output lacks, of the product of one
element of each operand.  Nothing is conjugated, no term is skipped (zero times infinity is NaN), a sum over nothing is
zero, and the result has the operands' dtype: integers wrap, booleans are combined by `and` and `or`.

Where NumPy, PyTorch, JAX and TensorFlow disagree, this is the reading that cases are judged by, and why.  What differs
from it is recorded in `backends/deviations`.

* Without "->" the output is the ellipsis axes, then every label that occurs exactly once, in ASCII order (capitals
  first), as NumPy defined it.  (NumPy, PyTorch, JAX; TensorFlow counts "..." like a label, and when two operands have
  it leaves it out of the output and refuses the equation.)
* A label means one size.  An axis of size 1 broadcasts against any other size of its label in *another* operand, as
  an unnamed axis would (NumPy, PyTorch and JAX agree; TensorFlow refuses).  Within one operand a repeated label must
  have equal sizes: a diagonal of a broadcast axis has no agreed meaning (JAX broadcasts it, the others refuse).
* Zero is a size like any other: it fits zero, and 1 broadcasts to it.  (Both np.einsum, for a diagonal, and
  TensorFlow's eager kernel, for two operands, take a zero that comes first for "not known yet", and then any size
  fits it; NumPy's result is memory beyond the operand.)
* "..." stands for the axes that are not named.  They are aligned from the right and broadcast, wherever it stands in
  each term and however many each operand has of them (all agree).  An equation that leaves them out of an explicit
  output sums over them, exactly as it does with any other axis it leaves out (PyTorch, JAX and NumPy's optimize=True;
  np.einsum itself and TensorFlow refuse, unless there are none).  A "..." in the output alone stands for no axes (all
  agree).
* There is at most one "..." in a term, and in the output (JAX and NumPy's optimize=True take a second one in the
  output where it stands for no axes, TensorFlow's eager kernel takes two in a row for one).
* Every label of the output occurs in an operand, once in the output: einsum writes no diagonals (all agree).
* Only letters are labels, since a case must mean the same everywhere.  (JAX takes any character: digits, Greek, `#`.)
* Spaces mean nothing between symbols, but split an arrow or an ellipsis, as in any language with symbols of several
  characters.  (JAX, NumPy's optimize=True and, for the arrow, TensorFlow remove spaces first.)  Tabs and line breaks
  are no spaces.
* There are as many terms as operands; an empty term is a scalar's, and an empty equation that of one scalar.
* A result keeps its dtype.  (PyTorch sums a label that stands in one operand alone by torch.sum, which makes int64 of
  booleans and of every other integer; with that exception all agree.)
* The order of contraction is free, so a result may depend on it within the error bound, and where infinities meet: of
  inf * b1 * c1 + inf * b2 * c2 the sum of b * c may be taken first.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from specs.case.error import CaseError, ErrorClass

ELLIPSIS = "..."
Term = tuple[str, ...]  # labels, with ELLIPSIS standing for unnamed axes
Shape = tuple[int, ...]

_TERM = re.compile(r"\.\.\.|[a-zA-Z]")


@dataclass(frozen=True)
class Contraction:
    """An equation applied to shapes: ellipses are resolved, so that every axis has a label.

    Labels of ellipsis axes are "...0", "...1" …, counted from the right.  `sizes` holds each label's full size; an
    operand's axis has that size or 1 (it broadcasts).
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
        """Number of terms in each output element's sum (K in the bound's derivation); 1 where nothing is summed."""
        return math.prod(self.sizes[label] for label in self.summed_labels)


def parse(equation: str) -> tuple[tuple[Term, ...], Term | None]:
    """Terms of the operands and of the output (None: implicit).

    >>> parse("...ij, jk -> ...ik")
    ((('...', 'i', 'j'), ('j', 'k')), ('...', 'i', 'k'))
    """
    operands, arrow, output = equation.partition("->")
    if "->" in output:
        _reject("syntax", f"{equation!r} has more than one ->")
    terms = tuple(_term(text, equation) for text in operands.split(","))
    return terms, _term(output, equation) if arrow else None


def bind(equation: str, shapes: Sequence[Shape]) -> Contraction:
    """What `equation` means for operands of these shapes; raises CaseError with the class of the first defect."""
    terms, output = parse(equation)
    if len(terms) != len(shapes):
        _reject("operand_count", f"{equation!r} has {len(terms)} terms for {len(shapes)} operands")
    ellipsis_rank = max((len(s) - len(t) + 1 for t, s in zip(terms, shapes, strict=True) if ELLIPSIS in t), default=0)
    operands = tuple(_resolve(term, shape, equation) for term, shape in zip(terms, shapes, strict=True))
    sizes = _sizes(operands, shapes, equation)
    unnamed = _ellipsis_labels(ellipsis_rank)
    if output is None:
        count = Counter(label for term in terms for label in term if label != ELLIPSIS)
        resolved = unnamed + tuple(sorted(label for label, times in count.items() if times == 1))
    else:
        _check_output(output, terms, equation)
        resolved = tuple(r for label in output for r in (unnamed if label == ELLIPSIS else (label,)))
    return Contraction(operands, resolved, sizes)


def shapes_from_sizes(equation: str, sizes: dict[str, int]) -> list[Shape]:
    """Shape of each operand of an equation without ellipses, given the size of every label and no other."""
    terms, _ = parse(equation)
    labels = {label for term in terms for label in term}
    if ELLIPSIS in labels:
        _reject("rank_mismatch", "sizes cannot say how many axes `...` stands for: give shapes")
    if labels != set(sizes):
        differing = ", ".join(sorted(labels ^ set(sizes)))
        _reject("unknown_label", f"sizes and the labels of {equation!r} differ in: {differing}")
    return [tuple(sizes[label] for label in term) for term in terms]


def _reject(error: ErrorClass, message: str) -> NoReturn:
    raise CaseError(error, message)


def _term(text: str, equation: str) -> Term:
    labels = tuple(_TERM.findall(text))
    if "".join(labels) != text.replace(" ", ""):
        _reject("syntax", f"{text.strip()!r} in {equation!r} is not made of letters and `...`")
    if labels.count(ELLIPSIS) > 1:
        _reject("syntax", f"{text.strip()!r} in {equation!r} has more than one `...`")
    return labels


def _ellipsis_labels(rank: int) -> Term:
    return tuple(f"{ELLIPSIS}{axis}" for axis in reversed(range(rank)))


def _resolve(term: Term, shape: Shape, equation: str) -> Term:
    """The term with its ellipsis replaced by as many labels as the shape leaves unnamed."""
    unnamed = len(shape) - (len(term) - (ELLIPSIS in term))
    if unnamed < 0 or (unnamed > 0 and ELLIPSIS not in term):
        _reject("rank_mismatch", f"term {''.join(term)!r} of {equation!r} does not fit an operand of shape {shape}")
    return tuple(r for label in term for r in (_ellipsis_labels(unnamed) if label == ELLIPSIS else (label,)))


def _sizes(operands: tuple[Term, ...], shapes: Sequence[Shape], equation: str) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for term, shape in zip(operands, shapes, strict=True):
        own: dict[str, int] = {}
        for label, size in zip(term, shape, strict=True):
            if own.setdefault(label, size) != size:
                _reject("size_mismatch", f"label {label!r} of {equation!r} is {own[label]} and {size} in one operand")
        for label, size in own.items():
            known = sizes.get(label, 1)
            if known != 1 and size not in (1, known):
                _reject(
                    "size_mismatch", f"label {label!r} of {equation!r} is {known} in one operand, {size} in another"
                )
            sizes[label] = known if size == 1 else size
    return sizes


def _check_output(output: Term, terms: tuple[Term, ...], equation: str) -> None:
    known = {label for term in terms for label in term}
    for label, times in Counter(output).items():
        if times > 1:
            _reject("repeated_output", f"the output of {equation!r} repeats {label!r}")
        # An ellipsis in the output alone stands for no axes; every framework allows it
        if label not in known and label != ELLIPSIS:
            _reject("unknown_label", f"the output of {equation!r} names {label!r}, which no operand has")
