"""Correct gradients of attention in low precision, simulated: backpropagation as autodiff and as kernels do it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from specs.arithmetic.formats import Array, round_to
from specs.case.attention import AttentionConfig
from specs.case.layout import to_heads, to_layout
from specs.case.visibility import allowed_keys
from specs.reference.attention import repeated, with_past
from tests.support.narrow_attention import Computed


@dataclass(frozen=True)
class Backpropagated(Computed):
    """Gradients in the declared precision; relative positions and projections of single heads are left out.

    by_output   delta is the sum of dO * O with O as it is stored, instead of that of P * dP
    recomputed  weights are exp(score - lse), with lse as it is kept by the accumulator
    expanded    dS is P dP - P delta, instead of P (dP - delta)
    """

    by_output: bool = False
    recomputed: bool = False
    expanded: bool = False

    def narrow(self, values: Array) -> Array:
        return round_to(values, self.p.softmax)

    def summed(self, values: Array, axes: tuple[int, ...]) -> Array:
        """In the accumulator, stored."""
        terms = np.moveaxis(values, axes, range(len(axes)))
        return self.stored(self.total(terms.reshape((-1, *terms.shape[len(axes) :])), self.p.accumulate))

    def gradients(self, c: AttentionConfig, operands: Mapping[str, Array], cotangent: Array) -> dict[str, Array]:
        given = {name: array.astype(np.float64) for name, array in operands.items()}
        group, past, kept = c.num_heads // c.num_kv_heads, c.past or 0, self.kept
        q = self.turned(c, given, self.projected(c, given, "query"), c.query_offset)
        k = with_past(c, given, "key", self.turned(c, given, self.projected(c, given, "key"), past))
        k, v = (repeated(x, group) for x in (k, with_past(c, given, "value", self.projected(c, given, "value"))))
        factor = c.scale if c.scale_at == "weights" else None

        biased = self.scores(c.model_copy(update={"softcap": None, "mask": None}), given, q, k, None)
        scores, tanh = biased, np.zeros(())
        if c.softcap:
            tanh = kept(self.unsure(np.tanh(kept(biased / c.softcap)), self.p.accumulate))
            scores = kept(c.softcap * tanh)
        if c.mask and c.mask.type == "additive":
            scores = kept(scores + given["mask"])
        allowed = np.broadcast_to(allowed_keys(c, operands), scores.shape)
        variable = allowed
        if c.fully_masked == "mean":
            nothing = ~allowed.any(axis=-1, keepdims=True)
            scores, allowed = np.where(nothing, 0.0, scores), allowed | nothing
        p, sink = self.softmax(scores, allowed, given["sink"][:, None, None] if c.sink else None)
        weights = round_to(p if factor is None else p * factor, self.p.weights)

        found: dict[str, Array] = {}
        d_output, d_merged = cotangent.astype(np.float64), cotangent.astype(np.float64)
        if "output_weight" in given:
            merged = to_layout(c, self.stored(self.matmul(weights, v)))
            found |= self.parameters("output", d_output, merged)
            d_merged = self.stored(self.matmul(d_output, given["output_weight"]))
        d_heads = to_heads(c, d_merged, c.num_heads)
        d_weights = kept(self.matmul(d_heads, v.swapaxes(-1, -2)))
        d_weights = np.where(allowed, d_weights if factor is None else kept(d_weights * factor), 0.0)
        if self.by_output:
            output = self.stored(self.matmul(weights, v))
            terms = round_to(d_heads * output, self.p.accumulate)
            delta = self.total(np.moveaxis(terms, -1, 0), self.p.accumulate)[..., None]
        else:
            delta = self.total(np.moveaxis(self.narrow(p * d_weights), -1, 0), self.p.softmax)[..., None]
        if self.expanded:
            d_scores = self.narrow(self.narrow(p * d_weights) - self.narrow(p * delta))
        else:
            d_scores = self.narrow(p * self.narrow(d_weights - delta))
        d_scores = kept(np.where(variable, d_scores, 0.0))
        if c.sink:
            found["sink"] = self.summed(kept(self.narrow(-sink * delta)), (0, 2, 3))
        if c.mask and c.mask.type == "additive":
            thin = (1,) * (4 - given["mask"].ndim) + given["mask"].shape
            axes = tuple(axis for axis, size in enumerate(thin) if size == 1)
            found["mask"] = (self.summed(d_scores, axes) if axes else d_scores).reshape(given["mask"].shape)
        d_biased = kept(d_scores * kept(1 - kept(tanh * tanh))) if c.softcap else d_scores
        scale = round_to(c.score_scale, self.p.storage) if self.constants else c.score_scale
        d_products = d_biased if self.prescaled else kept(d_biased * scale)
        if c.bias:
            found["bias"] = self.summed(kept(d_biased * scale) if c.bias_at == "products" else d_biased, (0,))
        if self.fused:
            d_products = round_to(d_products, self.p.weights)
        d_query = self.stored(self.matmul(d_products, k))
        if self.prescaled:
            d_query, q = self.stored(d_query * scale), self.stored(q * scale)
        d_key = self.over_group(self.stored(self.matmul(d_products.swapaxes(-1, -2), q)), group)
        d_value = self.over_group(self.stored(self.matmul(weights.swapaxes(-1, -2), d_heads)), group)
        if c.past is not None:
            found |= {"past_key": to_layout(c, d_key[:, :, :past]), "past_value": to_layout(c, d_value[:, :, :past])}
        steps = {
            "query": self.turned_back(c, given, d_query, c.query_offset),
            "key": self.turned_back(c, given, d_key[:, :, past:], past),
            "value": d_value[:, :, past:],
        }
        for name, d in steps.items():
            source, d_projected = "input" if c.self_attention else name, to_layout(c, d)
            if c.projections:
                found |= self.parameters(name, d_projected, given[source], c.projections.bias)
                d_projected = self.stored(self.matmul(d_projected, given[f"{name}_weight"]))
            found[source] = self.stored(found[source] + d_projected) if source in found else d_projected
        return found

    def softmax(self, scores: Array, allowed: Array, sink: Array | None) -> tuple[Array, Array]:
        """The weights, and those of the sink."""
        masked = self.narrow(np.where(allowed, scores, -np.inf))
        beside = (
            np.full((*masked.shape[:-1], 1), -np.inf)
            if sink is None
            else np.broadcast_to(sink, (*masked.shape[:-1], 1))
        )
        both = np.concatenate([masked, beside], axis=-1)
        largest = both.max(axis=-1, keepdims=True)
        largest = np.where(np.isfinite(largest), largest, 0.0)
        numerator = self.unsure(np.exp(self.narrow(both - largest)), self.p.softmax)
        denominator = self.total(np.moveaxis(numerator, -1, 0), self.p.softmax)[..., None]
        denominator = np.where(denominator == 0, 1.0, denominator)
        if self.recomputed:
            lse = round_to(largest + round_to(np.log(denominator), self.p.accumulate), self.p.accumulate)
            weights = self.unsure(np.exp(self.narrow(both - lse)), self.p.softmax)
        else:
            weights = round_to(self.narrow(numerator / denominator), self.p.weights)
        return weights[..., :-1], weights[..., -1:]

    def over_group(self, d: Array, group: int) -> Array:
        batch, heads, length, features = d.shape
        return d if group == 1 else self.summed(d.reshape((batch, heads // group, group, length, features)), (2,))

    def turned_back(self, c: AttentionConfig, given: dict[str, Array], d: Array, first: int) -> Array:
        return self.turned(c, given | {"rotary_sin": -given["rotary_sin"]}, d, first) if c.rotary else d

    def parameters(self, name: str, d: Array, x: Array, bias: bool = True) -> dict[str, Array]:
        d, x = d.reshape((-1, d.shape[-1])), x.reshape((-1, x.shape[-1]))
        found = {f"{name}_weight": self.stored(self.matmul(d.T, x))}
        return found | {f"{name}_bias": self.summed(d, (0,))} if bias else found
