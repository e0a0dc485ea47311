"""Errors of what enters attention, projected and turned, and of the projection that follows it.

    projection   e   = gamma((D_in + 1) u_a, 2 u_m) (|x||W|^T + |b|) + u(storage) (|q| + |q - b|)
                 var = (u_a^2 (D_in (q^2/3 + T2/6) + 2 T2) + 2 u_m^2 T2 + u(storage)^2 (q^2 + (q - b)^2)) / 4
    rotary       y   = x1 cos - x2 sin: two products and a sum, each stored,
                 e_y = e_x1 |cos| + e_x2 |sin| + gamma(2 u_step) (|x1 cos| + |x2 sin|)
                 var = var_x1 cos^2 + var_x2 sin^2 + u_step^2 ((x1 cos)^2 + (x2 sin)^2 + y^2) / 4
    past         keys and values from a cache are operands: no error
    output       e   = |W| (e_heads + u(storage) |heads|) + gamma(...) (...) as above

T2 is the sum of squared products; the variance of a sum of random terms is that of `specs.bound.einsum` (Higham & Mary
2019).  Roundings of different elements are independent, but the errors of a head's features after attention are not:
they share those of its scores.  So through the output projection deviations add up within a head, and variances
between heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter

import numpy as np

from specs.arithmetic.formats import Float64
from specs.arithmetic.precision import Precision
from specs.bound.rounding import gamma, scatter, sum_variance
from specs.bound.stages import Stages, finite
from specs.bound.uncertainty import EXACT, Uncertainty
from specs.case.layout import to_layout
from specs.reference.attention import projected, repeated, rotary_pairs


def entering(s: Stages, name: str) -> Uncertainty:
    """Of query, key or value as they enter the attention: bhsd, heads repeated; nothing where they are operands."""
    c = s.config
    e = _projected(s, name)
    if c.rotary is not None and name != "value":
        e = _turned(s, name, e)
    if name == "query":
        return e
    group, before = c.num_heads // c.num_kv_heads, ((0, 0), (0, 0), (c.past or 0, 0), (0, 0))
    return e.mapped(lambda x: np.asarray(repeated(np.pad(x, before), group)))


def _of_sum(p: Precision, terms: int, value: Float64, squares: Float64) -> Float64:
    """Variance of a sum of `terms` products in any order; `squares` is the sum of their squares."""
    return sum_variance(p.u_a, terms, value**2, squares, rounded=2) + scatter((2, p.u_m)) * squares


def _projected(s: Stages, name: str) -> Uncertainty:
    c, p = s.config, s.precision
    if c.projections is None:
        return EXACT
    terms = s.given[f"{name}_weight"].shape[-1 if c.projections.kind == "linear" else -2] + 1

    def of(given: Mapping[str, Float64]) -> Float64:
        return np.asarray(projected(c, given, name))

    sizes = of({key: np.abs(array) for key, array in s.given.items()})
    squares = of({key: array**2 for key, array in s.given.items()})
    value = of(s.given)
    e = Uncertainty(gamma((terms, p.u_a), (2, p.u_m)) * sizes, _of_sum(p, terms, value, squares))
    e = e.rounded(value, (1, s.u_store)).more(s.lost)
    if not c.projections.bias:
        return e
    unbiased = of({key: array for key, array in s.given.items() if key != f"{name}_bias"})
    return e.rounded(unbiased, (1, s.u_store))  # the product may be stored before the bias is added


def _turned(s: Stages, name: str, e: Uncertainty) -> Uncertainty:
    """As `specs.reference.attention.turned` turns the tensor itself."""
    c = s.config
    first = c.query_offset if name == "query" else c.past or 0
    x = np.asarray(projected(c, s.given, name))
    at = slice(first, first + x.shape[-2])
    cos, sin = s.given["rotary_cos"][at], s.given["rotary_sin"][at]
    pairs = rotary_pairs(c)
    error, variance = (np.broadcast_to(part, x.shape).copy() for part in (e.error, e.variance))
    for one, two, sign in ((*pairs, -1.0), (*pairs[::-1], 1.0)):
        own, beside = x[..., one] * cos, x[..., two] * sin
        e_one, e_two = (e.mapped(itemgetter((..., features))) for features in (one, two))
        carried = e_one.scaled(cos).plus(e_two.scaled(sin))
        size = np.abs(own) + np.abs(beside) + carried.error
        steps = own**2 + beside**2 + (own + sign * beside) ** 2
        turned = carried.more(gamma((2, s.u_step), (2, s.precision.u_a)) * size, scatter((1, s.u_step)) * steps)
        error[..., one], variance[..., one] = turned.more(3 * s.lost).error, turned.variance
    return Uncertainty(error, variance)


def leaving(s: Stages, e: Uncertainty) -> Uncertainty:
    """Through the output projection, if there is one: from bhqd to the case's layout."""
    c, p = s.config, s.precision
    if c.projections is None or not c.projections.output:
        return e.mapped(lambda x: np.asarray(to_layout(c, x)))
    weight, bias = s.given["output_weight"], s.given["output_bias"]
    by_head = weight.reshape((-1, c.num_heads, c.value_dim)).transpose((1, 2, 0))  # hdo
    heads, sizes = finite(s.exact.heads), np.abs(by_head)

    def of(x: Float64, matrix: Float64) -> Float64:
        return (x @ matrix).sum(axis=1)  # bqo

    product, squares, terms = of(heads, by_head), of(heads**2, by_head**2), weight.shape[-1] + 1
    carried = of(e.error + s.u_store * np.abs(heads) + s.lost, sizes)
    growth = gamma((terms, p.u_a), (2, p.u_m)) * (of(np.abs(heads), sizes) + carried + np.abs(bias))
    variance = ((e.deviation @ sizes) ** 2).sum(axis=1) + _of_sum(p, terms, product + bias, squares + bias**2)
    variance = variance + scatter((1, s.u_store)) * (squares + product**2)
    found = Uncertainty(carried + growth + s.u_store * np.abs(product) + s.lost, variance, of(e.shared, sizes))
    return found.mapped(lambda x: x[0].T) if c.layout == "ds" else found
