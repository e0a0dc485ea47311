"""How wrong may correct attention be?  The error of each stage, carried through to the output.

Symbols (formats as `specs.arithmetic.precision` names them): scores t, shifted scores x = t - max, weights w, output O,
D the head_dim, N the number of keys a query sees.  The error r of an exponent comes from `specs.bound.score`, those of
projections and rotary positions from `specs.bound.projection`.

    output         rho = exp(r) - 1
                   |dO| <= sum_j w rho |v - O| / (1 - sum_j w rho)
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

from specs.arithmetic.double_double import rounded
from specs.arithmetic.formats import FLOAT16, FLOAT32, Array, Bools, DType, Float64
from specs.arithmetic.precision import Precision
from specs.bound.projection import entering, leaving
from specs.bound.rounding import DEVIATIONS, ROUNDING_DEVIATION, deviations
from specs.bound.score import Exponents, exponents
from specs.bound.stages import Stages, finite
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
        error, likely = _output_error(stages, U_REFERENCE[wide_reference(dtype)])
        independent = random and errors_average_out(precision)
        if independent:
            error = np.minimum(error, deviations(likely.deviation.size) * likely.deviation + likely.shared)
        error = np.where(np.isfinite(rounded(exact.output)) | np.isinf(error), error, 0.0)
    facts = {
        "terms": config.kv_len,
        "score_terms": config.head_dim,
        "form": FORMS[independent],
        "saturated": _saturated(stages),
    }
    found = Reference(dtype, exact.output, error, precision, facts)
    if not independent:
        return found
    deviation = np.where(likely.linear, likely.deviation, np.inf)
    return replace(
        found, deviation=deviation, shared=likely.shared, coherent=_coherent(stages), direction=likely.direction
    )


FORMS = {False: "any data", True: "random data"}


@dataclass(frozen=True)
class Likely:
    """The error of random data, in the case's layout.

    `linear` says where the deviation is that of a sum of small errors: where it reaches the output's own size, errors
    are not.  `direction` is the output's derivative by log(scale), without what an output projection makes of it.
    """

    deviation: Float64
    shared: Float64
    linear: Bools
    direction: Float64 | None


def _coherent(s: Stages) -> float:
    """Elements that one rounding may enter: of a query's scores all its features, of a key all queries, too."""
    c = s.config
    output = bool(c.projections and c.projections.output)
    size = rounded(s.exact.output).size
    if c.projections and s.precision.u_m:  # weights are rounded, once for all
        return float(size)
    rows = c.batch * c.q_len * (1 if output else c.num_heads)
    by_keys = bool(c.projections or c.rotary or s.precision.u_m)
    if by_keys:
        rows = c.batch * (1 if output else c.num_kv_heads)
    if c.bias_at == "products" and c.bias is not None:  # scaled once for the whole batch
        rows = max(rows // c.batch, 1)
    return size / max(rows, 1)


def _output_error(s: Stages, u_reference: float) -> tuple[Float64, Likely]:
    p, c = s.precision, s.config
    found = exponents(s)
    heads = weighted(s.weights, s.values)  # before a scale at the weights
    sizes = _value_sizes(s)
    magnitude = weighted(s.weights, sizes)
    error, total = _any_data(s, found, heads, magnitude)
    deviation, along = _random(s, found, heads)
    shared = max(p.u_s, 2 * p.u_a) * np.abs(along)
    cap = (_largest(sizes) + np.abs(heads)) * (1 + 64 * p.u_a + p.u_p + 2 * p.u_m)
    always = _flushed(s)
    linear: Bools = np.broadcast_to(np.asarray(deviation <= cap / DEVIATIONS), heads.shape)
    error, deviation = np.minimum(error + always, cap), np.minimum(deviation, cap / DEVIATIONS)
    shared = np.minimum(shared + always, cap)
    if (value := entering(s, "value")) is not None:
        wide = s.with_nothing(value.error)
        error = error + np.minimum(weighted(s.weights, wide) * (1 + total), _largest(wide))
        variance = weighted(s.weights**2, s.with_nothing(value.variance))
        deviation = np.sqrt(deviation**2 + variance)
    error, shared = (np.where(found.boundless | _vanishing(s), np.inf, x) for x in (error, shared))
    own = u_reference * (s.weights.shape[-1] + 64) * magnitude
    if c.scale_at == "weights":
        scale = abs(c.scale or 0.0)
        own = own + scale * (p.u_p + p.u_s + 2 * p.u_a) * magnitude
        error, deviation, shared, along = scale * error, scale * deviation, scale * shared, scale * along
    error, deviation, shared = leaving(s, error + own, deviation, shared + own)
    if c.projections and c.projections.output:
        of_tokens: Bools = np.asarray(linear.all(axis=(1, 3)))  # bq
        linear = of_tokens[0] if c.layout == "ds" else of_tokens[..., None]
        return error, Likely(deviation, shared, linear, None)
    return error, Likely(deviation, shared, to_layout(c, linear), to_layout(c, along))


def _saturated(s: Stages) -> float:
    """The share of queries that see several keys of which one has all the weight that float16 can tell."""
    several = s.allowed.sum(axis=-1) > 1
    largest = s.weights.max(axis=-1, initial=0.0)
    return float(np.mean(several & (largest > 1 - FLOAT16.unit_roundoff))) if several.size else 0.0


def errors_average_out(p: Precision) -> bool:
    """Not below float32, where sums stagnate, nor with truncation, which is biased."""
    return min(p.accumulate.precision, p.softmax.precision) >= FLOAT32.precision and not p.truncates


def _any_data(s: Stages, found: Exponents, heads: Float64, magnitude: Float64) -> tuple[Float64, Float64]:
    """The deterministic bound, and sum_j w rho."""
    p, relative = s.precision, s.config.relative
    rho = np.expm1(np.minimum(found.error, STAGNANT))
    total = (s.weights * rho).sum(axis=-1, keepdims=True)
    spread = np.maximum(weighted(s.weights, s.values**2) - heads**2, 0.0)
    cauchy_schwarz = np.sqrt((s.weights * rho**2).sum(axis=-1, keepdims=True) * spread)
    triangle = weighted(s.weights * rho, np.abs(s.values)) + total * np.abs(heads)
    from_scores = np.minimum(cauchy_schwarz, triangle) / np.maximum(1 - total, 1e-9)
    seen = _seen(s) + 2 * np.minimum(BLOCKS, _seen(s))  # a block holds one key at least
    narrow = p.u_x if p.u_x > p.u_a else 0.0
    sum_values = np.expm1(seen * np.log1p(p.u_a)) + p.u_p + 2 * p.u_m + narrow  # each quotient is rounded
    if relative is not None and relative.values:
        sum_values = sum_values + s.u_step + p.u_s  # values stored with positions, or sums added
    sum_weights = np.expm1(seen * np.log1p(p.u_x)) + 4 * p.u_a + narrow
    return from_scores + sum_values * magnitude * (1 + total) + sum_weights * np.abs(heads), total


def _random(s: Stages, found: Exponents, heads: Float64) -> tuple[Float64, Float64]:
    """The standard deviation of independent errors, and the derivative by log(scale).

    One relative error of the scale is shared by all scores: it moves the output along that.
    """
    p, relative = s.precision, s.relative("values")
    w2, o2 = s.weights**2, heads**2
    w2v2, parts = weighted(w2, _value_sizes(s) ** 2), o2
    if relative is not None:  # sums may be made of values and of positions, each apart
        of_values = weighted(s.weights, s.plain("value"))
        parts = o2 + of_values**2 + (heads - of_values) ** 2
    sum_w2 = w2.sum(axis=-1, keepdims=True)
    scored = w2 * found.variance
    from_scores = weighted(scored, s.values**2) - 2 * heads * weighted(scored, s.values)
    from_scores = np.maximum(from_scores + o2 * scored.sum(axis=-1, keepdims=True), 0.0)
    narrow = p.u_x if p.u_x > p.u_a else 0.0
    sums = (p.u_p**2 + 2 * p.u_m**2 + narrow**2) * w2v2 + p.u_a**2 * _seen(s) * (parts / 3 + w2v2 / 6)
    sums = sums + p.u_x**2 * _seen(s) * (o2 / 3 + o2 * sum_w2 / 6) + ((4 * p.u_a) ** 2 + narrow**2) * o2
    if relative is not None:
        sums = sums + s.u_step**2 * w2v2 + p.u_s**2 * parts
    from_query = 0.0 if found.query is None else _along_query(s, found.query.variance, found.slope, heads)
    capped = s.beside(np.where(s.exact.allowed, finite(s.exact.capped), 0.0), 0.0)
    along = weighted(s.weights * capped, s.values) - heads * (s.weights * capped).sum(axis=-1, keepdims=True)
    return np.sqrt(from_scores + from_query + ROUNDING_DEVIATION**2 * sums), along


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
    infinite = np.isinf(rounded(s.exact.values))
    small = (s.weights < 2 * s.precision.weights.tiny)[..., : s.config.kv_len] & s.exact.allowed
    if not infinite.any() or not small.any():
        return np.zeros((*small.shape[:-1], 1), bool)
    return np.asarray(weighted(small.astype(np.float64), infinite.astype(np.float64)) > 0)


def _largest(values: Float64) -> Float64:
    """max_j |v_j| per feature: a convex combination stays within it."""
    return np.max(np.abs(values), axis=-2, keepdims=values.ndim == 4, initial=0.0)
