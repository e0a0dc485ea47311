"""Errors of the exponents x = t - max that the softmax sees, and which scores may overflow.

    products     e   = gamma(D u_a, 2 u_m, u_prescale, 2 u_a) |scale| |q||k|^T + u_s (2 |raw| + |t|)
                     + |scale| (e_q |k|^T + |q| e_k^T + e_q e_k^T)       projected or turned: `specs.bound.projection`
    bias         + (u_s + u_a) |biased|;  of the products: twice that, for it is scaled too
                 + u(storage) |scale bias|                               it may be scaled and stored beforehand
    softcap      times sech^2, plus (8 u_a + 2 u_s) |t|
    exponent     r   = e + |x| (u_x + 2 u_a) + 4 max(u_a, u_x)
                     + u_x |t| where the softmax is narrower than the products

A sink is one more key whose logit is an operand: only the last line makes an error of it.

Overflow.  A product, or what becomes of it, that may exceed its format is infinite in correct arithmetic too.  +inf
makes NaN of its row, so nothing is asked of it; -inf takes a key's weight away (as if rho were 1), and is NaN if it
happens to every key.  Behind a softcap both are the cap, which is right.  With a sum of magnitudes beyond the
accumulator's range a partial sum may overflow either way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from specs.arithmetic.formats import Bools, Float64, Format
from specs.bound.projection import entering
from specs.bound.rounding import gamma, scatter, sum_variance
from specs.bound.stages import Stages, finite
from specs.bound.uncertainty import EXACT, Uncertainty, through
from specs.reference.attention import products

EXP_ULPS = 4.0  # error of exp in ulps of its format: libraries measure 2 at most, hardware exp2 2
TANH_ULPS = 8.0


@dataclass(frozen=True)
class Exponents:
    """What is known of every query's exponents, bhqk, one more for a sink.

    r          their uncertainty, 0 where a key is not allowed; its variance that of what is independent from key to key
    slope      of a score over the product it is made of: a softcap's
    boundless  queries for which nothing can be said: bhq1
    """

    r: Uncertainty
    slope: Float64
    boundless: Bools


def exponents(s: Stages) -> Exponents:
    p, c = s.precision, s.config
    e = before_softcap(s)
    slope = np.ones(e.error.shape)
    if c.softcap:
        e, slope = _capped(s, e)
    if c.mask is not None and c.mask.type == "additive":
        e = e.rounded(np.where(s.exact.allowed, finite(s.exact.scores), 0.0), (1, p.u_s), (1, p.u_a))
        if c.bias is not None and not c.softcap:  # they may be one term, stored, before the scores come in
            together = np.where(s.exact.allowed, finite(s.given["bias"] + s.given["mask"]), 0.0)
            e = e.rounded(together, (1, s.u_step))

    largest = np.max(np.where(s.allowed, s.scores, -np.inf), axis=-1, keepdims=True, initial=-np.inf)
    shifted = np.abs(np.where(s.allowed, s.scores - largest, 0.0))
    narrow = p.u_x if p.u_x > p.u_a else 0.0  # a softmax narrower than the products: scores are converted to it
    in_exp, converted = EXP_ULPS * max(p.u_a, p.u_x), narrow * np.abs(s.scores)
    r = e.mapped(lambda x: s.beside(x, 0.0)).blurred(shifted * (p.u_x + 2 * p.u_a), in_exp, converted)
    r = r.more(p.u_s if narrow else 0.0)
    upward, downward = _overflowing(s)
    error = np.where(downward, np.maximum(r.error, math.log(2.0)), r.error)
    variance = np.where(downward, np.maximum(r.variance, 1.0), r.variance)
    lost = np.all(downward | ~s.allowed, axis=-1, keepdims=True) & np.any(downward, axis=-1, keepdims=True)
    return Exponents(
        Uncertainty(np.where(s.allowed, error, 0.0), np.where(s.allowed, np.minimum(variance, 25.0), 0.0)),
        s.beside(slope, 0.0),
        np.any(upward, axis=-1, keepdims=True) | lost,
    )


def before_softcap(s: Stages) -> Uncertainty:
    """Of the scores with their bias, bhqk."""
    p, c = s.precision, s.config
    e = _products(s)
    if c.bias is None:
        return e
    times = 2 if c.bias_at == "products" else 1
    e = e.rounded(finite(s.exact.biased), (times, p.u_s), (times, p.u_a))
    return e.rounded(c.score_scale * s.given["bias"], (1, s.u_step)) if c.bias_at == "products" else e


def _products(s: Stages) -> Uncertainty:
    """Of the scaled products, bhqk, before anything is added; the variance leaves out what a query's keys share."""
    p, c, relative = s.precision, s.config, s.relative("keys")
    scale = abs(c.score_scale)
    query, keys = np.abs(s.query), np.abs(s.keys)
    raw = np.abs(finite(s.exact.raw))
    parts = raw**2
    if relative is not None:  # the sum key + position may be stored, or two products added: magnitudes, not the sum's
        plain = s.plain("key")
        of_key = c.score_scale * products(s.query, plain)
        parts = of_key**2 + (finite(s.exact.raw) - of_key) ** 2 + raw**2
        keys = np.abs(plain)[:, :, None] + np.abs(relative)
    squares = scale**2 * products(query**2, keys**2)
    # The query may be multiplied by the scale and stored beforehand
    of_factors = (2, p.u_m), (1 + (relative is not None), s.u_step)
    error = gamma((c.head_dim, p.u_a), *of_factors, (2, p.u_a)) * scale * products(query, keys)
    variance = (
        sum_variance(p.u_a, c.head_dim, raw**2, squares, rounded=2)
        + scatter(*of_factors) * squares
        + scatter((2, p.u_s)) * parts
        + scatter((2, p.u_a)) * raw**2
    )
    e = Uncertainty(error + p.u_s * 2 * raw, variance)
    e_q, e_k = (entering(s, name) for name in ("query", "key"))
    e_k = e_k.mapped(lambda x: for_each_query(x, keys))
    of_query = through(products, query, Uncertainty(e_q.error), keys + e_k.error, EXACT)
    of_keys = through(products, query, EXACT, keys, e_k)
    return e.plus(of_query.scaled(scale)).plus(of_keys.scaled(scale))


def for_each_query(of_keys: Float64, keys: Float64) -> Float64:
    """bhkd as bhqkd, if the keys are that."""
    return of_keys if keys.ndim == of_keys.ndim else np.broadcast_to(of_keys[:, :, None], keys.shape)


def _capped(s: Stages, e: Uncertainty) -> tuple[Uncertainty, Float64]:
    """tanh contracts what came before by sech^2 at the nearer end, and adds its own rounding."""
    p, cap, biased = s.precision, float(s.config.softcap or 0.0), np.abs(finite(s.exact.biased))
    slope = np.cosh(np.minimum(np.maximum(biased - e.error, 0.0) / cap, 300.0)) ** -2
    divided = e.blurred((2 * p.u_a + p.u_s) * biased)
    own = (TANH_ULPS * p.u_a + 2 * p.u_s + 2 * p.u_a) * np.abs(finite(s.exact.capped))
    return divided.scaled(slope).blurred(own), slope


def _overflowing(s: Stages) -> tuple[Bools, Bools]:
    """Allowed keys whose score may become +inf or NaN, and those for which it may become -inf; a sink's never does."""
    p, c, e = s.precision, s.config, s.exact
    product = products(s.query, s.keys) if s.keys.ndim == 4 else finite(e.raw) / (c.score_scale or 1.0)
    reached = [product, finite(e.raw)]
    if c.bias_at == "products":
        reached.append(product + s.given["bias"])
    stages = [_beyond(stage, p.intermediate) for stage in (*reached, finite(e.biased))]
    after = [_beyond(stage, p.intermediate) for stage in (finite(e.capped), finite(e.scores))]
    partial = _beyond(products(np.abs(s.query), np.abs(s.keys)), p.accumulate)
    high = np.any(stages, axis=0) & (finite(e.biased) > 0)
    low = np.any(stages, axis=0) & (finite(e.biased) <= 0)
    if c.softcap:
        high, low = np.zeros_like(high), np.zeros_like(low)
    high = (high | partial | (np.any(after, axis=0) & (finite(e.scores) > 0))) & e.allowed
    low = (low | (np.any(after, axis=0) & (finite(e.scores) <= 0))) & e.allowed
    return s.beside(high, False), s.beside(low, False)


def _beyond(values: Float64, format: Format) -> Bools:
    return np.asarray(np.abs(values) * (1 + 64 * format.unit_roundoff) >= format.max)
