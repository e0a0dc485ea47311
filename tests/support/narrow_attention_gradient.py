"""Correct gradients of attention in low precision, simulated: backpropagation as autodiff and as kernels do it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from specs.arithmetic.formats import Array, round_to
from specs.case.attention import AttentionConfig
from specs.case.layout import to_heads, to_layout
from specs.case.visibility import allowed_keys
from specs.reference.attention import concat_past, repeat_heads
from tests.support.narrow_attention import SimulatedAttention


@dataclass(frozen=True)
class SimulatedAttentionGradient(SimulatedAttention):
    """Gradients in the declared precision; relative positions and per-head projections are not supported.

    by_output   delta is the sum of dO * O with the stored O, instead of the sum of P * dP
    recomputed  weights are exp(score - lse), with lse in the accumulator's format
    expanded    dS is P dP - P delta, instead of P (dP - delta)
    """

    by_output: bool = False
    recomputed: bool = False
    expanded: bool = False

    def round_in_softmax(self, values: Array) -> Array:
        return round_to(values, self.p.softmax)

    def reduce(self, values: Array, axes: tuple[int, ...]) -> Array:
        """Sum over axes in the accumulator, and store the result."""
        terms = np.moveaxis(values, axes, range(len(axes)))
        return self.store(self.total(terms.reshape((-1, *terms.shape[len(axes) :])), self.p.accumulate))

    def gradients(self, c: AttentionConfig, operands: Mapping[str, Array], cotangent: Array) -> dict[str, Array]:
        tensors = {name: array.astype(np.float64) for name, array in operands.items()}
        group, past, store = c.num_heads // c.num_kv_heads, c.past or 0, self.store_intermediate
        q = self.apply_rotary(c, tensors, self.project(c, tensors, "query"), c.query_offset)
        k = concat_past(c, tensors, "key", self.apply_rotary(c, tensors, self.project(c, tensors, "key"), past))
        k, v = (
            repeat_heads(x, group) for x in (k, concat_past(c, tensors, "value", self.project(c, tensors, "value")))
        )
        factor = c.scale if c.scale_at == "weights" else None

        biased = self.scores(c.model_copy(update={"softcap": None, "mask": None}), tensors, q, k, None)
        scores, tanh = biased, np.zeros(())
        if c.softcap:
            tanh = store(self.add_ulp_noise(np.tanh(store(biased / c.softcap)), self.p.accumulate))
            scores = store(c.softcap * tanh)
        if c.mask and c.mask.type == "additive":
            scores = store(scores + tensors["mask"])
        allowed = np.broadcast_to(allowed_keys(c, operands), scores.shape)
        variable = allowed
        if c.fully_masked == "mean":
            nothing = ~allowed.any(axis=-1, keepdims=True)
            scores, allowed = np.where(nothing, 0.0, scores), allowed | nothing
        p, sink = self.softmax(scores, allowed, tensors["sink"][:, None, None] if c.sink else None)
        weights = round_to(p if factor is None else p * factor, self.p.weights)

        gradients: dict[str, Array] = {}
        d_output, d_merged = cotangent.astype(np.float64), cotangent.astype(np.float64)
        if "output_weight" in tensors:
            merged = to_layout(c, self.store(self.matmul(weights, v)))
            gradients |= self.parameter_gradients("output", d_output, merged)
            d_merged = self.store(self.matmul(d_output, tensors["output_weight"]))
        d_heads = to_heads(c, d_merged, c.num_heads)
        d_weights = store(self.matmul(d_heads, v.swapaxes(-1, -2)))
        d_weights = np.where(allowed, d_weights if factor is None else store(d_weights * factor), 0.0)
        if self.by_output:
            output = self.store(self.matmul(weights, v))
            terms = round_to(d_heads * output, self.p.accumulate)
            delta = self.total(np.moveaxis(terms, -1, 0), self.p.accumulate)[..., None]
        else:
            delta = self.total(np.moveaxis(self.round_in_softmax(p * d_weights), -1, 0), self.p.softmax)[..., None]
        if self.expanded:
            d_scores = self.round_in_softmax(self.round_in_softmax(p * d_weights) - self.round_in_softmax(p * delta))
        else:
            d_scores = self.round_in_softmax(p * self.round_in_softmax(d_weights - delta))
        d_scores = store(np.where(variable, d_scores, 0.0))
        if c.sink:
            gradients["sink"] = self.reduce(store(self.round_in_softmax(-sink * delta)), (0, 2, 3))
        if c.mask and c.mask.type == "additive":
            thin = (1,) * (4 - tensors["mask"].ndim) + tensors["mask"].shape
            axes = tuple(axis for axis, size in enumerate(thin) if size == 1)
            gradients["mask"] = (self.reduce(d_scores, axes) if axes else d_scores).reshape(tensors["mask"].shape)
        d_biased = store(d_scores * store(1 - store(tanh * tanh))) if c.softcap else d_scores
        scale = round_to(c.score_scale, self.p.storage) if self.constants else c.score_scale
        d_products = d_biased if self.prescaled else store(d_biased * scale)
        if c.bias:
            gradients["bias"] = self.reduce(store(d_biased * scale) if c.bias_at == "products" else d_biased, (0,))
        if self.fused:
            d_products = round_to(d_products, self.p.weights)
        d_query = self.store(self.matmul(d_products, k))
        if self.prescaled:
            d_query, q = self.store(d_query * scale), self.store(q * scale)
        d_key = self.sum_over_group(self.store(self.matmul(d_products.swapaxes(-1, -2), q)), group)
        d_value = self.sum_over_group(self.store(self.matmul(weights.swapaxes(-1, -2), d_heads)), group)
        if c.past is not None:
            gradients |= {
                "past_key": to_layout(c, d_key[:, :, :past]),
                "past_value": to_layout(c, d_value[:, :, :past]),
            }
        steps = {
            "query": self.undo_rotary(c, tensors, d_query, c.query_offset),
            "key": self.undo_rotary(c, tensors, d_key[:, :, past:], past),
            "value": d_value[:, :, past:],
        }
        for name, d in steps.items():
            source, d_projected = "input" if c.self_attention else name, to_layout(c, d)
            if c.projections:
                gradients |= self.parameter_gradients(name, d_projected, tensors[source], c.projections.bias)
                d_projected = self.store(self.matmul(d_projected, tensors[f"{name}_weight"]))
            gradients[source] = self.store(gradients[source] + d_projected) if source in gradients else d_projected
        return gradients

    def softmax(self, scores: Array, allowed: Array, sink: Array | None) -> tuple[Array, Array]:
        """The weights of the keys, and those of the sink."""
        masked = self.round_in_softmax(np.where(allowed, scores, -np.inf))
        sink_logit = (
            np.full((*masked.shape[:-1], 1), -np.inf)
            if sink is None
            else np.broadcast_to(sink, (*masked.shape[:-1], 1))
        )
        both = np.concatenate([masked, sink_logit], axis=-1)
        largest = both.max(axis=-1, keepdims=True)
        largest = np.where(np.isfinite(largest), largest, 0.0)
        numerator = self.add_ulp_noise(np.exp(self.round_in_softmax(both - largest)), self.p.softmax)
        denominator = self.total(np.moveaxis(numerator, -1, 0), self.p.softmax)[..., None]
        denominator = np.where(denominator == 0, 1.0, denominator)
        if self.recomputed:
            lse = round_to(largest + round_to(np.log(denominator), self.p.accumulate), self.p.accumulate)
            weights = self.add_ulp_noise(np.exp(self.round_in_softmax(both - lse)), self.p.softmax)
        else:
            weights = self.round_in_softmax(numerator / denominator)
            weights = weights if self.fused else round_to(weights, self.p.weights)
        return weights[..., :-1], weights[..., -1:]

    def sum_over_group(self, d: Array, group: int) -> Array:
        batch, heads, length, features = d.shape
        return d if group == 1 else self.reduce(d.reshape((batch, heads // group, group, length, features)), (2,))

    def undo_rotary(self, c: AttentionConfig, tensors: dict[str, Array], d: Array, first: int) -> Array:
        return self.apply_rotary(c, tensors | {"rotary_sin": -tensors["rotary_sin"]}, d, first) if c.rotary else d

    def parameter_gradients(self, name: str, d: Array, x: Array, bias: bool = True) -> dict[str, Array]:
        d, x = d.reshape((-1, d.shape[-1])), x.reshape((-1, x.shape[-1]))
        gradients = {f"{name}_weight": self.store(self.matmul(d.T, x))}
        return gradients | {f"{name}_bias": self.reduce(d, (0,))} if bias else gradients
