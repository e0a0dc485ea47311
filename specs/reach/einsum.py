"""The features of an einsum: properties of its equation, its shapes, dtypes and memory.

An axis of one element has no effect in a sum, a diagonal or a permutation: only longer ones count, and empty ones.
"""

from __future__ import annotations

from collections import Counter

from specs.arithmetic.promotion import result_type
from specs.case.einsum import EinsumConfig
from specs.case.equation import ELLIPSIS, Contraction, Term, bind, parse
from specs.case.shapes import einsum_shapes
from specs.reach.feature import MEMORY, Feature

LONG_AXIS = 65  # one more than the block of a kernel


def _bind(c: EinsumConfig) -> Contraction:
    return bind(c.equation, list(einsum_shapes(c).values()))


def _effective(c: EinsumConfig) -> tuple[list[Term], Term]:
    """The labels of each operand and of the result, without axes of one element in all operands."""
    bound = _bind(c)
    terms = [tuple(label for label in term if bound.sizes[label] != 1) for term in (*bound.operands, bound.output)]
    return terms[:-1], terms[-1]


def _has_label(c: EinsumConfig, summed: bool | None, least: int, most: int = 99) -> bool:
    """Whether a label that is summed, or is in the output, occurs in so many operands."""
    terms, output = _effective(c)
    occurrences = Counter(label for term in terms for label in set(term))
    return any(least <= count <= most and summed in (None, label not in output) for label, count in occurrences.items())


def _is_permuted(c: EinsumConfig) -> bool:
    """Whether labels of the output come in another order than the one in which operands first have them."""
    terms, output = _effective(c)
    return [label for label in dict.fromkeys(x for term in terms for x in term) if label in output] != list(output)


def _broadcasts(c: EinsumConfig) -> bool:
    """Whether an axis of size one meets a longer one."""
    bound, shapes = _bind(c), einsum_shapes(c).values()
    axes = (pair for term, shape in zip(bound.operands, shapes, strict=True) for pair in zip(term, shape, strict=True))
    return any(size == 1 < bound.sizes[label] for label, size in axes)


def _has_ellipsis(c: EinsumConfig, summed: bool | None = None) -> bool:
    """Whether an ellipsis stands for an axis, and is summed because the output that is written does not have it."""
    output = parse(c.equation)[1]
    left_out = output is not None and ELLIPSIS not in output
    return summed in (None, left_out) and any(label.startswith(ELLIPSIS) for term in _effective(c)[0] for label in term)


def _asks_for_another_dtype(c: EinsumConfig) -> bool:
    """Whether the result would otherwise have the dtype to which the operands promote."""
    return c.asks_for_dtype and c.dtypes[0] != result_type(c.operand_dtypes or c.dtypes)


def axis_sizes(c: EinsumConfig) -> list[int]:
    return [size for shape in einsum_shapes(c).values() for size in shape]


EINSUM = (
    Feature("one operand", lambda c: c.operand_count == 1, ("equation", "shapes", "sizes"), "operands"),
    Feature("two operands", lambda c: c.operand_count == 2, ("equation", "shapes", "sizes"), "operands"),
    Feature("three operands or more", lambda c: c.operand_count > 2, ("equation", "shapes", "sizes"), "operands"),
    Feature("nothing summed", lambda c: not _has_label(c, summed=True, least=1), ("nothing_summed",)),
    Feature(
        "sum over an axis of one operand", lambda c: _has_label(c, summed=True, least=1, most=1), ("summed_alone",)
    ),
    Feature("sum over a shared axis", lambda c: _has_label(c, summed=True, least=2)),
    Feature("batch axis", lambda c: _has_label(c, summed=False, least=2)),
    Feature("axis of three operands", lambda c: _has_label(c, summed=None, least=3)),
    Feature("scalar result", lambda c: not _bind(c).output),
    Feature("scalar operand", lambda c: () in einsum_shapes(c).values()),
    Feature("permuted result", _is_permuted),
    Feature("diagonal", lambda c: any(len(set(term)) < len(term) for term in _effective(c)[0])),
    Feature("ellipsis", _has_ellipsis),
    Feature("ellipsis summed", lambda c: _has_ellipsis(c, summed=True), ("ellipsis_left_out",)),
    Feature("implicit result", lambda c: parse(c.equation)[1] is None, ("no_arrow",)),
    Feature("broadcast axis", _broadcasts, ("label_of_size_one",)),
    Feature("axis of size one", lambda c: 1 in axis_sizes(c)),
    Feature("empty axis", lambda c: 0 in axis_sizes(c), ("empty_axis",)),
    Feature("six axes or more", lambda c: any(len(term) >= 6 for term in _bind(c).operands)),
    Feature("long axis", lambda c: max(axis_sizes(c), default=0) >= LONG_AXIS),
    Feature(
        "mixed dtypes",
        lambda c: c.operand_dtypes is not None and len(set(c.operand_dtypes)) > 1,
        ("operand_dtypes", "mixed_dtypes"),
    ),
    Feature("dtype asked for", _asks_for_another_dtype, ("asks_for_dtype",)),
    *MEMORY,
)
