"""The forward error bound of attention: the error of each stage, propagated to the output.

Symbols (unit roundoffs as in `specs.arithmetic.precision`): scores t, shifted scores x = t - max, weights w, output O,
D the head_dim, N the number of keys a query sees.  The error r of an exponent comes from `specs.bound.score`, those of
projections and rotary positions from `specs.bound.projection`.

    output         rho = exp(r) - 1
                   e_O  <= sum_j w rho |v - O| / (1 - sum_j w rho)
                        <= min(triangle form, Cauchy-Schwarz form)                                  only matmuls
                        + [gamma((N + 2B) u_a) + u_p + 2 u_m] sum w|v|
                        + [gamma((N + 2B) u_x) + 4 u_a] |O| + flushed weights,  capped at max|v| + |O|
                        + sum_j w e_v (1 + sum_j w rho)                                             projected values

Subtracting the maximum cancels exactly, so naive, shifted and online softmax share this bound (Blanchard, Higham &
Higham 2021); B = min(64, N) allows for the rescaling of as many blocks of an online softmax.  Scores stored in a
narrower format than the accumulator (unfused attention) have the unit roundoff u_s; a fused kernel declares
intermediate = accumulate, so that u_s is 0.  A further logit, as a sink's, is one more key, whose value is 0.

For random data rounding errors are independent, and the bound is D = 8 + ln(elements) / 1.5 standard deviations
(`specs.bound.rounding.max_deviations`):
    D sqrt(sum_j w^2 sigma^2 (v - O)^2           of each score's own error
         + |scale|^2 sum_d sigma_q^2 C_d^2       of the query, shared by all its scores: C_d = dO / d(q_d scale)
                                                 = sum_j w t' k_jd (v_j - O), with t' the slope of functions
         + sum_j w^2 sigma_v^2 + ...)            of projected values, of sums
    + the relative error of the scale, which all scores share, so that it does not average out

Infinite and NaN values have exact results (`specs.reference.attention`), except where a weight may underflow to 0 and
w * inf is NaN instead of infinity: there is no bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from specs.arithmetic.double_double import to_float64
from specs.arithmetic.formats import FLOAT16, Array, Bools, DType, Float64
from specs.arithmetic.precision import Precision
from specs.bound.projection import input_uncertainty, output_uncertainty
from specs.bound.rounding import (
    BLOCKS,
    DEVIATIONS,
    FORMS,
    elementwise_gamma,
    errors_average_out,
    relative_variance,
    sum_variance,
)
from specs.bound.score import Exponents, bound_exponents
from specs.bound.stages import Stages
from specs.bound.uncertainty import Uncertainty
from specs.case.attention import AttentionConfig
from specs.case.common import RESULT
from specs.case.layout import to_layout
from specs.reference.attention import attention, weighted_sum
from specs.reference.reference import Reference
from specs.reference.working_precision import U_REFERENCE, uses_double_double

STAGNANT = 50.0  # cap of the exponent error, so that exp does not overflow: a larger one gives no information


def references(
    config: AttentionConfig, dtype: DType, operands: Mapping[str, Array], precision: Precision, random: bool
) -> dict[str, Reference]:
    """References of a case's outputs, by label, on operands of `dtype`; raises CaseError for a config without meaning.

    `random`: operands hold independent random numbers.
    """
    independent = random and errors_average_out(precision, precision.accumulate, precision.softmax)
    stages = Stages(config, operands, precision, attention(config, operands, dtype), independent)
    return {RESULT: _result(stages, dtype)}


def _result(stages: Stages, dtype: DType) -> Reference:
    config, precision, exact, independent = stages.config, stages.precision, stages.exact, stages.random
    with np.errstate(all="ignore"):
        output = _output(stages, U_REFERENCE[uses_double_double(dtype)])
        error = output.e_O.random_data_limit() if independent else output.e_O.error
        error = np.where(np.isfinite(to_float64(exact.output)) | np.isinf(error), error, 0.0)
    facts = {
        "terms": config.kv_len,
        "score_terms": config.head_dim,
        "form": FORMS[independent],
        "saturated": _saturated(stages),
    }
    bounded = Reference(dtype, exact.output, error, precision, facts)
    if not independent:
        return bounded
    deviation = np.where(output.linear, output.e_O.deviation, np.inf)
    return replace(
        bounded,
        deviation=deviation,
        shared=output.e_O.shared,
        correlated_elements=_correlated_elements(stages),
        direction=output.direction,
    )


@dataclass(frozen=True)
class Output:
    """The uncertainty of the output, in the case's layout.

    `linear` is where the first-order variance is valid; it is not where the deviation is as large as the output itself.
    `direction` is the output's derivative by log(scale); None behind an output projection, and unless data are random.
    """

    e_O: Uncertainty
    linear: Bools
    direction: Float64 | None


def _correlated_elements(s: Stages) -> float:
    """Number of output elements that share one rounding: features share a query's scores, queries share the keys."""
    c = s.config
    output = bool(c.projections and c.projections.output)
    size = to_float64(s.exact.output).size
    if c.projections and s.precision.u_m:  # every output element shares the rounded weights
        return float(size)
    rows = c.batch * c.q_len * (1 if output else c.num_heads)
    by_keys = bool(c.projections or c.rotary or s.precision.u_m)
    if by_keys:
        rows = c.batch * (1 if output else c.num_kv_heads)
    if c.bias_at == "products" and c.bias is not None:  # the scaled bias is shared by the batch
        rows = max(rows // c.batch, 1)
    return size / max(rows, 1)


def _output(s: Stages, u_reference: float) -> Output:
    p, c = s.precision, s.config
    errors = bound_exponents(s)
    heads = weighted_sum(s.weights, s.values)  # before a scale at the weights
    magnitudes = _value_magnitudes(s)
    magnitude = weighted_sum(s.weights, magnitudes)
    rho = np.expm1(np.minimum(errors.r.error, STAGNANT))
    rho_sum = (s.weights * rho).sum(axis=-1, keepdims=True)
    from_scores = _propagate_scores(s, errors, heads, rho, rho_sum)
    scale_derivative = _scale_derivative(s, heads) if s.random else None
    if scale_derivative is not None:
        from_scores = from_scores.enlarge(0.0, shared=s.scale_error * np.abs(scale_derivative))
    e_O = _add_sums(s, from_scores, heads, magnitude, rho_sum)
    cap = (_max_magnitude(magnitudes) + np.abs(heads)) * (1 + 64 * p.u_a + p.u_p + 2 * p.u_m)
    underflow = _underflow(s)
    linear: Bools = np.broadcast_to(np.asarray(e_O.deviation <= cap / DEVIATIONS), heads.shape)
    e_O = e_O.enlarge(underflow, shared=underflow).clip(cap, cap / DEVIATIONS)
    e_v = input_uncertainty(s, "value").map(s.append_zero_rows)
    if not e_v.is_exact:
        from_values = np.minimum(weighted_sum(s.weights, e_v.error) * (1 + rho_sum), _max_magnitude(e_v.error))
        e_O = e_O.enlarge(from_values, weighted_sum(s.weights**2, e_v.variance))
    unlimited = np.where(errors.unbounded | _may_meet_zero_weight(s), np.inf, 0.0)
    e_O = e_O.enlarge(unlimited, shared=unlimited)
    reference_error = u_reference * (s.weights.shape[-1] + 64) * magnitude
    if c.scale_at == "weights":
        scale = abs(c.scale or 0.0)
        reference_error = reference_error + scale * (p.u_p + p.u_s + 2 * p.u_a) * magnitude
        e_O = e_O.scale_by(scale)
        scale_derivative = None if scale_derivative is None else scale * scale_derivative
    e_O = output_uncertainty(s, e_O.enlarge(reference_error, shared=reference_error))
    if c.projections and c.projections.output:
        token_linear: Bools = np.asarray(linear.all(axis=(1, 3)))  # bq
        return Output(e_O, token_linear[0] if c.layout == "ds" else token_linear[..., None], None)
    direction = None if scale_derivative is None else to_layout(c, scale_derivative)
    return Output(e_O, to_layout(c, linear), direction)


def _saturated(s: Stages) -> float:
    """The share of queries that see several keys but give one of them a weight that float16 cannot tell from 1."""
    several = s.allowed.sum(axis=-1) > 1
    largest = s.weights.max(axis=-1, initial=0.0)
    saturated = several & (largest > 1 - FLOAT16.unit_roundoff)
    return float(np.count_nonzero(saturated) / saturated.size) if saturated.size else 0.0


def _propagate_scores(s: Stages, errors: Exponents, heads: Float64, rho: Float64, rho_sum: Float64) -> Uncertainty:
    """The uncertainty of the output from that of the scores; `rho_sum` is sum_j w rho."""
    spread = np.maximum(weighted_sum(s.weights, s.values**2) - heads**2, 0.0)
    cauchy_schwarz = np.sqrt((s.weights * rho**2).sum(axis=-1, keepdims=True) * spread)
    triangle = weighted_sum(s.weights * rho, np.abs(s.values)) + rho_sum * np.abs(heads)
    error = np.minimum(cauchy_schwarz, triangle) / np.maximum(1 - rho_sum, 1e-9)
    if not s.random:
        return Uncertainty(error)
    weighted_variance = s.weights**2 * errors.r.variance
    variance = weighted_sum(weighted_variance, s.values**2) - 2 * heads * weighted_sum(weighted_variance, s.values)
    variance = np.maximum(variance + heads**2 * weighted_variance.sum(axis=-1, keepdims=True), 0.0)
    if not (e_q := input_uncertainty(s, "query")).is_exact:
        variance = variance + _query_variance(s, e_q.variance, errors.slope, heads)
    return Uncertainty(error, variance)


def _add_sums(s: Stages, e_O: Uncertainty, heads: Float64, magnitude: Float64, rho_sum: Float64) -> Uncertainty:
    """Add the roundings of the weights and of both sums; `magnitude` is sum w|v|, which errors of scores enlarge."""
    p, relative, keys = s.precision, s.relative("values"), _allowed_count(s)
    rescaled = keys + 2 * np.minimum(BLOCKS, keys)  # a block has at least one key
    u_narrow = p.u_x if p.u_x > p.u_a else 0.0
    value_roundings = (1, p.u_p), (2, p.u_m), (1, u_narrow)
    weight_roundings = (1, 4 * p.u_a), (1, u_narrow)  # each quotient is rounded
    sum_values = elementwise_gamma(rescaled, p.u_a, *value_roundings)
    sum_weights = elementwise_gamma(rescaled, p.u_x, *weight_roundings)
    if relative is not None:  # value + position is stored, or both are summed separately and added
        sum_values = sum_values + s.u_step + p.u_s
    e_O = e_O.enlarge(sum_values * magnitude * (1 + rho_sum)).enlarge(sum_weights * np.abs(heads))
    if not s.random:
        return e_O
    w2, o2 = s.weights**2, heads**2
    w2v2, parts = weighted_sum(w2, _value_magnitudes(s) ** 2), o2
    if relative is not None:
        without_positions = weighted_sum(s.weights, s.without_positions("value"))
        parts = o2 + without_positions**2 + (heads - without_positions) ** 2
    sums = relative_variance(*value_roundings) * w2v2 + sum_variance(p.u_a, keys, parts, w2v2)
    sums = sums + sum_variance(p.u_x, keys, o2, o2 * w2.sum(axis=-1, keepdims=True))
    sums = sums + relative_variance(*weight_roundings) * o2
    if relative is not None:
        sums = sums + relative_variance((1, s.u_step)) * w2v2 + relative_variance((1, p.u_s)) * parts
    return e_O.enlarge(0.0, sums)


def _scale_derivative(s: Stages, heads: Float64) -> Float64:
    """The derivative of the output by log(scale): the direction of the scale's error, which all scores share."""
    scores = s.append_logits(np.where(s.exact.allowed, s.modified, 0.0), 0.0)
    return weighted_sum(s.weights * scores, s.values) - heads * (s.weights * scores).sum(axis=-1, keepdims=True)


def _query_variance(s: Stages, variance: Float64, slope: Float64, heads: Float64) -> Float64:
    """The variance of the output from that of the query's features: bhqd."""
    keys = s.append_zero_rows(s.keys)
    out = np.zeros(heads.shape)
    for i in range(heads.shape[2]):  # one query at a time: together they would be a tensor bhqdd
        own_keys, values = (x if x.ndim == 4 else x[:, :, i] for x in (keys, s.values))
        weighted_keys = (s.weights * slope)[:, :, i, :, None] * own_keys
        derivative = (
            weighted_keys.swapaxes(-1, -2) @ values - weighted_keys.sum(axis=-2)[..., None] * heads[:, :, i, None, :]
        )
        out[:, :, i] = (variance[:, :, i, :, None] * derivative**2).sum(axis=-2)
    return np.asarray(s.config.score_scale**2 * out)


def _value_magnitudes(s: Stages) -> Float64:
    """|v|; with relative values |v| + |a|, because their sum may be stored, or each be weighted separately."""
    relative = s.relative("values")
    if relative is None:
        return np.abs(s.values)
    return np.asarray(np.abs(s.without_positions("value"))[:, :, None] + np.abs(relative))


def _allowed_count(s: Stages) -> Float64:
    """Number of keys that each query sees: bhq1."""
    return np.asarray(s.allowed.sum(axis=-1, keepdims=True), np.float64)


def _underflow(s: Stages) -> Float64:
    """The loss from weights that underflow their format, and from products that underflow the accumulator."""
    p = s.precision
    threshold = p.weights.tiny if p.flushes else p.weights.smallest
    small = ((s.weights < 2 * p.weights.tiny) & s.allowed).astype(np.float64)
    flushed = weighted_sum(small, np.abs(s.values)) * threshold
    return flushed + _allowed_count(s) * p.accumulate.tiny * _max_magnitude(s.values)


def _may_meet_zero_weight(s: Stages) -> Bools:
    """Where an infinite value has a weight that may underflow: bhqd."""
    infinite = np.isinf(to_float64(s.exact.values))
    if not infinite.any():
        return np.zeros((*s.exact.allowed.shape[:-1], 1), bool)
    small = (s.weights < 2 * s.precision.weights.tiny)[..., : s.config.kv_len] & s.exact.allowed
    return np.asarray(weighted_sum(small.astype(np.float64), infinite.astype(np.float64)) > 0)


def _max_magnitude(values: Float64) -> Float64:
    """max_j |v_j| per feature: a convex combination stays within it."""
    return np.max(np.abs(values), axis=-2, keepdims=values.ndim == 4, initial=0.0)
