"""Correct attention of low precision, simulated: every operation is exact and then rounded to a format.

The bound of attention must cover it, in each form in which people and kernels write it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from specs.arithmetic.formats import DTYPES, Array, Format, round_to
from specs.arithmetic.precision import Precision, declared_precision
from specs.bound.attention import references
from specs.case.attention import AttentionConfig
from specs.case.case import Case
from specs.case.layout import to_heads, to_layout
from specs.case.visibility import allowed_keys
from specs.inputs import inputs
from specs.reference.attention import concat_past, rotary_pairs
from specs.reference.reference import Reference
from tests.support.narrow_arithmetic import Rounding, pairwise, sequential, worst_ratio


@dataclass(frozen=True)
class SimulatedAttention:
    """Attention in the declared precision, in one of the forms in which people and kernels write it.

    fused       scores are never stored; the softmax runs online over blocks of this many keys
    prescaled   the query is multiplied by the scale and stored, instead of the scores
    constants   the scale is rounded to the dtype before it is used
    separate    relative positions are contracted separately and the results added, instead of added to keys and values
    pairs       sums are pairwise instead of sequential
    """

    p: Precision
    fused: int = 0
    prescaled: bool = False
    constants: bool = False
    separate: bool = False
    pairs: bool = False

    def rounding(self, format: Format) -> Rounding:
        return lambda values: round_to(values, format)

    @property
    def store_intermediate(self) -> Rounding:
        """The rounding of intermediates of the attention itself."""
        return self.rounding(self.p.intermediate)

    def store(self, values: Array) -> Array:
        return round_to(values, self.p.storage)

    def total(self, terms: Array, format: Format) -> Array:
        if not len(terms):
            return np.zeros(terms.shape[1:])
        return (pairwise if self.pairs else sequential)(terms, self.rounding(format))

    def matmul(self, a: Array, b: Array) -> Array:
        if self.p.u_m:
            a, b = round_to(a, self.p.multiply), round_to(b, self.p.multiply)
        terms = np.stack([a[..., i, None] * b[..., i, None, :] for i in range(a.shape[-1])])
        return self.total(round_to(terms, self.p.accumulate), self.p.accumulate)

    def project(self, c: AttentionConfig, tensors: Mapping[str, Array], name: str) -> Array:
        x, heads = tensors["input" if c.self_attention else name], c.num_heads if name == "query" else c.num_kv_heads
        if c.projections is None:
            return to_heads(c, x, heads)
        weight, bias = tensors[f"{name}_weight"], tensors.get(f"{name}_bias")
        if c.projections.kind == "linear":
            return to_heads(c, self.linear(x, weight, bias), heads)
        product = self.store(self.matmul(to_heads(c, x, heads), weight))
        return product if bias is None else self.store(product + bias[..., None, :])

    def linear(self, x: Array, weight: Array, bias: Array | None) -> Array:
        product = self.store(self.matmul(x, weight.T))
        return product if bias is None else self.store(product + bias)

    def apply_rotary(self, c: AttentionConfig, tensors: Mapping[str, Array], x: Array, first: int) -> Array:
        """Rotary positions as written by hand: each product and their sum are stored."""
        if c.rotary is None:
            return x
        at, (first_features, second_features), out = slice(first, first + x.shape[2]), rotary_pairs(c), x.copy()
        cos, sin = tensors["rotary_cos"][at], tensors["rotary_sin"][at]
        out[..., first_features] = self.store(
            self.store(x[..., first_features] * cos) - self.store(x[..., second_features] * sin)
        )
        out[..., second_features] = self.store(
            self.store(x[..., second_features] * cos) + self.store(x[..., first_features] * sin)
        )
        return out

    def attend(self, c: AttentionConfig, operands: Mapping[str, Array]) -> Array:
        tensors = {name: array.astype(np.float64) for name, array in operands.items()}
        query = self.apply_rotary(c, tensors, self.project(c, tensors, "query"), c.query_offset)
        key = self.apply_rotary(c, tensors, self.project(c, tensors, "key"), c.past or 0)
        group = c.num_heads // c.num_kv_heads
        keys, values = (
            np.repeat(concat_past(c, tensors, name, x), group, axis=1)
            for name, x in (("key", key), ("value", self.project(c, tensors, "value")))
        )
        relative_keys, relative_values = (
            tensors[f"relative_{name}"].transpose(2, 0, 1, 3) if f"relative_{name}" in tensors else None
            for name in ("keys", "values")
        )
        scores = self.scores(c, tensors, query, keys, relative_keys)
        allowed = np.broadcast_to(allowed_keys(c, operands), scores.shape)
        if c.fully_masked == "mean":
            nothing = ~allowed.any(axis=-1, keepdims=True)
            scores, allowed = np.where(nothing, 0.0, scores), allowed | nothing
        sink = tensors["sink"][:, None, None] if c.sink else None
        heads = self.heads(c, scores, allowed, values, relative_values, sink)
        if c.fully_masked == "nan":
            heads = np.where(allowed.any(axis=-1, keepdims=True), heads, np.nan)
        output = to_layout(c, heads)
        if c.projections and c.projections.output:
            output = self.linear(output, tensors["output_weight"], tensors["output_bias"])
        return output

    def scores(
        self, c: AttentionConfig, tensors: Mapping[str, Array], q: Array, k: Array, relative: Array | None
    ) -> Array:
        store = self.store_intermediate
        scale = round_to(c.score_scale, self.p.storage) if self.constants else c.score_scale
        if self.prescaled:
            q = self.store(q * scale)
        if relative is None:
            raw = store(self.matmul(q, k.swapaxes(-1, -2)))
        elif self.separate:
            raw = store(self.matmul(q, k.swapaxes(-1, -2)))
            raw = store(raw + store(self.matmul(q[..., None, :], relative.swapaxes(-1, -2))[..., 0, :]))
        else:
            keys = self.store(k[:, :, None] + relative)
            raw = store(self.matmul(q[..., None, :], keys.swapaxes(-1, -2))[..., 0, :])
        if c.bias_at == "products":
            scores = store(raw + self.store(tensors["bias"] * scale)) if self.prescaled else raw
            scores = scores if self.prescaled else store(store(raw + tensors["bias"]) * scale)
        else:
            scores = raw if self.prescaled else store(raw * scale)
        if c.bias and c.bias_at == "scores":
            scores = store(scores + tensors["bias"])
        if c.softcap:
            bounded = store(self.add_ulp_noise(np.tanh(store(scores / c.softcap)), self.p.accumulate))
            scores = store(c.softcap * bounded)
        if c.mask and c.mask.type == "additive":
            scores = store(scores + tensors["mask"])
        return scores

    def add_ulp_noise(self, values: Array, format: Format) -> Array:
        """Add an error of up to one ulp before rounding, as exp and tanh of libraries have."""
        noise = np.random.default_rng(0).uniform(-1, 1, values.shape)
        return round_to(values * (1 + 2 * noise * format.unit_roundoff), format)

    def heads(
        self,
        c: AttentionConfig,
        scores: Array,
        allowed: Array,
        values: Array,
        relative: Array | None,
        sink: Array | None,
    ) -> Array:
        p, factor = self.p, c.scale if c.scale_at == "weights" else None
        if relative is not None and not self.separate:
            values, relative = self.store(values[:, :, None] + relative), None
        if self.fused and values.ndim == 4:
            heads = self.online(scores, allowed, values, sink)
            return self.store(heads if factor is None else self.rounding(p.accumulate)(heads * factor))
        narrow = self.rounding(p.softmax)
        masked = narrow(np.where(allowed, scores, -np.inf))
        if sink is not None:
            masked = np.concatenate([masked, np.broadcast_to(narrow(sink), (*masked.shape[:-1], 1))], axis=-1)
        largest = np.max(masked, axis=-1, keepdims=True, initial=-np.inf)
        shifted = narrow(masked - np.where(np.isneginf(largest), 0.0, largest))
        numerator = self.add_ulp_noise(np.exp(shifted), p.softmax)
        denominator = self.total(np.moveaxis(numerator, -1, 0), p.softmax)[..., None]
        weights = narrow(numerator / np.where(denominator == 0, 1.0, denominator))
        weights = round_to(weights, p.weights)[..., : c.kv_len]
        if factor is not None:
            weights = round_to(weights * factor, p.weights)
        if values.ndim == 5:
            return self.store(self.matmul(weights[..., None, :], values)[..., 0, :])
        heads = self.matmul(weights, values)
        if relative is None:
            return self.store(heads)
        return self.store(self.store(heads) + self.store(self.matmul(weights[..., None, :], relative)[..., 0, :]))

    def online(self, scores: Array, allowed: Array, values: Array, sink: Array | None) -> Array:
        """Milakov & Gimelshein 2018: the running sum and output are rescaled whenever the maximum grows.

        A sink logit initializes the running maximum and sum.
        """
        p, rnd = self.p, self.rounding(self.p.softmax)
        shape = (*scores.shape[:-1], 1)
        largest, total = np.full(shape, -np.inf), np.zeros(shape)
        if sink is not None:
            largest, total = np.broadcast_to(sink, shape), np.ones(shape)
        output = np.zeros((*scores.shape[:-1], values.shape[-1]))
        for start in range(0, scores.shape[-1], self.fused):
            block = slice(start, start + self.fused)
            masked = np.where(allowed[..., block], scores[..., block], -np.inf)
            above = np.maximum(largest, masked.max(axis=-1, keepdims=True))
            base = np.where(np.isfinite(above), above, 0.0)
            rescale = np.where(
                np.isfinite(largest), rnd(np.exp(rnd(np.where(np.isfinite(largest), largest, 0) - base))), 0
            )
            part = self.add_ulp_noise(np.exp(rnd(masked - base)), p.softmax)
            total = rnd(rnd(total * rescale) + self.total(np.moveaxis(part, -1, 0), p.softmax)[..., None])
            product = self.matmul(round_to(part, p.weights), values[..., block, :])
            output = round_to(round_to(output * rescale, p.accumulate) + product, p.accumulate)
            largest = above
        return round_to(output / np.where(total == 0, 1.0, total), p.accumulate)


BASE: dict[str, Any] = {"batch": 2, "q_len": 5, "kv_len": 33, "num_heads": 2, "head_dim": 16}
PACKED: dict[str, Any] = {"batch": 2, "q_len": 5, "kv_len": 9, "num_heads": 2, "head_dim": 8, "layout": "bsd"}
CONFIGS: dict[str, dict[str, Any]] = {
    "plain": BASE,
    "one key": BASE | {"kv_len": 1},
    "many keys": BASE | {"batch": 1, "kv_len": 300, "head_dim": 8},
    "long vectors": BASE | {"kv_len": 9, "head_dim": 100},
    "grouped": BASE | {"num_heads": 4, "num_kv_heads": 2, "value_dim": 3},
    "causal": BASE | {"q_len": 12, "kv_len": 12, "causal": "top_left"},
    "window": BASE | {"q_len": 12, "kv_len": 15, "causal": "bottom_right", "window": {"left": 2}},
    "scale 2": BASE | {"scale": 2.0},
    "scale 0.3": BASE | {"scale": 0.3, "layout": "bhsd"},
    "scale at weights": BASE | {"scale": 0.3, "scale_at": "weights"},
    "bool mask": BASE | {"mask": {"type": "bool", "shape": "bhqk"}},
    "masked row": BASE | {"mask": {"type": "bool", "pattern": "masked_row"}, "fully_masked": "mean"},
    "masked row is nan": BASE | {"mask": {"type": "bool", "pattern": "masked_row"}, "fully_masked": "nan"},
    "additive mask": BASE | {"mask": {"type": "additive"}},
    "mask of -inf": BASE | {"mask": {"type": "additive", "fill": -np.inf}},
    "mask of lowest": BASE | {"mask": {"type": "additive", "fill": "lowest"}},
    "lengths": BASE | {"kv_lengths": [7, 0]},
    "bias": BASE | {"bias": "random"},
    "alibi": BASE | {"bias": "alibi"},
    "small softcap": BASE | {"softcap": 1.5},
    "large softcap": BASE | {"softcap": 20.0, "scale": 1.0},
    "sink": BASE | {"sink": True},
    "sink, grouped and causal": BASE
    | {"sink": True, "num_heads": 4, "num_kv_heads": 2, "causal": "top_left", "value_dim": 3},
    "sink, a length of zero": BASE | {"sink": True, "kv_lengths": [7, 0], "softcap": 1.5},
    "bias of the products": BASE | {"bias": "random", "bias_at": "products", "scale": 0.3},
    "past": BASE | {"past": 30, "q_len": 3, "causal": "bottom_right"},
    "past, projected": PACKED | {"past": 4, "projections": {"kind": "linear", "bias": True}, "self_attention": True},
    "rotary": BASE | {"rotary": {}},
    "rotary of neighbours": BASE | {"rotary": {"pairing": "interleaved", "dims": 6}, "layout": "sbhd"},
    "rotary, one key": BASE | {"rotary": {}, "kv_len": 1},
    "rotary and past": BASE | {"rotary": {}, "past": 20, "num_heads": 4, "num_kv_heads": 1, "softcap": 1.5},
    "rotary and sink": BASE | {"rotary": {}, "sink": True, "causal": "bottom_right"},
    "rotary of projections": PACKED
    | {"rotary": {}, "projections": {"kind": "linear", "output": True}, "self_attention": True, "q_len": 9},
    "cancelling": BASE | {"data": "cancelling"},
    "shared projections": PACKED
    | {"projections": {"kind": "per_head", "shared": True, "output": True}, "num_kv_heads": 1, "value_dim": 5},
    "relative keys": PACKED | {"relative": {"values": False}},
    "relative values": PACKED | {"relative": {"keys": False}, "causal": "bottom_right"},
    "relative, one key": PACKED | {"relative": {}, "kv_len": 1},
    "linear": PACKED | {"projections": {"kind": "linear"}},
    "linear with bias and output": PACKED | {"projections": {"kind": "linear", "bias": True, "output": True}},
    "linear, one key": PACKED | {"kv_len": 1, "projections": {"kind": "linear", "bias": True}},
    "per head": PACKED | {"projections": {"kind": "per_head", "bias": True}},
    "large logits": BASE | {"data": "large"},
    "uniform": BASE | {"data": "uniform"},
    "integers": BASE | {"data": "integers"},
    "wide": BASE | {"data": "wide"},
    "sparse": BASE | {"data": "sparse"},
}
FORMULATIONS: dict[str, dict[str, Any]] = {
    "by hand": {},
    "by hand, query scaled": {"prescaled": True, "pairs": True},
    "by hand, constants rounded": {"constants": True, "separate": True},
    "fused": {"fused": 8, "pairs": True},
    "fused, query scaled": {"fused": 3, "prescaled": True},
}
PRECISIONS: dict[str, tuple[str, dict[str, str | bool]]] = {
    "float64": ("float64", {}),
    "float32": ("float32", {}),
    "float32 by TF32": ("float32", {"multiply": "tf32"}),
    "bfloat16": ("bfloat16", {}),
    "bfloat16 softmax": ("bfloat16", {"softmax": "bfloat16"}),
    "bfloat16 throughout": ("bfloat16", {"softmax": "bfloat16", "accumulate": "bfloat16"}),
    "float16": ("float16", {}),
    "float16 softmax": ("float16", {"softmax": "float16"}),
}


def make_case(name: str, seed: int = 0, **changes: Any) -> tuple[AttentionConfig, Case]:
    config = AttentionConfig.model_validate(CONFIGS[name] | changes)
    return config, Case(id=f"attention/{name}/{seed}", name=name, file=Path("x.yaml"), line=1, config=config)


few = lru_cache(maxsize=4)  # of the last inputs and references, which several formulations share
operands_of = few(inputs.operands)


@few
def reference_of(case: Case, p: Precision, dtype: str) -> Reference:
    assert isinstance(case.config, AttentionConfig)
    random = inputs.has_random_terms(case)
    return references(case.config, DTYPES[dtype], operands_of(case, dtype), p, random)["result"]


def declare(dtype: str, formats: Mapping[str, str | bool], options: Mapping[str, Any]) -> Precision:
    """The precision of a formulation: a kernel stores no scores, and a scaled query is stored in the dtype."""
    p = declared_precision(DTYPES[dtype], **formats)
    p = p.replace(intermediate=p.accumulate.name) if options.get("fused") else p
    return p.replace(scaled=p.storage.name) if options.get("prescaled") else p


def error_ratio_of(case: Case, dtype: str, formats: Mapping[str, str | bool], options: Mapping[str, Any]) -> float:
    p = declare(dtype, formats, options)
    with np.errstate(invalid="ignore", over="ignore"):
        output = SimulatedAttention(p, **options).attend(case.config, operands_of(case, dtype))
    return worst_ratio(output, reference_of(case, p, dtype))
