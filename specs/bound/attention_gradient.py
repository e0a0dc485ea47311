"""The gradients of an attention with their bounds: values, largest errors, and for random data the likely ones.

Values are those of `specs.reference.attention_gradient`.  How far each step may be off is derived in
`attention_gradient_error`, from the forward computation in `attention_gradient_forward`, and carried on to the operands
in `attention_gradient_operands`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from specs.arithmetic.double_double import to_float64
from specs.arithmetic.formats import Array, DType
from specs.arithmetic.precision import Precision
from specs.bound.attention import FORMS
from specs.bound.attention_gradient_error import Errors
from specs.bound.attention_gradient_operands import averages_out, coherent, uncertainties
from specs.bound.stages import Stages
from specs.case.attention import AttentionConfig
from specs.case.visibility import allowed_keys
from specs.reference.attention import attention
from specs.reference.attention_gradient import (
    Gradients,
    of_operands,
    of_steps,
)
from specs.reference.reference import Reference
from specs.reference.working_precision import U_REFERENCE, high
from specs.reference.working_precision import uses_double_double as wide_reference


def references(
    config: AttentionConfig,
    dtype: DType,
    operands: Mapping[str, Array],
    cotangent: Array,
    precision: Precision,
    random: bool,
) -> dict[str, Reference]:
    """Of the gradient of every operand that has one, for operands and a cotangent of `dtype`.

    `random` says that operands hold independent random numbers; the cotangent always does.
    """
    forward = attention(config, operands, dtype)
    given = {n: x if x.dtype in (np.bool_, np.int32) else high(x, dtype) for n, x in operands.items()}
    variable = np.broadcast_to(allowed_keys(config, operands), forward.allowed.shape)
    steps = of_steps(config, given, forward, variable, high(cotangent, dtype))
    values = of_operands(config, given, forward.heads, steps)
    with np.errstate(all="ignore"):
        stages = Stages(config, operands, precision, forward)
        plain = Gradients(**{name: to_float64(step) for name, step in vars(steps).items()})
        errors = Errors(stages, plain, variable, U_REFERENCE[wide_reference(dtype)])
        random = random and averages_out(stages)
        bounds = uncertainties(errors, random)
        largest = {name: e.of_random_data() if random else e.error for name, e in bounds.items()}
    facts = {"terms": config.kv_len, "queries": config.q_len, "form": FORMS[random]}
    found = {
        name: Reference(dtype, value, largest[name], precision, facts | {"gradient_of": name})
        for name, value in values.items()
    }
    groups = {name: coherent(errors, name) for name in found} if random else {}
    return found | {
        name: replace(found[name], deviation=bounds[name].deviation, shared=bounds[name].shared, coherent=group)
        for name, group in groups.items()
        if group is not None
    }
