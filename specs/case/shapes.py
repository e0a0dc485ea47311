"""Names and shapes of a case's operands, in the order in which every backend receives them."""

from __future__ import annotations

from specs.case.attention import AttentionConfig
from specs.case.common import Numbers
from specs.case.einsum import EinsumConfig
from specs.case.equation import Shape, shapes_from_sizes
from specs.case.error import CaseError
from specs.case.operands import in_layout, operands_of


def attention_shapes(config: AttentionConfig) -> dict[str, Shape]:
    """Operand name → shape, from the table in `specs.case.operands`."""
    return {operand.name: shape for operand, shape in operands_of(config).items()}


def attention_output_shape(config: AttentionConfig) -> Shape:
    """Shape of the result, in the case's layout."""
    return in_layout(config, config.q_len, config.num_heads, config.value_dim)


def einsum_shapes(config: EinsumConfig) -> dict[str, Shape]:
    """`operand_0`, `operand_1` … → shape, from whichever of shapes, sizes and literal operands the case has.

    Raises CaseError if sizes do not fit the equation or a literal operand is ragged.
    """
    if config.shapes is not None:
        shapes = [tuple(shape) for shape in config.shapes]
    elif config.sizes is not None:
        shapes = shapes_from_sizes(config.equation, config.sizes)
    else:
        shapes = [literal_shape(operand) for operand in config.operands or []]
    return {f"operand_{i}": shape for i, shape in enumerate(shapes)}


def literal_shape(literal: Numbers) -> Shape:
    """Shape of nested lists; raises CaseError if they are ragged."""
    if not isinstance(literal, list):
        return ()
    inner = {literal_shape(item) for item in literal}
    if len(inner) > 1:
        raise CaseError("shape_mismatch", "a literal operand is ragged: its rows differ in length")
    return (len(literal), *(inner.pop() if inner else ()))
