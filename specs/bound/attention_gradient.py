"""The gradients of attention with their error bounds: for any data, and probabilistic ones for random data.

Values come from `specs.reference.attention_gradient`.  The uncertainty of each backward step is derived in
`attention_gradient_error`, from that of the forward computation in `attention_gradient_forward`, and propagated to the
operands in `attention_gradient_operands`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from specs.arithmetic.double_double import to_float64
from specs.arithmetic.formats import Array, DType
from specs.arithmetic.precision import Precision
from specs.bound.attention_gradient_error import Errors
from specs.bound.attention_gradient_operands import (
    are_roundings_independent,
    correlated_elements,
    propagate_to_operands,
)
from specs.bound.rounding import FORMS
from specs.bound.stages import Stages
from specs.case.attention import AttentionConfig
from specs.case.visibility import allowed_keys
from specs.reference.attention import attention
from specs.reference.attention_gradient import (
    map_steps,
    operand_gradients,
    step_gradients,
)
from specs.reference.reference import Reference
from specs.reference.working_precision import U_REFERENCE, to_working_precision, uses_double_double


def references(
    config: AttentionConfig,
    dtype: DType,
    operands: Mapping[str, Array],
    cotangent: Array,
    precision: Precision,
    random: bool,
) -> dict[str, Reference]:
    """The reference gradient of each differentiable operand, by name, for operands and a cotangent of `dtype`.

    `random`: operands hold independent random numbers; the cotangent always does.
    """
    forward = attention(config, operands, dtype)
    tensors = {n: x if x.dtype in (np.bool_, np.int32) else to_working_precision(x, dtype) for n, x in operands.items()}
    variable = np.broadcast_to(allowed_keys(config, operands), forward.allowed.shape)
    steps = step_gradients(config, tensors, forward, variable, to_working_precision(cotangent, dtype))
    values = operand_gradients(config, tensors, forward.heads, steps)
    with np.errstate(all="ignore"):
        random = random and are_roundings_independent(config, precision)
        stages = Stages(config, operands, precision, forward, random)
        errors = Errors(stages, U_REFERENCE[uses_double_double(dtype)], map_steps(to_float64, steps), variable)
        bounds = propagate_to_operands(errors, random)
        largest = {name: e.random_data_limit() if random else e.error for name, e in bounds.items()}
    facts = {"terms": config.kv_len, "queries": config.q_len, "form": FORMS[random]}
    bounded = {
        name: Reference(dtype, value, largest[name], precision, facts | {"gradient_of": name})
        for name, value in values.items()
    }
    correlated = {name: correlated_elements(errors, name) for name in bounded} if random else {}
    return bounded | {
        name: replace(
            bounded[name],
            deviation=bounds[name].deviation,
            shared=bounds[name].shared,
            correlated_elements=elements,
        )
        for name, elements in correlated.items()
        if elements is not None
    }
