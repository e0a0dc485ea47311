"""Operands of a case: the same bits for every backend, on every machine and with every version of NumPy.

Each operand has its own random stream, keyed by a hash of the case's id and the operand's name, so adding a case or an
operand changes no other.  A float64 master array is drawn and rounded once to the dtype.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from specs.arithmetic.formats import DTYPES, Array, cast, dtype_name
from specs.case.attention import AttentionConfig
from specs.case.case import Case
from specs.case.common import COTANGENT, Recipe
from specs.case.einsum import EinsumConfig
from specs.case.equation import bind
from specs.case.operands import LITERAL, NON_DIFFERENTIABLE
from specs.case.shapes import attention_output_shape, einsum_shapes
from specs.inputs import attention, einsum, pairs, probes
from specs.inputs.memory import lay_out, lay_out_all
from specs.inputs.recipes import draw


@lru_cache(maxsize=16)  # a worker runs the checks of one case on one backend in a row
def operands(case: Case, dtype_name: str) -> Mapping[str, Array]:
    """Operand name → read-only array, in the order of `specs.case.shapes`, with the memory layout of the case.

    Arrays have the dtype, or the operand's own where the case has one; bool masks and kv_lengths keep theirs.  Raises
    CaseError where the case's data cannot be generated.
    """
    dtype, config = DTYPES[dtype_name], case.config
    if config.probe_design:
        arrays = {
            name: cast(values, dtype) for name, values in probes.designed(config, config.probe_design, dtype).items()
        }
    elif isinstance(config, EinsumConfig):
        arrays = einsum.operands(case, config, dtype)
    else:
        arrays = attention.operands(case, config, dtype)
    arrays = lay_out_all(config, arrays)
    for array in arrays.values():
        array.setflags(write=False)
    return arrays


@lru_cache(maxsize=16)
def cotangent(case: Case, dtype_name: str) -> Array:
    """The cotangent of the case's vector-Jacobian product: read-only, of the output's shape and the dtype.

    Random numbers whatever the operands hold, so that no term of a gradient dominates; small integers where the
    operands are small integers, so that gradients of exact cases are exact too.
    """
    config, dtype = case.config, DTYPES[dtype_name]
    if isinstance(config, EinsumConfig):
        shape = bind(config.equation, list(einsum_shapes(config).values())).output_shape
    else:
        shape = attention_output_shape(config)
    if isinstance(config, AttentionConfig) and config.data == "pairs":
        values: Array = pairs.cotangent(case.rng_key, config, dtype)
    else:
        recipe: Recipe = "integers" if config.data == "integers" else "normal"
        values = draw(case, COTANGENT, shape, dtype, recipe)
    array = lay_out(cast(values, dtype), config.memory_of(COTANGENT))
    array.setflags(write=False)
    return array


def differentiable(operands: Mapping[str, Array]) -> list[str]:
    """Names of the operands that have a gradient: floating or complex, except tables of constants."""
    varying = (name for name in operands if name not in NON_DIFFERENTIABLE)
    return [name for name in varying if DTYPES[dtype_name(operands[name].dtype)].inexact]


def has_random_terms(case: Case) -> bool:
    """Whether operands are independent random numbers, so that a bound may assume independent rounding errors."""
    if not case.config.memory_kinds.isdisjoint(("broadcast", "shared")):
        return False
    literals = (getattr(case.config, name, None) for name in ("probe_design", "operands", *LITERAL))
    return all(literal is None for literal in literals) and case.config.data in ("normal", "uniform")
