"""The gradients of an attention with their bounds: values, largest errors, and for random data the likely ones.

Values are those of `specs.reference.attention_gradient`.  The largest errors are derived in `attention_gradient_error`,
from the forward computation in `attention_gradient_forward`; variances in `attention_gradient_variance`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from specs.arithmetic.double_double import rounded
from specs.arithmetic.formats import Array, DType
from specs.arithmetic.precision import Precision
from specs.bound.attention_gradient_error import Errors
from specs.bound.attention_gradient_variance import Likely, averages_out, likely_errors
from specs.bound.rounding import deviations
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
        plain = Gradients(**{name: rounded(step) for name, step in vars(steps).items()})
        errors = Errors(stages, plain, variable, U_REFERENCE[wide_reference(dtype)])
        largest, how = errors.of_operands(), "any data"
        likely: dict[str, Likely] = {}
        if random and averages_out(stages):
            likely, how = likely_errors(errors), "random data"
            typical = {
                name: deviations(each.deviation.size) * each.deviation + each.shared for name, each in likely.items()
            }
            largest = {n: np.where(np.isinf(x), x, np.minimum(x, typical[n])) for n, x in largest.items()}
    facts = {"terms": config.kv_len, "queries": config.q_len, "form": how}
    found = {
        name: Reference(dtype, value, largest[name], precision, facts | {"gradient_of": name})
        for name, value in values.items()
    }
    together = {name: each for name, each in likely.items() if each.coherent is not None}
    return found | {name: replace(found[name], **vars(each)) for name, each in together.items()}
