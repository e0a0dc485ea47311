"""The features of an einsum: properties of its equation, its shapes, dtypes and memory."""

from __future__ import annotations

from collections import Counter

from specs.case.einsum import EinsumConfig
from specs.case.equation import ELLIPSIS, Contraction, bind, parse
from specs.case.shapes import einsum_shapes
from specs.reach.feature import MEMORY, Feature

LONG_AXIS = 65  # one more than the block of a kernel


def _bind(c: EinsumConfig) -> Contraction:
    return bind(c.equation, list(einsum_shapes(c).values()))


def _has_label(c: EinsumConfig, summed: bool | None, least: int, most: int = 99) -> bool:
    """Whether a label that is summed, or is in the output, occurs in so many operands."""
    bound = _bind(c)
    occurrences = Counter(label for term in bound.operands for label in set(term))
    return any(
        least <= count <= most and summed in (None, label not in bound.output) for label, count in occurrences.items()
    )


def _is_permuted(c: EinsumConfig) -> bool:
    """Whether labels of the output come in another order than the one in which operands first have them."""
    bound = _bind(c)
    order = [label for label in dict.fromkeys(x for term in bound.operands for x in term) if label in bound.output]
    return order != list(bound.output)


def _broadcasts(c: EinsumConfig) -> bool:
    """Whether an axis of size one meets a longer one."""
    bound, shapes = _bind(c), einsum_shapes(c).values()
    axes = (pair for term, shape in zip(bound.operands, shapes, strict=True) for pair in zip(term, shape, strict=True))
    return any(size == 1 < bound.sizes[label] for label, size in axes)


def _sums_ellipsis(c: EinsumConfig) -> bool:
    output = parse(c.equation)[1]
    return output is not None and ELLIPSIS not in output and any("..." in label for label in _bind(c).sizes)


def axis_sizes(c: EinsumConfig) -> list[int]:
    return [size for shape in einsum_shapes(c).values() for size in shape]


EINSUM = (
    Feature("one operand", lambda c: c.operand_count == 1, "operands"),
    Feature("two operands", lambda c: c.operand_count == 2, "operands"),
    Feature("three operands or more", lambda c: c.operand_count > 2, "operands"),
    Feature("nothing summed", lambda c: not _has_label(c, summed=True, least=1)),
    Feature("sum over an axis of one operand", lambda c: _has_label(c, summed=True, least=1, most=1)),
    Feature("sum over a shared axis", lambda c: _has_label(c, summed=True, least=2)),
    Feature("batch axis", lambda c: _has_label(c, summed=False, least=2)),
    Feature("axis of three operands", lambda c: _has_label(c, summed=None, least=3)),
    Feature("scalar result", lambda c: not _bind(c).output),
    Feature("scalar operand", lambda c: () in einsum_shapes(c).values()),
    Feature("permuted result", _is_permuted),
    Feature("diagonal", lambda c: any(len(set(term)) < len(term) for term in _bind(c).operands)),
    Feature("ellipsis", lambda c: ELLIPSIS in c.equation),
    Feature("ellipsis summed", _sums_ellipsis),
    Feature("implicit result", lambda c: parse(c.equation)[1] is None),
    Feature("broadcast axis", _broadcasts),
    Feature("axis of size one", lambda c: 1 in axis_sizes(c)),
    Feature("empty axis", lambda c: 0 in axis_sizes(c)),
    Feature("six axes or more", lambda c: any(len(term) >= 6 for term in _bind(c).operands)),
    Feature("long axis", lambda c: max(axis_sizes(c), default=0) >= LONG_AXIS),
    Feature("mixed dtypes", lambda c: c.operand_dtypes is not None and len(set(c.operand_dtypes)) > 1),
    Feature("dtype asked for", lambda c: c.asks_for_dtype),
    *MEMORY,
)
