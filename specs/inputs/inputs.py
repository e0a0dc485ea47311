"""Operands of a case: the same bits for every backend, on every machine and with every version of NumPy.

Each operand has a stream of its own, keyed by a hash of the case's id and the operand's name, so adding a case or an
operand changes no other.  A float64 master array is made first and then rounded once to the dtype.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from specs.arithmetic.formats import DTYPES, Array, cast, dtype_name
from specs.case.case import Case
from specs.case.common import Recipe
from specs.case.einsum import EinsumConfig
from specs.case.equation import bind
from specs.case.operands import NON_DIFFERENTIABLE
from specs.case.shapes import attention_output_shape, einsum_shapes
from specs.inputs import attention, einsum, probes
from specs.inputs.attention import LITERAL
from specs.inputs.memory import in_memory
from specs.inputs.recipes import draw


@lru_cache(maxsize=16)  # a worker runs the checks of one case on one backend in a row
def operands(case: Case, dtype_name: str) -> Mapping[str, Array]:
    """Operand name → read-only array of the dtype, in the order of `specs.case.shapes`, in memory as the case says.

    Operands to which the case gives a dtype have that; masks of bool and kv_lengths keep their own.  Raises CaseError
    where data cannot be made as the case asks.
    """
    dtype, config = DTYPES[dtype_name], case.config
    if config.probe_design:
        made = {
            name: cast(values, dtype) for name, values in probes.designed(config, config.probe_design, dtype).items()
        }
    elif isinstance(config, EinsumConfig):
        made = einsum.operands(case, config, dtype)
    else:
        made = attention.operands(case, config, dtype)
    made = {name: in_memory(array, config.memory) for name, array in made.items()}
    for array in made.values():
        array.setflags(write=False)
    return made


@lru_cache(maxsize=16)
def cotangent(case: Case, dtype_name: str) -> Array:
    """What a vector-Jacobian product of a case is taken with: read-only, of the output's shape and the dtype.

    Random numbers whatever the operands hold, so that no term of a gradient is favoured; small integers where the
    operands are such, so that gradients of exact cases are exact too.
    """
    config, dtype = case.config, DTYPES[dtype_name]
    if isinstance(config, EinsumConfig):
        shape = bind(config.equation, list(einsum_shapes(config).values())).output_shape
    else:
        shape = attention_output_shape(config)
    recipe: Recipe = "integers" if config.data == "integers" else "normal"
    made = cast(draw(case, "cotangent", shape, dtype, recipe), dtype)
    made.setflags(write=False)
    return made


def differentiable(operands: Mapping[str, Array]) -> list[str]:
    """Names of the operands that have a gradient: those of floating or complex dtype, but for tables of constants."""
    varying = (name for name in operands if name not in NON_DIFFERENTIABLE)
    return [name for name in varying if DTYPES[dtype_name(operands[name].dtype)].inexact]


def random_terms(case: Case) -> bool:
    """Whether operands are independent random numbers, so that a bound may rely on rounding errors averaging out."""
    given = (getattr(case.config, name, None) for name in ("probe_design", "operands", *LITERAL))
    return all(each is None for each in given) and case.config.data in ("normal", "uniform")
