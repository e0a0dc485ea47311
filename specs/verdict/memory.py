"""How much memory a check needs, estimated from its shapes before anything is allocated.

Counted are the elements of operands and result, and of the largest array between them: the scores of attention, or a
product of operands.  Of each the suite and a backend hold copies, magnitudes and errors at the same time; how many
bytes that makes was measured with `tracemalloc` (matrix products, sums, outer products, attention; both directions),
and the estimate is between the measured peak and about three times as much.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import combinations

from specs.arithmetic.formats import DTYPES
from specs.case.attention import AttentionConfig
from specs.case.case import Case
from specs.case.einsum import EinsumConfig
from specs.case.equation import Contraction, bind
from specs.case.error import CaseError
from specs.case.shapes import attention_output_shape, attention_shapes, einsum_shapes
from specs.reference.contraction import largest_product
from specs.verdict.check import Check

EXACT_BYTES = 16  # of an element of integers or booleans
INEXACT_BYTES = 160
DOUBLE_ATTENTION_BYTES = 640  # its elementary functions have many steps in double-double
GROUP_BYTES = 24  # of an element of an intermediate of which only the largest is looked for
GIB = 2.0**30


def describe_excess(check: Check, limit: float | None) -> str | None:
    """Why a check needs more than `limit` GiB; None if it does not, or there is no limit."""
    if limit is None or (needed := min(estimate(check), 10**300) / GIB) <= limit:
        return None
    return f"needs {needed:.3g} GiB, and --max-memory is {limit:g} GiB"


def estimate(check: Check) -> int:
    """Bytes that a check needs at once."""
    dtype, config = DTYPES[check.dtype], check.case.config
    elements = _count_elements(check.case)
    if not dtype.inexact:
        return EXACT_BYTES * elements
    if isinstance(config, AttentionConfig):
        return elements * (DOUBLE_ATTENTION_BYTES if check.dtype == "float64" else INEXACT_BYTES)
    # Where intermediates can overflow, the bound looks at the product of each group of operands that labels connect
    groups = _largest_group(check.case) if check.dtype == "float16" or config.operand_count > 4 else 0
    return INEXACT_BYTES * elements + GROUP_BYTES * groups


@lru_cache(maxsize=256)  # the checks of a case are looked at in a row
def _count_elements(case: Case) -> int:
    config = case.config
    if isinstance(config, AttentionConfig):
        scores = config.batch * config.num_heads * config.q_len * config.kv_len
        shapes = [*attention_shapes(config).values(), attention_output_shape(config)]
        return scores + sum(map(math.prod, shapes))
    try:
        operands = sum(map(math.prod, einsum_shapes(config).values()))
    except CaseError:  # sizes that do not fit the equation
        return 0
    if (contraction := _contraction(config)) is None:
        return operands
    return operands + math.prod(contraction.output_shape) + largest_product(contraction)


@lru_cache(maxsize=256)
def _largest_group(case: Case) -> int:
    """Elements of the largest product of operands that labels connect, less the labels that nothing else has."""
    assert isinstance(case.config, EinsumConfig)
    contraction = _contraction(case.config)
    if contraction is None:
        return 0
    terms, largest = contraction.operands, 0
    for size in range(2, len(terms)):
        for group in combinations(range(len(terms)), size):
            if len(Contraction(tuple(terms[i] for i in group), (), {}).components()) > 1:
                continue
            rest = {label for i, term in enumerate(terms) if i not in group for label in term}
            kept = {label for i in group for label in terms[i] if label in rest or label in contraction.output}
            largest = max(largest, math.prod(contraction.sizes[label] for label in kept))
    return largest


def _contraction(config: EinsumConfig) -> Contraction | None:
    """None for a case that every backend must refuse."""
    try:
        return bind(config.equation, list(einsum_shapes(config).values()))
    except CaseError:
        return None
