"""The operands of an einsum case, before they get their memory layout."""

from __future__ import annotations

import numpy as np

from specs.arithmetic.formats import DTYPES, Array, DType, cast
from specs.case.case import Case
from specs.case.common import Numbers
from specs.case.einsum import EinsumConfig
from specs.case.equation import bind
from specs.case.error import CaseError
from specs.case.shapes import einsum_shapes
from specs.inputs import designed
from specs.inputs.recipes import draw


def operands(case: Case, config: EinsumConfig, dtype: DType) -> dict[str, Array]:
    """Operand name → array of the dtype, or of the operand's own dtype where the case has one."""
    shapes = einsum_shapes(config)
    own = [DTYPES[name] for name in config.operand_dtypes] if config.operand_dtypes else [dtype] * len(shapes)
    dtypes = dict(zip(shapes, own, strict=True))
    if config.operands is not None:
        literals = zip(dtypes.items(), config.operands, strict=True)
        return {name: cast(_literal(literal, own), own) for (name, own), literal in literals}
    if config.data == "exact":
        return {name: cast(master, dtype) for name, master in designed.exact(case, dtype).items()}
    masters = {name: draw(case, name, shape, dtypes[name]) for name, shape in shapes.items()}
    if config.data == "cancelling" and all(own.inexact for own in dtypes.values()):
        masters = {name: master.copy() for name, master in masters.items()}
        _cancel(config.equation, masters)
    return {name: cast(master, dtypes[name]) for name, master in masters.items()}


def _literal(literal: Numbers, dtype: DType) -> Array:
    """The literal as an array; a 64-bit integer keeps its digits where NumPy would choose float64 for mixed ones."""
    array = np.array(literal)
    if dtype.kind == "integer" and array.dtype.kind == "f" and array.size:
        modulo = [int(number) % 2**64 for number in np.array(literal, object).flat]
        return np.array(modulo, np.uint64).reshape(array.shape)
    return array


def _cancel(equation: str, masters: dict[str, Array]) -> None:
    """Along one summed label the second half of the terms is the negated first half, off by one part in 64."""
    try:
        contraction = bind(equation, [master.shape for master in masters.values()])
    except CaseError:
        return  # an invalid case, whose values are never used
    label = max(contraction.summed_labels, key=contraction.sizes.__getitem__, default=None)
    if label is None or contraction.sizes[label] < 2:
        raise CaseError("syntax", f"cancelling data needs a summed label of size 2 or more in {equation!r}")
    half = contraction.sizes[label] // 2
    sign = -1.0 - 2.0**-6
    for term, name in zip(contraction.operands, masters, strict=True):
        if label in term and masters[name].shape[axis := term.index(label)] > 1:
            along = np.moveaxis(masters[name], axis, 0)  # a view: changes the master
            along[half : 2 * half] = sign * along[:half]
            sign = 1.0  # only the first operand that has the label is negated
