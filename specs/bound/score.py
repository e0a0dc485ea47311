"""The uncertainty of the exponents x = t - max of the softmax, and the scores that may overflow.

    products     e   = gamma(D u_a, 2 u_m, 4 u_a) |scale| |q||k|^T         before or behind the product, q and k may be
                                                                         multiplied by the scale, or each by its root
                     + |scale| (e_q |k|^T + |q| e_k^T + e_q e_k^T)       projected or rotary: `specs.bound.projection`
                     + store(scale q) |k|^T or |q| store(scale k)^T      where one of them is declared to be stored
                     + |scale| store(q k^T) + u_scale |raw| + store(raw) where scores are: the product, then it scaled
    bias         + store(biased) + u_a |biased|;  of the products: twice that, as it is also scaled
                 + u(storage) |scale bias|                               the scaled bias may be stored
                 + (u_s + u_a) (|raw| + |bias| + ...)                    for each further term that is added
    function f   |f'| (e + r_1 |x|) + r_2 |f(x)|                            for each function of the scores
    exponent     r   = e + |x| (u_x + 2 u_a) + 4 max(u_a, u_x)
                     + u_x |t| where the softmax is narrower than the products

store(x) is `specs.bound.rounding.storage_error`, and u_scale the relative error of the scale as a number of the format
in which scores, or what was scaled beforehand, are stored.  A power of two has no such error, and scaling by it rounds
nothing.  Unless it is declared (`Precision.scaled`), no operand is stored once it is scaled.

The largest |f'| within e of x, and the roundings r_1 and r_2, are those of `specs.case.score_functions`.  A further
logit, as a sink's, is one more key whose score is an operand: only the last step has an error.

Overflow.  A product or score that may exceed its format may be infinite in correct arithmetic.  With +inf the row is
NaN, and has no bound; with -inf the key loses its weight (as if rho were 1), and if all keys do the row is NaN.  Behind
a function that saturates, as a softcap, both give its limit, which is right.  Where the sum of magnitudes exceeds the
accumulator's range, a partial sum may overflow in either direction.
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from specs.arithmetic.formats import Bools, Float64, Format
from specs.bound.projection import input_uncertainty
from specs.bound.rounding import elementwise_gamma, gamma, relative_variance, storage_error, sum_variance
from specs.bound.stages import Stages, zero_nonfinite
from specs.bound.uncertainty import EXACT, Uncertainty, propagate_product
from specs.case.operands import terms_of
from specs.reference.attention import Applied, score_products

EXP_ULPS = 4.0  # error of exp in ulps of its format: libraries measure 2 at most, hardware exp2 2


@dataclass(frozen=True)
class Exponents:
    """The exponents of every query, bhqk, with one more key for each further logit.

    r          uncertainty of the exponents, 0 where a key is not allowed; the variance is the part independent per key
    slope      derivative of the score by the product: that of the functions of the scores
    unbounded  queries that have no bound: bhq1
    """

    r: Uncertainty
    slope: Float64
    unbounded: Bools


def bound_exponents(s: Stages) -> Exponents:
    p, c = s.precision, s.config
    terms, (*of_arguments, e) = terms_of(c), function_uncertainties(s)
    slope = np.ones(e.error.shape)
    for applied, e_x in zip(s.functions, of_arguments, strict=True):
        slope = slope * largest_slope(s, applied, e_x)
    if c.mask is not None and c.mask.type == "additive":
        e = _store(s, e, np.where(s.exact.allowed, s.masked, 0.0))
        if terms and not s.functions:  # terms + mask may be stored as one before the scores are added
            terms_and_mask = sum(s.finite_operands[name] for name in terms) + s.finite_operands["mask"]
            e = e.add_roundings(np.where(s.exact.allowed, zero_nonfinite(terms_and_mask), 0.0), (1, s.u_step))

    largest = np.max(np.where(s.allowed, s.scores, -np.inf), axis=-1, keepdims=True, initial=-np.inf)
    shifted = np.abs(np.where(s.allowed, s.scores - largest, 0.0))
    narrow = p.u_x if p.u_x > p.u_a else 0.0  # a softmax narrower than the products: scores are converted to it
    in_exp, converted = EXP_ULPS * max(p.u_a, p.u_x), narrow * np.abs(s.scores)
    r = e.map(lambda x: s.append_logits(x, 0.0)).add_independent(shifted * (p.u_x + 2 * p.u_a), in_exp, converted)
    r = r.enlarge(p.u_s if narrow else 0.0)
    upward, downward = _find_overflows(s)
    error, variance = r.error, r.variance
    if downward.any():
        error = np.where(downward, np.maximum(error, math.log(2.0)), error)
        variance = np.where(downward, np.maximum(variance, 1.0), variance)
    no_key_left = np.all(downward | ~s.allowed, axis=-1, keepdims=True) & np.any(downward, axis=-1, keepdims=True)
    return Exponents(
        Uncertainty(np.where(s.allowed, error, 0.0), np.where(s.allowed, np.minimum(variance, 25.0), 0.0)),
        s.append_logits(slope, 0.0),
        np.any(upward, axis=-1, keepdims=True) | no_key_left,
    )


def biased_uncertainty(s: Stages) -> Uncertainty:
    """The uncertainty of the biased scores, bhqk, before any function of them."""
    p, c = s.precision, s.config
    e, terms = _product_uncertainty(s), terms_of(c)
    if not terms:
        return e
    if c.scaled_terms and not s.scale_is_exact:
        e = e.add_roundings(s.biased, (1, p.u_s), (1, p.u_a))
    e = _store(s, e, s.biased)
    if len(terms) > 1:  # sums on the way, of products and terms or of terms alone, in any order
        magnitudes = np.abs(s.raw) + sum(np.abs(s.finite_operands[name]) for name in terms)
        e = e.add_roundings(magnitudes, (len(terms) - 1, max(p.u_s + p.u_a, s.u_step)))
    for name in c.scaled_terms:
        e = e.add_roundings(c.score_scale * s.finite_operands[name], (1, s.u_step))
    return e


def _product_uncertainty(s: Stages) -> Uncertainty:
    """The uncertainty of the scaled products, bhqk; the variance leaves out the query's, which its keys share."""
    p, c, relative = s.precision, s.config, s.relative("keys")
    scale = abs(c.score_scale)
    query, keys, magnitudes = np.abs(s.query), np.abs(s.keys), s.magnitudes_of_products
    raw = np.abs(s.raw)
    if relative is not None:  # key + position may be stored, or two products added: use both magnitudes
        plain = s.without_positions("key")
        keys = np.abs(plain)[:, :, None] + np.abs(relative)
        magnitudes = score_products(query, keys)
    factor_roundings = (2, p.u_m), (2, p.u_a), (relative is not None, s.u_step)
    terms = _count_products(s, keys)
    growth = (1 + elementwise_gamma(terms, p.u_a)) * (1 + gamma(*factor_roundings, (2, p.u_a))) - 1
    e = Uncertainty(growth * scale * magnitudes)
    if s.random:
        u_q = 0.0 if s.scale_is_exact else p.u_q
        parts = raw**2
        if relative is not None:
            key_products = c.score_scale * score_products(s.query, plain)
            parts = key_products**2 + (s.raw - key_products) ** 2 + raw**2
        squares = scale**2 * score_products(query**2, keys**2)
        variance = (
            sum_variance(p.u_a, c.head_dim, raw**2, squares, rounded=2)
            + relative_variance(*factor_roundings, (1, u_q)) * squares
            + relative_variance((1 if s.scale_is_exact else 2, p.u_s)) * parts
            + relative_variance((2, p.u_a)) * raw**2
        )
        e = replace(e, variance=variance)
    e_q, e_k = (input_uncertainty(s, name) for name in ("query", "key"))
    if not (e_q.is_exact and e_k.is_exact):
        e_k = e_k.map(lambda x: broadcast_to_queries(x, keys))
        from_query = propagate_product(score_products, query, Uncertainty(e_q.error), keys + e_k.error, EXACT)
        from_keys = propagate_product(score_products, query, EXACT, keys, e_k)
        e = e.add(from_query.scale_by(scale)).add(from_keys.scale_by(scale))
    return e.enlarge(_scaling_error(s, e.error, e_q.error, e_k.error, keys))


def _count_products(s: Stages, keys: Float64) -> Float64:
    """Number of products that are not 0, the others add no rounding: bhqk; all of them where data are random."""
    if s.random:
        return np.asarray(float(s.config.head_dim))
    return np.asarray(score_products((s.query != 0).astype(np.float64), (keys != 0).astype(np.float64)))


def _scaling_error(s: Stages, error: Float64, e_q: Float64, e_k: Float64, keys: Float64) -> Float64:
    """The largest error of scaling and storing products that are within `error` of their values, bhqk."""
    p, scale = s.precision, abs(s.config.score_scale)
    raw, own = np.abs(s.raw), error
    if p.u_q:
        of_query = storage_error(p, p.scaled, scale * s.query, scale * e_q)
        of_keys = storage_error(p, p.scaled, scale * keys, scale * e_k)
        error = error + np.maximum(
            score_products(of_query, keys + e_k),
            score_products(np.abs(s.query) + e_q, np.broadcast_to(of_keys, keys.shape)),
        )
    if p.u_s and scale:
        error = error + scale * storage_error(p, p.intermediate, s.raw / scale, error / scale)
    if (p.u_s or p.u_q) and not s.scale_is_exact:
        error = error + s.scale_error * (raw + error)
        error = error + storage_error(p, p.intermediate, s.raw, error)
    return np.asarray(error - own)


def _store(s: Stages, e: Uncertainty, value: Float64) -> Uncertainty:
    """The uncertainty of scores that are rounded and stored."""
    p, size = s.precision, np.abs(value)
    rounded = e.error + p.u_a * size
    stored = storage_error(p, p.intermediate, value, rounded)
    return replace(e, error=rounded + stored, variance=e.variance + relative_variance((1, p.u_a), (1, p.u_s)) * size**2)


def broadcast_to_queries(tensor: Float64, keys: Float64) -> Float64:
    """Broadcast bhkd to bhqkd where the keys have that shape."""
    return tensor if keys.ndim == tensor.ndim else np.broadcast_to(tensor[:, :, None], keys.shape)


def function_uncertainties(s: Stages) -> list[Uncertainty]:
    """The uncertainty of the argument of each function of the scores, and that of the last one's value, bhqk."""
    p, uncertainties = s.precision, [biased_uncertainty(s)]
    for applied in s.functions:
        e, f = uncertainties[-1], applied.function
        argument = e.add_independent(f.argument_rounding(p) * np.abs(applied.argument))
        own = f.value_rounding(p) * np.abs(applied.value)
        uncertainties.append(argument.scale_by(largest_slope(s, applied, e)).add_independent(own))
    return uncertainties


def largest_slope(s: Stages, applied: Applied, e: Uncertainty) -> Float64:
    """The largest |f'| of a function whose argument has the uncertainty e."""
    return applied.function.largest_slope(s.config, applied.argument, e.error, applied.parameter)


def _find_overflows(s: Stages) -> tuple[Bools, Bools]:
    """Allowed keys whose score may be +inf or NaN, and those whose score may be -inf; never a further logit."""
    p, c, e = s.precision, s.config, s.exact
    product = score_products(s.query, s.keys) if s.keys.ndim == 4 else s.raw / (c.score_scale or 1.0)
    reached = [product, s.raw, s.biased, *(product + s.finite_operands[name] for name in c.scaled_terms)]
    before = reduce(operator.or_, (_may_exceed(stage, p.intermediate) for stage in reached))
    after = _may_exceed(s.modified, p.intermediate) | _may_exceed(s.masked, p.intermediate)
    partial = _may_exceed(s.magnitudes_of_products, p.accumulate)
    if not np.any(before | after | partial):
        nothing = s.append_logits(np.zeros(e.allowed.shape, bool), False)
        return nothing, nothing
    upward, downward = before & (s.biased > 0), before & (s.biased <= 0)
    if any(applied.function.saturates for applied in s.functions):
        upward, downward = np.zeros_like(upward), np.zeros_like(downward)
    upward = (upward | partial | (after & (s.masked > 0))) & e.allowed
    downward = (downward | (after & (s.masked <= 0))) & e.allowed
    return s.append_logits(upward, False), s.append_logits(downward, False)


def _may_exceed(values: Float64, format: Format) -> Bools | bool:
    magnitudes, margin = np.abs(values), 1 + 64 * format.unit_roundoff
    if magnitudes.max(initial=0.0) * margin < format.max:
        return False
    return np.asarray(magnitudes * margin >= format.max)
