"""Reference gradients of attention: the formulas of the vector-Jacobian product.

For a cotangent c of the output's shape, the gradient of each operand x is d/dx sum(c * output).  With P the weights, V
the values, dX the gradient of X, and all tensors (batch, heads, sequence, features):

    dO      = c, propagated back through the output projection; times the scale where that applies to the weights
    dV      = P^T dO
    dP      = dO V^T
    delta   = rowsum(P * dP)
    dS      = P * (dP - delta)                   of the scores, and of an additive mask, which is added to them
    dB      = dS * f'(B)                         of the biased scores B, and of a bias, before a function f of scores
    dQ, dK  = scale * dB K,  scale * dB^T Q

A key/value head that serves a group of query heads gets the sum over the group, an operand that broadcasts gets the sum
over the axes along which it does.  From Q, K and V gradients go back through the projections to weights, biases and
inputs.

Rotary positions are undone on dQ and dK: the transpose of a rotation is the rotation by the opposite angle.  Keys and
values from a cache get their part of dK and dV.  A further logit, as a sink's, is one more key whose value is 0 and
whose score is the operand itself, so its gradient is the sum of -P_sink * delta.  That of a parameter a of a function
of the scores is the sum of dS * df/da.

A key that is not allowed has P = 0, and every gradient through it is exactly 0, also that of a mask of -inf: no small
change of it makes the key allowed.  So is every gradient of a query without keys whose output is zeros.  Where the
output of such a query is the mean, its weights are constants: the gradient of values is dO / N, that of scores 0.

A query whose output or scores are not finite (the case expects NaN for a query without keys, or an operand is infinite
or NaN) has no derivative.  It contributes 0 to all gradients here, and `specs.bound.attention_gradient_error` sets no
bound for those that depend on it.  An operand that no result depends on still has a gradient: zeros of its shape, which
a backend must return.

Sources: Dao et al. 2022, appendix B.2 (dS by delta); Shaw et al. 2018 and Ainslie et al. 2023 as in
`specs.reference.attention`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from specs.arithmetic.double_double import concat, to_float64, where
from specs.arithmetic.formats import Bools
from specs.arithmetic.matrix_product import matmul
from specs.case.attention import AttentionConfig
from specs.case.equation import Shape
from specs.case.layout import to_heads, to_layout
from specs.case.operands import logits_of, terms_of
from specs.reference.attention import (
    Applied,
    Attention,
    Real,
    extra_logits,
    rotary_pairs,
    score_products,
    softmax,
    weighted_sum,
)

Operands = Mapping[str, Real]


@dataclass(frozen=True)
class Gradients:
    """Gradients of the intermediates of one attention, named as in `Attention`; bounds use it for uncertainties too.

    `parameters` are those of the operands that a head has one number of, by name: of logits per query, bhq1, of the
    parameters of functions per score, bhqk.
    """

    output: Real  # the cotangent, in the case's layout
    heads: Real  # bhqd, of the weighted values, before the scale if that applies to the weights
    weights: Real  # bhqk, 0 where not allowed
    delta: Real  # bhq1, delta
    scores: Real  # bhqk
    parameters: Mapping[str, Real]
    biased: Real  # bhqk
    query: Real  # bhqd
    keys: Real  # bhkd, or bhqkd with relative keys
    values: Real  # bhkd, or bhqkd with relative values


def map_steps(function: Callable[..., Any], *gradients: Gradients) -> Gradients:
    """The function of each step of these gradients together."""

    def apply(*steps: Any) -> Any:
        if isinstance(steps[0], Mapping):
            return {name: function(*(step[name] for step in steps)) for name in steps[0]}
        return function(*steps)

    return Gradients(**{field: apply(*(getattr(x, field) for x in gradients)) for field in vars(gradients[0])})


def step_gradients(
    config: AttentionConfig, tensors: Operands, forward: Attention, variable: Bools, cotangent: Real
) -> Gradients:
    """From the cotangent back to the query, keys and values as attention uses them.

    `tensors` are the operands; `variable`, bhqk, marks the scores that the weights depend on: those of allowed keys.
    """
    usable = find_differentiable_rows(forward)
    d_heads = where(usable, to_heads(config, project_back(config, tensors, cotangent), config.num_heads), 0.0)
    if config.scale_at == "weights":
        d_heads = d_heads * (config.scale or 0.0)
    query, keys, values = (zero_nonfinite(x) for x in (forward.query, forward.keys, forward.values))
    weights = where(usable, forward.weights, 0.0)
    d_weights = where(forward.allowed, score_products(d_heads, values), 0.0)
    delta = (weights * d_weights).sum(axis=-1, keepdims=True)
    d_scores = where(variable, weights * (d_weights - delta), 0.0)
    of_logits = where(usable, logit_weights(config, tensors, forward) * delta * -1.0, 0.0)
    parameters = {name: of_logits[..., i : i + 1] for i, name in enumerate(logits_of(config))}
    d_biased = d_scores
    for applied in reversed(forward.functions):
        if applied.parameter is not None:
            slope = applied.function.parameter_slope(config, allowed_argument(applied, forward), applied.parameter)
            parameters[applied.function.field] = d_biased * zero_nonfinite(slope)
        d_biased = d_biased * function_slope(config, applied, forward)
    d_products = d_biased * config.score_scale
    return Gradients(
        output=cotangent,
        heads=d_heads,
        weights=d_weights,
        delta=delta,
        scores=d_scores,
        parameters=parameters,
        biased=d_biased,
        query=weighted_sum(d_products, keys),
        keys=sum_over_queries(d_products, query, keys.ndim),
        values=sum_over_queries(weights, d_heads, values.ndim),
    )


def find_differentiable_rows(forward: Attention) -> Bools:
    """bhq1: the queries that have a derivative, as their scores and output are finite."""
    scores = np.where(forward.allowed, to_float64(forward.raw), 0.0)
    return np.asarray(
        np.isfinite(scores).all(axis=-1, keepdims=True)
        & np.isfinite(to_float64(forward.heads)).all(axis=-1, keepdims=True)
    )


def zero_nonfinite(tensor: Real) -> Real:
    """0 for infinities and NaN: queries that use them have no derivative, the others do not depend on them."""
    return where(np.isfinite(to_float64(tensor)), tensor, 0.0)


def logit_weights(config: AttentionConfig, tensors: Operands, forward: Attention) -> Real:
    """The weights of the logits that belong to no key: (batch, heads, queries, logits)."""
    logits = extra_logits(config, tensors)
    if logits is None:
        return np.zeros((*forward.allowed.shape[:-1], 0))
    logits = logits + np.zeros((*forward.allowed.shape[:-1], 1))
    allowed = np.concatenate([forward.allowed, np.ones(logits.shape, bool)], axis=-1)
    return softmax(concat([forward.scores, logits], axis=-1), allowed)[..., forward.allowed.shape[-1] :]


def function_slope(config: AttentionConfig, applied: Applied, forward: Attention) -> Real:
    """The derivative of a function of the scores, bhqk; 0 where not allowed."""
    argument = allowed_argument(applied, forward)
    return where(forward.allowed, applied.function.slope(config, argument, applied.parameter), 0.0)


def allowed_argument(applied: Applied, forward: Attention) -> Real:
    """What a function is applied to, bhqk; 0 where not allowed."""
    return where(forward.allowed, applied.argument, 0.0)


def sum_over_queries(pairs: Real, rows: Real, ndim: int) -> Real:
    """Sum over queries of pairs (bhqk) times rows (bhqd): bhkd; without the sum, bhqkd, if `ndim` is 5."""
    if ndim == 4:
        return matmul(pairs.swapaxes(-1, -2), rows)
    batch, heads, queries, features = rows.shape
    return pairs.reshape((*pairs.shape, 1)) * rows.reshape((batch, heads, queries, 1, features))


# From the steps to the operands: linear, so that magnitudes and errors propagate alike ------------------------------


def project_back(config: AttentionConfig, tensors: Operands, d_output: Real) -> Real:
    """The gradient of the merged heads, in the case's layout: back through the output projection."""
    if not (config.projections and config.projections.output):
        return d_output
    return linear_input_gradient(config, d_output, tensors["output_weight"])


def operand_gradients(
    config: AttentionConfig, tensors: Operands, heads: Real, d: Gradients, sine_sign: float = -1.0
) -> dict[str, Real]:
    """The gradient of each differentiable operand, by name; `heads` are those of the forward computation.

    With `sine_sign` 1, and magnitudes for `tensors` and `heads`, it maps magnitudes.
    """
    group, past = config.num_heads // config.num_kv_heads, config.past or 0
    d_keys, d_values = (sum_over_group(x.sum(axis=2) if x.ndim == 5 else x, group) for x in (d.keys, d.values))
    gradients: dict[str, Real] = {}
    if config.past is not None:
        gradients["past_key"], gradients["past_value"] = (to_layout(config, x[:, :, :past]) for x in (d_keys, d_values))
    steps = {
        "query": undo_rotary(config, tensors, d.query, config.query_offset, sine_sign),
        "key": undo_rotary(config, tensors, d_keys[:, :, past:], past, sine_sign),
        "value": d_values[:, :, past:],
    }
    for name, d_projected in steps.items():
        for operand, gradient in _projection(config, tensors, name, d_projected).items():
            gradients[operand] = gradients[operand] + gradient if operand in gradients else gradient
    if "output_weight" in tensors:
        gradients |= linear_parameter_gradients(config, "output", d.output, to_layout(config, heads))
    if "relative_keys" in tensors:
        gradients["relative_keys"] = d.keys.sum(axis=0).transpose((1, 2, 0, 3))
    if "relative_values" in tensors:
        gradients["relative_values"] = d.values.sum(axis=0).transpose((1, 2, 0, 3))
    for name in terms_of(config):
        scale = config.score_scale if name in config.scaled_terms else 1.0
        gradients[name] = sum_to_shape(d.biased, tensors[name].shape) * scale
    if config.mask is not None and config.mask.type == "additive":
        gradients["mask"] = sum_to_shape(d.scores, tensors["mask"].shape)
    for name, of_heads in d.parameters.items():
        gradients[name] = of_heads.sum(axis=(0, 2, 3))
    return {name: gradients[name] for name in tensors if name in gradients}


def undo_rotary(config: AttentionConfig, tensors: Operands, d: Real, offset: int, sine_sign: float) -> Real:
    """The gradient before rotary positions from `offset` on, bhsd: (d1 cos + d2 sin, d2 cos - d1 sin)."""
    if config.rotary is None:
        return d
    positions = slice(offset, offset + d.shape[-2])
    cos, sin = tensors["rotary_cos"][positions], tensors["rotary_sin"][positions]
    first_of_pair, second_of_pair = rotary_pairs(config)
    d1, d2 = d[..., first_of_pair], d[..., second_of_pair]
    parts = [d1 * cos + d2 * sin, d2 * cos + d1 * sin * sine_sign, d[..., config.rotary_dims :]]
    order = np.argsort(np.concatenate([first_of_pair, second_of_pair, np.arange(config.rotary_dims, config.head_dim)]))
    return concat(parts, axis=-1)[..., order]


def sum_over_group(d: Real, group: int) -> Real:
    """Sum over the consecutive query heads that one key/value head serves."""
    if group == 1:
        return d
    batch, heads, *rest = d.shape
    return d.reshape((batch, heads // group, group, *rest)).sum(axis=2)


def sum_to_shape(d: Real, shape: Shape) -> Real:
    """Sum over the axes along which an operand of `shape` was broadcast."""
    padded = (1,) * (d.ndim - len(shape)) + shape
    axes = tuple(axis for axis, size in enumerate(padded) if size == 1)
    return d.sum(axis=axes).reshape(shape) if axes else d.reshape(shape)


def _projection(config: AttentionConfig, tensors: Operands, name: str, d: Real) -> dict[str, Real]:
    """From the gradient of the projected query, key or value, bhsd, to those of its input, weight and bias."""
    source = "input" if config.self_attention else name
    p = config.projections
    if p is None:
        return {source: to_layout(config, d)}
    weight, tensor = tensors[f"{name}_weight"], tensors[source]
    if p.kind == "linear":
        d = to_layout(config, d)
        return {source: linear_input_gradient(config, d, weight)} | linear_parameter_gradients(
            config, name, d, tensor, bias=p.bias
        )
    of_input = to_layout(config, matmul(d, weight.swapaxes(-1, -2)))
    heads = d.shape[1]
    front = (1, math.prod((d.shape[0], heads, d.shape[2]))) if p.shared else (heads, d.shape[0] * d.shape[2])
    order = (0, 1, 2, 3) if p.shared else (1, 0, 2, 3)
    rows, d_rows = (x.transpose(order).reshape((*front, x.shape[-1])) for x in (to_heads(config, tensor, heads), d))
    gradients = {source: of_input, f"{name}_weight": matmul(rows.swapaxes(-1, -2), d_rows).reshape(weight.shape)}
    if p.bias:
        gradients[f"{name}_bias"] = d_rows.sum(axis=1).reshape(tensors[f"{name}_bias"].shape)
    return gradients


def linear_input_gradient(config: AttentionConfig, d: Real, weight: Real) -> Real:
    """The gradient of x, from that of x W^T + b (W x + b in layout ds)."""
    return matmul(weight.swapaxes(-1, -2), d) if config.layout == "ds" else matmul(d, weight)


def linear_parameter_gradients(
    config: AttentionConfig, name: str, d: Real, x: Real, bias: bool = True
) -> dict[str, Real]:
    """The gradients of W and b, from that of x W^T + b (W x + b in layout ds): sums over all tokens."""
    if config.layout == "ds":
        d, x = d.swapaxes(0, 1), x.swapaxes(0, 1)
    d, x = d.reshape((-1, d.shape[-1])), x.reshape((-1, x.shape[-1]))
    gradients = {f"{name}_weight": matmul(d.swapaxes(0, 1), x)}
    return gradients | {f"{name}_bias": d.sum(axis=0)} if bias else gradients
