"""How wrong may correct attention be?  The error of each stage, carried through to the output.

Symbols (formats as `specs.arithmetic.precision` names them): scores t, shifted scores x = t - max, weights w, output O,
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
narrower format than the accumulator (unfused attention) are what u_s stands for; a fused kernel declares
intermediate = accumulate and u_s is 0.  A sink is one more key, whose value is 0.

For random data rounding errors are independent, and D = 8 + ln(elements) / 1.5 standard deviations replace all this
(`specs.bound.rounding.deviations`):
    D sqrt(sum_j w^2 sigma^2 (v - O)^2           of each score's own error
         + |scale|^2 sum_d sigma_q^2 C_d^2       of the query, which all its scores share: C_d = dO / d(q_d scale)
                                                 = sum_j w t' k_jd (v_j - O), with t' the slope of a softcap
         + sum_j w^2 sigma_v^2 + ...)            of projected values, of sums
    + one shared relative error of the scale, which does not average out

Values that are not finite have exact results (`specs.reference.attention`), except that w * inf is NaN instead of
infinity where a weight may vanish in its format: there anything is right.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from specs.arithmetic.double_double import to_float64
from specs.arithmetic.formats import FLOAT16, FLOAT32, Array, Bools, DType, Float64
from specs.arithmetic.precision import Precision
from specs.bound.projection import entering, leaving
from specs.bound.rounding import DEVIATIONS, grown, scatter, sum_variance
from specs.bound.score import Exponents, exponents
from specs.bound.stages import Stages, finite
from specs.bound.uncertainty import Uncertainty
from specs.case.attention import AttentionConfig
from specs.case.layout import to_layout
from specs.reference.attention import attention, weighted
from specs.reference.reference import Reference
from specs.reference.working_precision import U_REFERENCE
from specs.reference.working_precision import uses_double_double as wide_reference

BLOCKS = 64  # rescalings of an online softmax that are allowed for
STAGNANT = 50.0  # an exponent error beyond this says nothing; exp must not overflow


def reference(
    config: AttentionConfig, dtype: DType, operands: Mapping[str, Array], precision: Precision, random: bool
) -> Reference:
    """Reference of a case on operands of `dtype`; raises CaseError where the configuration has no meaning.

    `random` says that operands hold independent random numbers.
    """
    exact = attention(config, operands, dtype)
    with np.errstate(all="ignore"):
        stages = Stages(config, operands, precision, exact)
        output = _output(stages, U_REFERENCE[wide_reference(dtype)])
        independent = random and errors_average_out(precision)
        error = output.e_O.of_random_data() if independent else output.e_O.error
        error = np.where(np.isfinite(to_float64(exact.output)) | np.isinf(error), error, 0.0)
    facts = {
        "terms": config.kv_len,
        "score_terms": config.head_dim,
        "form": FORMS[independent],
        "saturated": _saturated(stages),
    }
    found = Reference(dtype, exact.output, error, precision, facts)
    if not independent:
        return found
    deviation = np.where(output.linear, output.e_O.deviation, np.inf)
    return replace(
        found, deviation=deviation, shared=output.e_O.shared, coherent=_coherent(stages), direction=output.direction
    )


FORMS = {False: "any data", True: "random data"}


@dataclass(frozen=True)
class Output:
    """What is known of the output's error, in the case's layout.

    `linear` says where the deviation is that of a sum of small errors: where it reaches the output's own size, errors
    are not.  `direction` is the output's derivative by log(scale), without what an output projection makes of it.
    """

    e_O: Uncertainty
    linear: Bools
    direction: Float64 | None


def _coherent(s: Stages) -> float:
    """Elements that one rounding may enter: of a query's scores all its features, of a key all queries, too."""
    c = s.config
    output = bool(c.projections and c.projections.output)
    size = to_float64(s.exact.output).size
    if c.projections and s.precision.u_m:  # weights are rounded, once for all
        return float(size)
    rows = c.batch * c.q_len * (1 if output else c.num_heads)
    by_keys = bool(c.projections or c.rotary or s.precision.u_m)
    if by_keys:
        rows = c.batch * (1 if output else c.num_kv_heads)
    if c.bias_at == "products" and c.bias is not None:  # scaled once for the whole batch
        rows = max(rows // c.batch, 1)
    return size / max(rows, 1)


def _output(s: Stages, u_reference: float) -> Output:
    p, c = s.precision, s.config
    found = exponents(s)
    heads = weighted(s.weights, s.values)  # before a scale at the weights
    sizes = _value_sizes(s)
    magnitude = weighted(s.weights, sizes)
    rho = np.expm1(np.minimum(found.r.error, STAGNANT))
    total = (s.weights * rho).sum(axis=-1, keepdims=True)
    along = _along_scale(s, heads)
    from_scores = _from_scores(s, found, heads, rho, total).more(0.0, shared=max(p.u_s, 2 * p.u_a) * np.abs(along))
    e_O = _summed(s, from_scores, heads, magnitude, total)
    cap = (_largest(sizes) + np.abs(heads)) * (1 + 64 * p.u_a + p.u_p + 2 * p.u_m)
    always = _flushed(s)
    linear: Bools = np.broadcast_to(np.asarray(e_O.deviation <= cap / DEVIATIONS), heads.shape)
    e_O = e_O.more(always, shared=always).capped(cap, cap / DEVIATIONS)
    e_v = entering(s, "value").mapped(s.with_nothing)
    if not e_v.exact:
        carried = np.minimum(weighted(s.weights, e_v.error) * (1 + total), _largest(e_v.error))
        e_O = e_O.more(carried, weighted(s.weights**2, e_v.variance))
    no_limit = np.where(found.boundless | _vanishing(s), np.inf, 0.0)
    e_O = e_O.more(no_limit, shared=no_limit)
    own = u_reference * (s.weights.shape[-1] + 64) * magnitude
    if c.scale_at == "weights":
        scale = abs(c.scale or 0.0)
        own = own + scale * (p.u_p + p.u_s + 2 * p.u_a) * magnitude
        e_O, along = e_O.scaled(scale), scale * along
    e_O = leaving(s, e_O.more(own, shared=own))
    if c.projections and c.projections.output:
        of_tokens: Bools = np.asarray(linear.all(axis=(1, 3)))  # bq
        return Output(e_O, of_tokens[0] if c.layout == "ds" else of_tokens[..., None], None)
    return Output(e_O, to_layout(c, linear), to_layout(c, along))


def _saturated(s: Stages) -> float:
    """The share of queries that see several keys of which one has all the weight that float16 can tell."""
    several = s.allowed.sum(axis=-1) > 1
    largest = s.weights.max(axis=-1, initial=0.0)
    return float(np.mean(several & (largest > 1 - FLOAT16.unit_roundoff))) if several.size else 0.0


def errors_average_out(p: Precision) -> bool:
    """Not below float32, where sums stagnate, nor with truncation, which is biased."""
    return min(p.accumulate.precision, p.softmax.precision) >= FLOAT32.precision and not p.truncates


def _from_scores(s: Stages, found: Exponents, heads: Float64, rho: Float64, total: Float64) -> Uncertainty:
    """What the errors of the scores make of the output; `total` is sum_j w rho."""
    spread = np.maximum(weighted(s.weights, s.values**2) - heads**2, 0.0)
    cauchy_schwarz = np.sqrt((s.weights * rho**2).sum(axis=-1, keepdims=True) * spread)
    triangle = weighted(s.weights * rho, np.abs(s.values)) + total * np.abs(heads)
    scored = s.weights**2 * found.r.variance
    variance = weighted(scored, s.values**2) - 2 * heads * weighted(scored, s.values)
    variance = np.maximum(variance + heads**2 * scored.sum(axis=-1, keepdims=True), 0.0)
    if not (e_q := entering(s, "query")).exact:
        variance = variance + _along_query(s, e_q.variance, found.slope, heads)
    return Uncertainty(np.minimum(cauchy_schwarz, triangle) / np.maximum(1 - total, 1e-9), variance)


def _summed(s: Stages, e_O: Uncertainty, heads: Float64, magnitude: Float64, total: Float64) -> Uncertainty:
    """With the roundings of weights and of both sums; `magnitude` is sum w|v|, which errors of scores make larger."""
    p, relative = s.precision, s.relative("values")
    w2, o2 = s.weights**2, heads**2
    w2v2, parts = weighted(w2, _value_sizes(s) ** 2), o2
    seen = _seen(s)
    rescaled = seen + 2 * np.minimum(BLOCKS, seen)  # a block holds one key at least
    narrow = p.u_x if p.u_x > p.u_a else 0.0
    of_values = (1, p.u_p), (2, p.u_m), (1, narrow)
    of_weights = (1, 4 * p.u_a), (1, narrow)  # each quotient is rounded
    sum_values = grown(rescaled, p.u_a, *of_values)
    sum_weights = grown(rescaled, p.u_x, *of_weights)
    if relative is not None:  # values stored with positions, or both summed apart and added
        plain = weighted(s.weights, s.plain("value"))
        parts = o2 + plain**2 + (heads - plain) ** 2
        sum_values = sum_values + s.u_step + p.u_s
    sums = scatter(*of_values) * w2v2 + sum_variance(p.u_a, seen, parts, w2v2)
    sums = sums + sum_variance(p.u_x, seen, o2, o2 * w2.sum(axis=-1, keepdims=True)) + scatter(*of_weights) * o2
    if relative is not None:
        sums = sums + scatter((1, s.u_step)) * w2v2 + scatter((1, p.u_s)) * parts
    return e_O.more(sum_values * magnitude * (1 + total), sums).more(sum_weights * np.abs(heads))


def _along_scale(s: Stages, heads: Float64) -> Float64:
    """The derivative by log(scale), along which one relative error of it moves the output: all scores share that."""
    capped = s.beside(np.where(s.exact.allowed, finite(s.exact.capped), 0.0), 0.0)
    return weighted(s.weights * capped, s.values) - heads * (s.weights * capped).sum(axis=-1, keepdims=True)


def _along_query(s: Stages, variance: Float64, slope: Float64, heads: Float64) -> Float64:
    """What the variance of each query's features becomes in its output: bhqd."""
    keys = s.with_nothing(s.keys)
    out = np.zeros(heads.shape)
    for i in range(heads.shape[2]):  # one query at a time: all of them are a tensor bhqdd
        own_keys, values = (x if x.ndim == 4 else x[:, :, i] for x in (keys, s.values))
        along = (s.weights * slope)[:, :, i, :, None] * own_keys
        moved = along.swapaxes(-1, -2) @ values - along.sum(axis=-2)[..., None] * heads[:, :, i, None, :]
        out[:, :, i] = (variance[:, :, i, :, None] * moved**2).sum(axis=-2)
    return np.asarray(s.config.score_scale**2 * out)


def _value_sizes(s: Stages) -> Float64:
    """|v|; with relative values |v| + |a|, because their sum may be stored or each be weighted apart."""
    relative = s.relative("values")
    if relative is None:
        return np.abs(s.values)
    return np.asarray(np.abs(s.plain("value"))[:, :, None] + np.abs(relative))


def _seen(s: Stages) -> Float64:
    """How many keys each query sees: bhq1."""
    return np.asarray(s.allowed.sum(axis=-1, keepdims=True), np.float64)


def _flushed(s: Stages) -> Float64:
    """Weights too small for their format, and products below the accumulator's normal range."""
    p = s.precision
    lost = p.weights.tiny if p.flushes else p.weights.smallest
    small = ((s.weights < 2 * p.weights.tiny) & s.allowed).astype(np.float64)
    return weighted(small, np.abs(s.values)) * lost + _seen(s) * p.accumulate.tiny * _largest(s.values)


def _vanishing(s: Stages) -> Bools:
    """Where an infinite value meets a weight that its format may not hold: bhqd."""
    infinite = np.isinf(to_float64(s.exact.values))
    small = (s.weights < 2 * s.precision.weights.tiny)[..., : s.config.kv_len] & s.exact.allowed
    if not infinite.any() or not small.any():
        return np.zeros((*small.shape[:-1], 1), bool)
    return np.asarray(weighted(small.astype(np.float64), infinite.astype(np.float64)) > 0)


def _largest(values: Float64) -> Float64:
    """max_j |v_j| per feature: a convex combination stays within it."""
    return np.max(np.abs(values), axis=-2, keepdims=values.ndim == 4, initial=0.0)
