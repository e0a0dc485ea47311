"""The uncertainty of query, keys and values after projection and rotary positions, and of the output projection.

    projection   e   = gamma((D_in + 1) u_a, 2 u_m) (|x||W|^T + |b|) + u(storage) (|q| + |q - b|)
                 var = (u_a^2 (D_in (q^2/3 + T2/6) + 2 T2) + 2 u_m^2 T2 + u(storage)^2 (q^2 + (q - b)^2)) / 4
    rotary       y   = x1 cos - x2 sin: two products and a sum, each stored,
                 e_y = e_x1 |cos| + e_x2 |sin| + gamma(2 u_a) (|x1 cos| + |x2 sin|)
                       + store(x1 cos) + store(x2 sin) + store(y)        by `specs.bound.rounding.storage_error`
                 var = var_x1 cos^2 + var_x2 sin^2 + u_step^2 ((x1 cos)^2 + (x2 sin)^2 + y^2) / 4
    past         keys and values from a cache are operands: no error
    output       e   = |W| (e_heads + u(storage) |heads|) + gamma(...) (...) as above

T2 is the sum of squared products; the variance of a sum of random terms is that of `specs.bound.einsum` (Higham & Mary
2019).  Roundings of different elements are independent, but the errors of a head's features after attention are
correlated: they share those of its scores.  So through the output projection deviations add within a head, and
variances across heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter

import numpy as np

from specs.arithmetic.formats import Float64
from specs.arithmetic.precision import Precision
from specs.bound.rounding import gamma, relative_variance, sum_variance
from specs.bound.stages import Stages, zero_nonfinite
from specs.bound.uncertainty import EXACT, Uncertainty
from specs.case.layout import to_layout
from specs.reference.attention import project, repeat_heads, rotary_pairs


def input_uncertainty(s: Stages, name: str) -> Uncertainty:
    """The uncertainty of query, key or value as attention uses them: bhsd, heads repeated; EXACT for operands."""
    c = s.config
    e = _project_uncertainty(s, name)
    if c.rotary is not None and name != "value":
        e = _rotate_uncertainty(s, name, e)
    if name == "query" or e is EXACT:
        return e
    group, before = c.num_heads // c.num_kv_heads, ((0, 0), (0, 0), (c.past or 0, 0), (0, 0))
    return e.map(lambda x: np.asarray(repeat_heads(np.pad(x, before), group)))


def _sum_variance(p: Precision, terms: int, value: Float64, squares: Float64) -> Float64:
    """Variance of a sum of `terms` products in any order; `squares` is the sum of the squared products."""
    return sum_variance(p.u_a, terms, value**2, squares, rounded=2) + relative_variance((2, p.u_m)) * squares


def _project_uncertainty(s: Stages, name: str) -> Uncertainty:
    c, p = s.config, s.precision
    if c.projections is None:
        return EXACT
    terms = s.finite_operands[f"{name}_weight"].shape[-1 if c.projections.kind == "linear" else -2] + 1

    def project_each(tensors: Mapping[str, Float64]) -> Float64:
        return np.asarray(project(c, tensors, name))

    magnitudes = project_each({key: np.abs(array) for key, array in s.finite_operands.items()})
    squares = project_each({key: array**2 for key, array in s.finite_operands.items()})
    value = project_each(s.finite_operands)
    e = Uncertainty(gamma((terms, p.u_a), (2, p.u_m)) * magnitudes, _sum_variance(p, terms, value, squares))
    e = e.add_roundings(value, (1, s.u_store)).enlarge(s.underflow)
    if not c.projections.bias:
        return e
    unbiased = project_each({key: array for key, array in s.finite_operands.items() if key != f"{name}_bias"})
    return e.add_roundings(unbiased, (1, s.u_store))  # the product may be stored before the bias is added


def _rotate_uncertainty(s: Stages, name: str, e: Uncertainty) -> Uncertainty:
    """The uncertainty after `specs.reference.attention.apply_rotary`."""
    c = s.config
    offset = c.query_offset if name == "query" else c.past or 0
    x = np.asarray(project(c, s.finite_operands, name))
    positions = slice(offset, offset + x.shape[-2])
    cos, sin = s.finite_operands["rotary_cos"][positions], s.finite_operands["rotary_sin"][positions]
    pairs = rotary_pairs(c)
    error, variance = (np.broadcast_to(part, x.shape).copy() for part in (e.error, e.variance))
    for first, second, sign in ((*pairs, -1.0), (*pairs[::-1], 1.0)):
        direct, cross = x[..., first] * cos, x[..., second] * sin
        e_first, e_second = (e.map(itemgetter((..., features))) for features in (first, second))
        from_inputs = e_first.scale_by(cos).add(e_second.scale_by(sin))
        total = direct + sign * cross
        magnitude = np.abs(direct) + np.abs(cross) + from_inputs.error
        rounded = from_inputs.error + gamma((2, s.u_step - s.u_store), (2, s.precision.u_a)) * magnitude
        for product, e_factor, factor in ((direct, e_first, cos), (cross, e_second, sin)):
            rounded = rounded + s.storage_error(product, e_factor.error * np.abs(factor))
        rounded = rounded + s.storage_error(total, rounded)
        squares = direct**2 + cross**2 + total**2
        rotated = from_inputs.enlarge(rounded - from_inputs.error, relative_variance((1, s.u_step)) * squares)
        error[..., first] = rotated.enlarge(3 * s.underflow).error
        variance[..., first] = rotated.variance
    return Uncertainty(error, variance)


def output_uncertainty(s: Stages, e: Uncertainty) -> Uncertainty:
    """The uncertainty of the output, after the output projection if there is one: from bhqd to the case's layout."""
    c, p = s.config, s.precision
    if c.projections is None or not c.projections.output:
        return e.map(lambda x: np.asarray(to_layout(c, x)))
    weight, bias = s.finite_operands["output_weight"], s.finite_operands["output_bias"]
    by_head = weight.reshape((-1, c.num_heads, c.value_dim)).transpose((1, 2, 0))  # hdo
    heads, magnitudes = zero_nonfinite(s.exact.heads), np.abs(by_head)

    def apply_weights(x: Float64, matrix: Float64) -> Float64:
        return (x @ matrix).sum(axis=1)  # bqo

    product, squares, terms = apply_weights(heads, by_head), apply_weights(heads**2, by_head**2), weight.shape[-1] + 1
    from_heads = apply_weights(e.error + s.u_store * np.abs(heads) + s.underflow, magnitudes)
    growth = gamma((terms, p.u_a), (2, p.u_m)) * (apply_weights(np.abs(heads), magnitudes) + from_heads + np.abs(bias))
    variance = ((e.deviation @ magnitudes) ** 2).sum(axis=1)
    variance = variance + _sum_variance(p, terms, product + bias, squares + bias**2)
    variance = variance + relative_variance((1, s.u_store)) * (squares + product**2)
    error = from_heads + growth + s.u_store * np.abs(product) + s.underflow
    output = Uncertainty(error, variance, apply_weights(e.shared, magnitudes))
    return output.map(lambda x: x[0].T) if c.layout == "ds" else output
