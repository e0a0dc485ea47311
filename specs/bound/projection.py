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

import numpy as np

from specs.arithmetic.formats import Float64
from specs.arithmetic.precision import Precision
from specs.bound.rounding import ROUNDING_DEVIATION, gamma
from specs.bound.stages import Stages, Uncertain, finite
from specs.case.layout import to_layout
from specs.reference.attention import projected, repeated, rotary_pairs


def entering(s: Stages, name: str) -> Uncertain | None:
    """Of query, key or value as they enter the attention: bhsd, heads repeated; None where they are operands."""
    c = s.config
    found = _projected(s, name)
    if c.rotary is not None and name != "value":
        found = _turned(s, name, found)
    if found is None:
        return None
    error, variance = found.error, found.variance
    if name != "query":
        group, before = c.num_heads // c.num_kv_heads, ((0, 0), (0, 0), (c.past or 0, 0), (0, 0))
        error, variance = (repeated(np.pad(x, before), group) for x in (error, variance))
    return Uncertain(error, variance)


def sum_variance(p: Precision, terms: int, value: Float64, squares: Float64) -> Float64:
    """Of a sum of `terms` products in any order, in units of one rounding's; `squares` is the sum of their squares."""
    return p.u_a**2 * (terms * (value**2 / 3 + squares / 6) + 2 * squares) + 2 * p.u_m**2 * squares


def _projected(s: Stages, name: str) -> Uncertain | None:
    c, p = s.config, s.precision
    if c.projections is None:
        return None
    terms = s.given[f"{name}_weight"].shape[-1 if c.projections.kind == "linear" else -2]

    def of(given: Mapping[str, Float64]) -> Float64:
        return np.asarray(projected(c, given, name))

    sizes = of({key: np.abs(array) for key, array in s.given.items()})
    squares = of({key: array**2 for key, array in s.given.items()})
    value = of(s.given)
    error = gamma((terms + 1, p.u_a), (2, p.u_m)) * sizes + s.u_store * np.abs(value) + s.lost
    variance = sum_variance(p, terms + 1, value, squares) + s.u_store**2 * value**2
    if c.projections.bias:  # the product may be stored before the bias is added
        unbiased = of({key: array for key, array in s.given.items() if key != f"{name}_bias"})
        error = error + s.u_store * np.abs(unbiased)
        variance = variance + s.u_store**2 * unbiased**2
    return Uncertain(error, ROUNDING_DEVIATION**2 * variance)


def _turned(s: Stages, name: str, before: Uncertain | None) -> Uncertain:
    """As `specs.reference.attention.turned` turns the tensor itself."""
    c = s.config
    first = c.query_offset if name == "query" else c.past or 0
    x = np.asarray(projected(c, s.given, name))
    error, variance = (before.error, before.variance) if before else (np.zeros(x.shape), np.zeros(x.shape))
    at = slice(first, first + x.shape[-2])
    cos, sin = (np.abs(s.given[f"rotary_{table}"][at]) for table in ("cos", "sin"))
    signed_cos, signed_sin = s.given["rotary_cos"][at], s.given["rotary_sin"][at]
    pairs = rotary_pairs(c)
    out = Uncertain(error.copy(), variance.copy())
    for one, two, sign in ((*pairs, -1.0), (*pairs[::-1], 1.0)):
        own, beside = x[..., one] * cos, x[..., two] * sin
        turned = x[..., one] * signed_cos + sign * x[..., two] * signed_sin
        carried = error[..., one] * cos + error[..., two] * sin
        size = np.abs(own) + np.abs(beside) + carried
        out.error[..., one] = carried + gamma((2, s.u_step), (2, s.precision.u_a)) * size + 3 * s.lost
        steps = s.u_step**2 * (own**2 + beside**2 + turned**2)
        carried_variance = variance[..., one] * cos**2 + variance[..., two] * sin**2
        out.variance[..., one] = carried_variance + ROUNDING_DEVIATION**2 * steps
    return out


def leaving(s: Stages, error: Float64, deviation: Float64, shared: Float64) -> tuple[Float64, Float64, Float64]:
    """Through the output projection, if there is one: the largest error, the deviation, and an error that all share.

    From bhqd to the case's layout.
    """
    c, p = s.config, s.precision
    if c.projections is None or not c.projections.output:
        return to_layout(c, error), to_layout(c, deviation), to_layout(c, shared)
    weight, bias = s.given["output_weight"], s.given["output_bias"]
    rows = weight.reshape((-1, c.num_heads, c.value_dim))
    heads = finite(s.exact.heads)
    product, sizes, carried, shared = (
        np.einsum("ohd,bhqd->bqo", matrix, tensor)
        for matrix, tensor in (
            (rows, heads),
            (np.abs(rows), np.abs(heads)),
            (np.abs(rows), error + s.u_store * np.abs(heads) + s.lost),
            (np.abs(rows), shared),
        )
    )
    growth = gamma((weight.shape[-1] + 1, p.u_a), (2, p.u_m))
    error = carried + growth * (sizes + carried + np.abs(bias)) + s.u_store * np.abs(product) + s.lost
    by_head = np.einsum("ohd,bhqd->bqho", np.abs(rows), deviation)
    squares = np.einsum("ohd,bhqd->bqo", rows**2, heads**2)
    variance = sum_variance(p, weight.shape[-1] + 1, product + bias, squares + bias**2)
    variance = variance + s.u_store**2 * (squares + product**2)
    deviation = np.sqrt((by_head**2).sum(axis=-2) + ROUNDING_DEVIATION**2 * variance)
    if c.layout == "ds":
        return error[0].T, deviation[0].T, shared[0].T
    return error, deviation, shared
