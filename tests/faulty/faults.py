"""All faults, in the order of their files."""

from tests.faulty import (
    attention_formula_faults,
    attention_head_faults,
    block_faults,
    block_gradient_faults,
    dtype_faults,
    einsum_faults,
    gradient_faults,
    layout_faults,
    mask_faults,
    narrow_gradient_faults,
    position_faults,
    precision_faults,
    score_faults,
    state_faults,
)
from tests.faulty.fault import FAULTS

__all__ = [
    "FAULTS",
    "attention_formula_faults",
    "attention_head_faults",
    "block_faults",
    "block_gradient_faults",
    "dtype_faults",
    "einsum_faults",
    "gradient_faults",
    "layout_faults",
    "mask_faults",
    "narrow_gradient_faults",
    "position_faults",
    "precision_faults",
    "score_faults",
    "state_faults",
]
