"""Propagates the uncertainties of the backward steps to the operands, linearly, as the gradients themselves propagate.

Symbols and the errors of each sum as in `specs.bound.attention_gradient_error`.  Terms that may be stored before they
are summed, as the products for one batch item or one pair, may underflow the dtype, each by its smallest number.
"""

from __future__ import annotations

import numpy as np

from specs.arithmetic.formats import Float64
from specs.arithmetic.precision import Precision
from specs.bound.attention_gradient_error import Errors
from specs.bound.rounding import errors_average_out, gamma, relative_variance, sum_variance
from specs.bound.stages import zero_nonfinite
from specs.bound.uncertainty import Uncertainty
from specs.case.attention import AttentionConfig
from specs.case.layout import to_layout
from specs.case.operands import terms_of
from specs.reference.attention_gradient import (
    Gradients,
    linear_parameter_gradients,
    map_steps,
    operand_gradients,
)

SHARED = ("key", "value", "input", "past_key", "past_value")  # operands whose heads may serve a group of query heads
OWN = ("relative_", "past_")  # operands that are not projected, though the case has projections
LARGEST_VARIANCE = 2.0**-6  # of a score's error, for which e^x is still nearly 1 + x


def propagate_to_operands(errors: Errors, random: bool) -> dict[str, Uncertainty]:
    """The uncertainty of each operand's gradient, by name; only its largest error unless data are random."""
    c, p, steps = errors.config, errors.precision, errors.steps
    heads = np.abs(zero_nonfinite(errors.stages.exact.heads))

    def propagate(parts: Gradients, heads: Float64, squared: bool = False) -> dict[str, Float64]:
        # The scale is a factor of the bias's gradient
        config = c.model_copy(update={"scale": c.score_scale**2}) if squared else c
        return operand_gradients(config, errors.magnitudes_by_name, heads, parts, sine_sign=1.0)

    largest = propagate(map_steps(lambda e: e.error, steps), heads)
    if "output_weight" in largest:
        e_O = to_layout(c, errors.e_O.error)
        largest |= linear_parameter_gradients(c, "output", np.abs(errors.d.output), e_O, bias=False)
    enlarged = map_steps(lambda x, e: np.abs(x) + e.error, errors.d, steps)
    magnitudes = propagate(enlarged, heads + errors.e_O.error)
    reference_factor = 1 + errors.u_reference / p.u_a  # the reference takes the same steps with its own unit roundoff
    bounds = {}
    for name, error in largest.items():
        terms, stores = _count_sums(errors, name)
        growth = gamma((terms, p.u_a), (2 if c.projections else 0, p.u_m), (stores, errors.u_stored))
        growth = growth + _group_growth(errors, name)
        underflow = terms * errors.stages.underflow if stores else 0.0
        error = reference_factor * (error + growth * magnitudes[name]) + underflow
        bounds[name] = Uncertainty(np.where(np.isnan(error), np.inf, error), shared=np.full(error.shape, underflow))
    if not random:
        return bounds
    variance, squares = (
        propagate(parts, np.zeros_like(heads), squared=True)
        for parts in (
            map_steps(lambda e: e.variance, steps),
            map_steps(np.square, errors.d),
        )
    )
    shared, value = (
        propagate(parts, np.zeros_like(heads)) for parts in (map_steps(lambda e: e.shared, steps), errors.d)
    )
    for name, e in bounds.items():
        terms, stores = _count_sums(errors, name)
        variance_of_sum = sum_variance(p.u_a, terms, value[name] ** 2, squares[name])
        variance_of_sum = variance_of_sum + relative_variance((stores, errors.u_stored)) * squares[name]
        bounds[name] = e.enlarge(0.0, variance[name], shared[name]).enlarge(0.0, variance_of_sum)
    return bounds


def are_roundings_independent(c: AttentionConfig, p: Precision) -> bool:
    """Whether errors average out, and no rounding enters many results."""
    return errors_average_out(p, p.accumulate, p.softmax) and not (c.projections or c.relative or c.rotary)


def correlated_elements(errors: Errors, name: str) -> float | None:
    """Number of elements of a gradient that share one rounding; None where variances are not valid.

    Errors shared along a query's row, above all that of delta, enter that query's gradient, and to a small part the
    gradients of all keys, which sum over the rows of all their queries.  Variances are not valid where operands are
    rounded first, so that one rounding enters all queries, nor where score errors are too large for the first order.
    """
    c, p = errors.config, errors.precision
    if p.u_m or np.max(errors.scores.r.variance, initial=0.0) > LARGEST_VARIANCE:
        return None
    rows = c.q_len * c.num_heads / c.num_kv_heads
    widths = {"query": c.head_dim, "mask": c.kv_len} | dict.fromkeys(terms_of(c), c.kv_len)
    widths |= dict.fromkeys(errors.d.parameters, 1)
    width = c.value_dim if name.endswith("value") else c.head_dim
    return float(widths[name]) if name in widths else width * (1 + 2 * c.kv_len / max(rows, 1))


def _group_growth(errors: Errors, name: str) -> float:
    """The relative error of gradients to which those of a group's heads are added one after the other."""
    c = errors.config
    is_shared = name.removesuffix("_weight").removesuffix("_bias") in SHARED
    return gamma((c.num_heads // c.num_kv_heads - 1, errors.precision.u_b)) if is_shared else 0.0


def _count_sums(errors: Errors, name: str) -> tuple[int, int]:
    """(terms summed, intermediates stored) between the backward steps and the gradient of one operand."""
    c = errors.config
    terms, stores = 0, 0
    operand = name.removesuffix("_weight").removesuffix("_bias")
    if operand in SHARED and c.num_heads > c.num_kv_heads:
        terms = terms + c.num_heads // c.num_kv_heads
    if operand in SHARED and c.relative:
        terms, stores = terms + c.q_len, stores + 2
    if name.startswith("relative_"):
        terms, stores = c.batch, 2 * (c.batch > 1) + (c.bias_at == "products")
    if name in errors.d.parameters:
        terms, stores = errors.d.parameters[name].size // c.num_heads, 2
    if c.rotary and operand in ("query", "key", "input"):
        terms, stores = terms + 2, stores + 3
    if name == "mask" or name in terms_of(c):
        terms = errors.d.scores.size // max(1, errors.magnitudes_by_name[name].size)
        stores = 2 * (terms > 1) + (name in c.scaled_terms)
    if c.projections and name not in (*terms_of(c), *errors.d.parameters, "mask") and not name.startswith(OWN):
        length = c.q_len if operand in ("query", "output") else c.kv_len
        tokens = c.batch * length * (c.num_heads if c.projections.shared else 1)
        features = max(c.head_dim, c.value_dim) * (c.num_heads if c.projections.kind == "linear" else 1)
        is_parameter = name != operand  # a weight or a bias
        terms, stores = terms + (tokens if is_parameter else features), stores + 2 + 3 * c.self_attention
    return terms, stores
