"""Reference gradients of attention: the vector-Jacobian product, written as the formulas read.

For a cotangent c of the output's shape, the gradient of each operand x is d/dx sum(c * output).  With P the weights, V
the values, dX the gradient of X, and all tensors (batch, heads, sequence, features):

    dO      = c, taken back through the output projection; times the scale where that applies to the weights
    dV      = P^T dO
    dP      = dO V^T
    delta   = rowsum(P * dP)
    dS      = P * (dP - delta)                   of the scores, and of an additive mask, which is added to them
    dB      = dS * (1 - tanh^2(B / softcap))     of the biased scores B, and of a bias
    dQ, dK  = scale * dB K,  scale * dB^T Q

A head that serves a group of query heads gets the sum over the group, an operand that broadcasts the sum over the axes
along which it does.  From Q, K and V gradients go back through the projections to weights, biases and inputs.

Q and K that positions have turned (rotary) are turned back: a rotation's transpose is that by the opposite angle.  Keys
and values that come from a cache take their share of dK and dV.  A sink is one more key whose value is nothing and
whose score is the operand itself, so that its gradient is the sum of -P_sink * delta.

A key that is not allowed has P = 0, and every gradient through it is exactly 0: also that of a mask of -inf, for no
small change of it lets the key take part.  So is every gradient of a query without any key that yields zeros.  Where
such a query yields the mean, its weights are constants: values get dO / N, scores nothing.

A query whose output or scores are not finite (the case holds that a query without keys yields NaN, or an operand that
it reads is infinite or NaN) has no derivative.  It enters all gradients as 0 here, and
`specs.bound.attention_gradient_error` sets no limit to those that it enters.  An operand that no result depends on has
a gradient all the same: zeros, of the operand's shape, which a backend must return.

Sources: Dao et al. 2022, appendix B.2 (dS by delta); Shaw et al. 2018 and Ainslie et al. 2023 as in
`specs.reference.attention`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from specs.arithmetic.double_double import absolute, concat, to_float64, where
from specs.arithmetic.elementary import exp
from specs.arithmetic.formats import Bools
from specs.arithmetic.matrix_product import matmul
from specs.case.attention import AttentionConfig
from specs.case.equation import Shape
from specs.case.layout import to_heads, to_layout
from specs.reference.attention import Attention, Real, products, rotary_pairs, softmax, weighted

Operands = Mapping[str, Real]


@dataclass(frozen=True)
class Gradients:
    """Of the steps of one attention, as `Attention` names them; a bound holds errors in this form too."""

    output: Real  # the cotangent, in the case's layout
    heads: Real  # bhqd, of the weighted values; of those before the scale if it applies to the weights
    weights: Real  # bhqk, 0 where not allowed
    row: Real  # bhq1, delta
    scores: Real  # bhqk
    sink: Real  # bhq1, of the sink's logit as each query sees it; 0 without a sink
    biased: Real  # bhqk
    query: Real  # bhqd
    keys: Real  # bhkd, or bhqkd with relative keys
    values: Real  # bhkd, or bhqkd with relative values


def of_steps(
    config: AttentionConfig, given: Operands, forward: Attention, variable: Bools, cotangent: Real
) -> Gradients:
    """From the cotangent back to the query, keys and values as attention uses them.

    `given` are the operands; `variable`, bhqk, says which scores the weights depend on: those of allowed keys.
    """
    usable = finite_rows(forward)
    d_heads = where(usable, to_heads(config, merged(config, given, cotangent), config.num_heads), 0.0)
    if config.scale_at == "weights":
        d_heads = d_heads * (config.scale or 0.0)
    query, keys, values = (finite(x) for x in (forward.query, forward.keys, forward.values))
    weights = where(usable, forward.weights, 0.0)
    d_weights = where(forward.allowed, products(d_heads, values), 0.0)
    row = (weights * d_weights).sum(axis=-1, keepdims=True)
    d_scores = where(variable, weights * (d_weights - row), 0.0)
    d_biased = d_scores * softcap_slope(config.softcap, forward) if config.softcap else d_scores
    d_products = d_biased * config.score_scale
    return Gradients(
        output=cotangent,
        heads=d_heads,
        weights=d_weights,
        row=row,
        scores=d_scores,
        sink=where(usable, sink_weights(config, given, forward) * row * -1.0, 0.0),
        biased=d_biased,
        query=weighted(d_products, keys),
        keys=over_queries(d_products, query, keys.ndim),
        values=over_queries(weights, d_heads, values.ndim),
    )


def finite_rows(forward: Attention) -> Bools:
    """The queries whose scores and output are finite, which therefore have a derivative: bhq1."""
    scores = np.where(forward.allowed, to_float64(forward.raw), 0.0)
    return np.asarray(
        np.isfinite(scores).all(axis=-1, keepdims=True)
        & np.isfinite(to_float64(forward.heads)).all(axis=-1, keepdims=True)
    )


def finite(tensor: Real) -> Real:
    """With 0 for what is not: a query that reads it has no derivative, and to all others it does not count."""
    return where(np.isfinite(to_float64(tensor)), tensor, 0.0)


def sink_weights(config: AttentionConfig, given: Operands, forward: Attention) -> Real:
    """The weight that each query gives to its head's sink: bhq1."""
    nothing = np.zeros((*forward.allowed.shape[:-1], 1))
    if not config.sink:
        return nothing
    scores = concat([forward.scores, given["sink"].reshape((-1, 1, 1)) + nothing], axis=-1)
    return softmax(scores, np.concatenate([forward.allowed, nothing == 0], axis=-1))[..., -1:]


def softcap_slope(cap: float, forward: Attention) -> Real:
    """1 - tanh^2(x) = 4 e^-2|x| / (1 + e^-2|x|)^2 of x = biased / cap, without cancellation; 0 where not allowed."""
    small = exp(absolute(where(forward.allowed, forward.biased, 0.0)) * (-2.0 / cap))
    return where(forward.allowed, small * 4.0 / ((small + 1.0) * (small + 1.0)), 0.0)


def over_queries(pairs: Real, rows: Real, ndim: int) -> Real:
    """Sum over queries of a number for each pair times the query's row: bhkd; each by itself, bhqkd, if ndim is 5."""
    if ndim == 4:
        return matmul(pairs.swapaxes(-1, -2), rows)
    batch, heads, queries, features = rows.shape
    return pairs.reshape((*pairs.shape, 1)) * rows.reshape((batch, heads, queries, 1, features))


# From the steps to the operands: linear, so that magnitudes and errors take the same way ------------------------------


def merged(config: AttentionConfig, given: Operands, d_output: Real) -> Real:
    """Of the merged heads, in the case's layout: back through the output projection."""
    if not (config.projections and config.projections.output):
        return d_output
    return linear_input(config, d_output, given["output_weight"])


def of_operands(
    config: AttentionConfig, given: Operands, heads: Real, d: Gradients, minus: float = -1.0
) -> dict[str, Real]:
    """The gradient of every operand; `heads` are those of the forward computation.

    With `minus` 1, and magnitudes for `given` and `heads`, the same map of magnitudes.
    """
    group, past = config.num_heads // config.num_kv_heads, config.past or 0
    d_keys, d_values = (over_group(x.sum(axis=2) if x.ndim == 5 else x, group) for x in (d.keys, d.values))
    found: dict[str, Real] = {}
    if config.past is not None:
        found["past_key"], found["past_value"] = (to_layout(config, x[:, :, :past]) for x in (d_keys, d_values))
    steps = {
        "query": turned_back(config, given, d.query, config.query_offset, minus),
        "key": turned_back(config, given, d_keys[:, :, past:], past, minus),
        "value": d_values[:, :, past:],
    }
    for name, d_projected in steps.items():
        for operand, gradient in _projection(config, given, name, d_projected).items():
            found[operand] = found[operand] + gradient if operand in found else gradient
    if "output_weight" in given:
        found |= linear_parameters(config, "output", d.output, to_layout(config, heads))
    if "relative_keys" in given:
        found["relative_keys"] = d.keys.sum(axis=0).transpose((1, 2, 0, 3))
    if "relative_values" in given:
        found["relative_values"] = d.values.sum(axis=0).transpose((1, 2, 0, 3))
    if config.bias is not None:
        found["bias"] = d.biased.sum(axis=0) * (config.score_scale if config.bias_at == "products" else 1.0)
    if config.mask is not None and config.mask.type == "additive":
        found["mask"] = over_broadcast(d.scores, given["mask"].shape)
    if config.sink:
        found["sink"] = d.sink.sum(axis=(0, 2, 3))
    return {name: found[name] for name in given if name in found}


def turned_back(config: AttentionConfig, given: Operands, d: Real, first: int, minus: float) -> Real:
    """Of what was turned by rotary positions from `first` on, bhsd: (d1 cos + d2 sin, d2 cos - d1 sin)."""
    if config.rotary is None:
        return d
    at = slice(first, first + d.shape[-2])
    cos, sin = given["rotary_cos"][at], given["rotary_sin"][at]
    one, two = rotary_pairs(config)
    d1, d2 = d[..., one], d[..., two]
    parts = [d1 * cos + d2 * sin, d2 * cos + d1 * sin * minus, d[..., config.rotary_dims :]]
    back = np.argsort(np.concatenate([one, two, np.arange(config.rotary_dims, config.head_dim)]))
    return concat(parts, axis=-1)[..., back]


def over_group(d: Real, group: int) -> Real:
    """Sum over the consecutive query heads that one key/value head serves."""
    if group == 1:
        return d
    batch, heads, *rest = d.shape
    return d.reshape((batch, heads // group, group, *rest)).sum(axis=2)


def over_broadcast(d: Real, shape: Shape) -> Real:
    """Sum over the axes along which an operand of `shape` was broadcast."""
    thin = (1,) * (d.ndim - len(shape)) + shape
    axes = tuple(axis for axis, size in enumerate(thin) if size == 1)
    return d.sum(axis=axes).reshape(shape) if axes else d.reshape(shape)


def _projection(config: AttentionConfig, given: Operands, name: str, d: Real) -> dict[str, Real]:
    """From the projected query, key or value, bhsd, to its input, weight and bias."""
    source = "input" if config.self_attention else name
    p = config.projections
    if p is None:
        return {source: to_layout(config, d)}
    weight, tensor = given[f"{name}_weight"], given[source]
    if p.kind == "linear":
        d = to_layout(config, d)
        return {source: linear_input(config, d, weight)} | linear_parameters(config, name, d, tensor, bias=p.bias)
    of_input = to_layout(config, matmul(d, weight.swapaxes(-1, -2)))
    heads = d.shape[1]
    front = (1, math.prod((d.shape[0], heads, d.shape[2]))) if p.shared else (heads, d.shape[0] * d.shape[2])
    order = (0, 1, 2, 3) if p.shared else (1, 0, 2, 3)
    rows, d_rows = (x.transpose(order).reshape((*front, x.shape[-1])) for x in (to_heads(config, tensor, heads), d))
    found = {source: of_input, f"{name}_weight": matmul(rows.swapaxes(-1, -2), d_rows).reshape(weight.shape)}
    if p.bias:
        found[f"{name}_bias"] = d_rows.sum(axis=1).reshape(given[f"{name}_bias"].shape)
    return found


def linear_input(config: AttentionConfig, d: Real, weight: Real) -> Real:
    """Of x, from that of x W^T + b (W x + b in columns)."""
    return matmul(weight.swapaxes(-1, -2), d) if config.layout == "ds" else matmul(d, weight)


def linear_parameters(config: AttentionConfig, name: str, d: Real, x: Real, bias: bool = True) -> dict[str, Real]:
    """Of W and b, from that of x W^T + b (W x + b in columns): sums over all tokens."""
    if config.layout == "ds":
        d, x = d.swapaxes(0, 1), x.swapaxes(0, 1)
    d, x = d.reshape((-1, d.shape[-1])), x.reshape((-1, x.shape[-1]))
    found = {f"{name}_weight": matmul(d.swapaxes(0, 1), x)}
    return found | {f"{name}_bias": d.sum(axis=0)} if bias else found
