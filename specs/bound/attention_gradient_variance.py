"""How far the gradients of attention on random data stray: variances in place of the largest errors, step by step.

Symbols as in `specs.bound.attention_gradient_error`; s_X^2 is the variance of X's error, and one rounding has a
standard deviation of u / 2.  Roundings of different elements are independent, so that where largest errors add,
variances do:

    weights   s_P^2     = P^2 [s_x^2 + sum P^2 s_x^2 + (u_x^2 (N + 16) + 4 u_p^2 + 4 u_a^2 lse^2) / 4],  s_x of scores
    dP        s_dP^2    = [u_a^2 (D_v (dP^2 / 3 + T / 6) + 2 T) + 2 u_m^2 T + u_s^2 dP^2] / 4,  T = sum dO^2 V^2
    delta     s_delta^2 = sum s_P^2 dP^2 + the larger of what the two published forms add
    dS        s_dS^2    = s_P^2 (dP - delta)^2 + P^2 (s_dP^2 + s_delta^2) + (9 u_x^2 + 2 u_s^2) P^2 (dP^2 + delta^2) / 4
    products  s_dQ^2    = scale^2 [s_dB^2 K^2 + (u_p^2 + 9 stored^2 + 2 u_m^2) dB^2 K^2 / 4 + u_a^2 N (...) / 4]

A sum of n terms adds u_a^2 n (y^2 / 3 + T / 6) / 4: partial sums grow like a random walk that ends in y.  Two errors
do not average out.  A row shares its error of delta: s_dQ^2 gains s_delta^2 (scale sum_j P_j k_j)^2.  All scores share
one relative error of the scale, max(u_s, 2 u_a), which moves every result along its derivative by log(scale).

Valid without projections, rotary and relative positions, in which one rounding enters many results, and not below
float32, where sums stagnate.  Source: Higham & Mary 2019.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from specs.arithmetic.double_double import rounded
from specs.arithmetic.formats import Float64
from specs.bound.attention import errors_average_out
from specs.bound.attention_gradient_error import Errors
from specs.bound.rounding import ROUNDING_DEVIATION
from specs.bound.score import TANH_ULPS, before_softcap
from specs.bound.stages import Stages
from specs.reference.attention import products, weighted
from specs.reference.attention_gradient import Gradients, of_operands, over_queries, softcap_slope

ROUNDING = ROUNDING_DEVIATION**2
LARGEST_VARIANCE = 2.0**-6  # of a score's error: e^x is no longer 1 + x


def averages_out(stages: Stages) -> bool:
    """Whether the roundings of these gradients are independent."""
    c = stages.config
    return errors_average_out(stages.precision) and not (c.projections or c.relative or c.rotary)


@dataclass(frozen=True)
class Likely:
    """The error of one gradient: its standard deviation, what does not average out, and how many share a rounding.

    None for `coherent`: so many that it is not known.
    """

    deviation: Float64
    shared: Float64
    coherent: float | None


def likely_errors(errors: Errors) -> dict[str, Likely]:
    """Of every operand that has a gradient."""
    c, p = errors.config, errors.precision
    variances, shared = of_steps(errors)
    squares = Gradients(**{name: step**2 for name, step in vars(errors.d).items()})
    none = np.zeros_like(errors.d.heads)
    found = {}
    spread, along, terms, values = (
        of_operands(c, errors.sizes, none, steps) for steps in (variances, shared, squares, errors.d)
    )
    for name, variance in spread.items():
        count, stores = errors.sums(name)
        summed = p.u_a**2 * count * (values[name] ** 2 / 3 + terms[name] / 6)
        variance = variance + ROUNDING * (summed + stores * errors.stored**2 * terms[name])
        found[name] = Likely(np.sqrt(variance), along[name], coherent(errors, name))
    return found


def coherent(errors: Errors, name: str) -> float | None:
    """Elements of a gradient that one rounding may enter.

    All that a query's row has in common, its delta above all, enters that query's gradient, and a little of those of
    all keys, which sum over as many rows as there are queries for them.  None where operands are rounded beforehand, so
    that one rounding enters all queries, and where errors of scores are too large for variances of first order.
    """
    c, p = errors.config, errors.precision
    if p.u_m or np.max(errors.scores.r.variance, initial=0.0) > LARGEST_VARIANCE:
        return None
    rows = c.q_len * c.num_heads / c.num_kv_heads
    of = {"query": c.head_dim, "mask": c.kv_len, "bias": c.kv_len, "sink": 1}
    width = c.value_dim if name.endswith("value") else c.head_dim
    return float(of[name]) if name in of else width * (1 + 2 * c.kv_len / max(rows, 1))


def of_steps(errors: Errors) -> tuple[Gradients, Gradients]:
    """Variances of the gradients of all steps, and what they share of one relative error of the scale."""
    c, p, d, w = errors.config, errors.precision, errors.d, errors.weights
    scale, stored, u_x, exact = c.score_scale, errors.stored, errors.u_x, errors.stages.exact
    values, keys, query = errors.values, errors.keys, errors.query
    of_norm = _of_norm(errors)
    exponents = errors.scores.r.variance[..., : errors.config.kv_len]
    of_weights = np.where(exact.allowed, w**2 * (exponents + of_norm) + errors.flushed**2, 0.0)
    of_products = _of_products(errors)
    of_row = _of_row(errors, of_weights, of_products)
    centred = d.weights - d.row
    of_scores = of_weights * centred**2 + w**2 * (of_products + of_row)
    of_scores = of_scores + ROUNDING * (9 * u_x**2 + 2 * p.u_s**2) * w**2 * (d.weights**2 + d.row**2) + errors.lost**2
    of_scores = np.where(errors.variable, of_scores, 0.0)

    # Along log(scale), by which the derivative of a score is the score
    scores = np.where(exact.allowed, rounded(exact.capped), 0.0)
    mean = (w * scores).sum(axis=-1, keepdims=True)
    d_log, relative = w * (scores - mean), max(p.u_s, 2 * p.u_a)
    along_row = np.abs((d_log * d.weights).sum(axis=-1, keepdims=True))
    along = np.abs(d_log * centred) + w * along_row
    along = relative * np.where(errors.variable, along, 0.0)

    slope, of_biased, along_biased = np.ones_like(w), of_scores, along
    if c.softcap:
        slope = rounded(softcap_slope(c.softcap, exact))
        biased, variance = rounded(exact.biased), before_softcap(errors.stages).variance
        of_slope = (2 / c.softcap * slope) ** 2 * variance
        of_slope = of_slope + ROUNDING * ((2 * TANH_ULPS + 2) * p.u_a + 4 * p.u_s) ** 2
        of_biased = of_scores * slope**2 + d.scores**2 * of_slope
        of_biased = of_biased + ROUNDING * 3 * (p.u_a**2 + p.u_s**2) * d.biased**2 + errors.lost**2
        of_biased = np.where(errors.variable, of_biased, 0.0)
        steepest = np.where(errors.variable, np.abs(2 / c.softcap * biased) * slope, 0.0)
        along_biased = along * slope + relative * steepest * np.abs(d.scores)

    def summed(count: int, total: Float64, squares: Float64) -> Float64:
        growth = p.u_a**2 * count * (total**2 / 3 + squares / 6)
        return np.asarray(ROUNDING * (growth + (p.u_p**2 + 9 * stored**2 + 2 * p.u_m**2) * squares))

    ndim, values_ndim = keys.ndim, values.ndim
    of_query = scale**2 * weighted(of_biased, keys**2)
    of_query = of_query + summed(c.kv_len, d.query, scale**2 * weighted(d.biased**2, keys**2))
    of_query = of_query + of_row * (scale * weighted(w * slope, rounded(exact.keys))) ** 2
    of_keys = scale**2 * over_queries(of_biased, query**2, ndim)
    of_keys = of_keys + summed(c.q_len, d.keys, scale**2 * over_queries(d.biased**2, query**2, ndim))
    of_values = over_queries(of_weights, d.heads**2, values_ndim)
    of_values = of_values + summed(c.q_len, d.values, over_queries(w**2, d.heads**2, values_ndim))
    none = np.zeros_like(d.output)
    of_sink = errors.sink_weights**2 * (of_row + (errors.exponent_of_sink**2 + of_norm) * d.row**2)
    variances = Gradients(
        output=none,
        heads=d.heads,
        weights=of_products,
        row=of_row,
        scores=of_scores,
        sink=of_sink + errors.lost**2,
        biased=of_biased,
        query=of_query,
        keys=of_keys,
        values=of_values,
    )
    shared = Gradients(
        output=none,
        heads=d.heads,
        weights=d_log,
        row=along_row,
        scores=along,
        sink=relative * errors.sink_weights * (along_row + np.abs(mean * d.row)),
        biased=along_biased,
        query=scale * weighted(along_biased, keys) + relative * np.abs(d.query),
        keys=scale * over_queries(along_biased, query, ndim) + relative * np.abs(d.keys),
        values=relative * np.abs(over_queries(d_log, d.heads, values_ndim)),
    )
    return variances, shared


def _of_norm(errors: Errors) -> Float64:
    """Relative variance that all weights of a row have in common with each other or alike: bhq1."""
    p, w = errors.precision, errors.weights
    exponents = (w**2 * errors.scores.r.variance[..., : errors.config.kv_len]).sum(axis=-1, keepdims=True)
    exponents = exponents + errors.sink_weights**2 * errors.exponent_of_sink**2
    roundings = errors.u_x**2 * (errors.seen + 16) + 4 * p.u_p**2 + (2 * p.u_a * errors.lse) ** 2
    return np.asarray(exponents + ROUNDING * roundings)


def _of_products(errors: Errors) -> Float64:
    """s_dP^2: bhqk."""
    c, p, total = errors.config, errors.precision, errors.d.weights
    squares = products(errors.d.heads**2, errors.values**2)
    stored = p.u_s**2 * total**2 + (2 * p.u_m**2 + (c.scale_at == "weights") * errors.stored**2) * squares
    growth = p.u_a**2 * (c.value_dim * (total**2 / 3 + squares / 6) + 2 * squares)
    return np.asarray(ROUNDING * (growth + stored) + errors.lost**2)


def _of_row(errors: Errors, of_weights: Float64, of_products: Float64) -> Float64:
    """s_delta^2: bhq1."""
    c, p, w, d = errors.config, errors.precision, errors.weights, errors.d
    outputs = weighted(w, rounded(errors.stages.exact.values)) ** 2
    squares = weighted(w**2, errors.values**2)
    by_output = (2 * errors.stored**2 + c.value_dim * p.u_a**2) * outputs + (p.u_p**2 + 2 * p.u_m**2) * squares
    by_output = by_output + p.u_a**2 * errors.seen * (outputs / 3 + squares / 6)
    by_output = ROUNDING * (d.heads**2 * by_output).sum(axis=-1, keepdims=True)
    by_weights = w**2 * (of_products + ROUNDING * (errors.u_x**2 * errors.seen + 2 * p.u_s**2) * d.weights**2)
    added = np.maximum(by_output, by_weights.sum(axis=-1, keepdims=True))
    return np.asarray((of_weights * d.weights**2).sum(axis=-1, keepdims=True) + added + errors.lost**2)
