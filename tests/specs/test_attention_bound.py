"""The attention bound: correct attention stays within it however it is written, wrong attention does not."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from narrow_arithmetic import Rounding, pairwise, sequential, worst

from specs import inputs
from specs.attention import allowed_keys, attention, rotary_pairs, to_heads, to_layout, with_past
from specs.attention_bound import reference
from specs.bound import Reference, rounded
from specs.case import AttentionConfig, Case
from specs.comparison import compare
from specs.formats import DTYPES, Array, Format, cast, round_to
from specs.precision import Precision, declared

# A simulated backend: rounds after every operation ------------------------------------------------------------------


@dataclass(frozen=True)
class Computed:
    """Attention in the declared precision, written in one of the ways in which people and kernels write it.

    fused       scores are never stored; the softmax runs online over blocks of this many keys
    prescaled   the query is multiplied by the scale and stored, instead of the scores
    constants   the scale is rounded to the dtype before it is used
    apart       relative positions are contracted apart and the results added, instead of added to keys and values
    pairs       sums are pairwise instead of sequential
    """

    p: Precision
    fused: int = 0
    prescaled: bool = False
    constants: bool = False
    apart: bool = False
    pairs: bool = False

    def rounding(self, format: Format) -> Rounding:
        return lambda values: round_to(values, format)

    @property
    def kept(self) -> Rounding:
        """What is stored between two steps of the attention proper."""
        return self.rounding(self.p.intermediate)

    def stored(self, values: Array) -> Array:
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

    def projected(self, c: AttentionConfig, given: Mapping[str, Array], name: str) -> Array:
        x, heads = given["input" if c.self_attention else name], c.num_heads if name == "query" else c.num_kv_heads
        if c.projections is None:
            return to_heads(c, x, heads)
        weight, bias = given[f"{name}_weight"], given.get(f"{name}_bias")
        if c.projections.kind == "linear":
            return to_heads(c, self.linear(x, weight, bias), heads)
        product = self.stored(self.matmul(to_heads(c, x, heads), weight))
        return product if bias is None else self.stored(product + bias[..., None, :])

    def linear(self, x: Array, weight: Array, bias: Array | None) -> Array:
        product = self.stored(self.matmul(x, weight.T))
        return product if bias is None else self.stored(product + bias)

    def turned(self, c: AttentionConfig, given: Mapping[str, Array], x: Array, first: int) -> Array:
        """Rotary positions as they are written by hand: every product stored, and their sum."""
        if c.rotary is None:
            return x
        at, (one, two), out = slice(first, first + x.shape[2]), rotary_pairs(c), x.copy()
        cos, sin = given["rotary_cos"][at], given["rotary_sin"][at]
        out[..., one] = self.stored(self.stored(x[..., one] * cos) - self.stored(x[..., two] * sin))
        out[..., two] = self.stored(self.stored(x[..., two] * cos) + self.stored(x[..., one] * sin))
        return out

    def attend(self, c: AttentionConfig, operands: Mapping[str, Array]) -> Array:
        given = {name: array.astype(np.float64) for name, array in operands.items()}
        query = self.turned(c, given, self.projected(c, given, "query"), c.query_offset)
        key = self.turned(c, given, self.projected(c, given, "key"), c.past or 0)
        group = c.num_heads // c.num_kv_heads
        keys, values = (
            np.repeat(with_past(c, given, name, x), group, axis=1)
            for name, x in (("key", key), ("value", self.projected(c, given, "value")))
        )
        relative_keys, relative_values = (
            given[f"relative_{name}"].transpose(2, 0, 1, 3) if f"relative_{name}" in given else None
            for name in ("keys", "values")
        )
        scores = self.scores(c, given, query, keys, relative_keys)
        allowed = np.broadcast_to(allowed_keys(c, operands), scores.shape)
        if c.fully_masked == "mean":
            nothing = ~allowed.any(axis=-1, keepdims=True)
            scores, allowed = np.where(nothing, 0.0, scores), allowed | nothing
        sink = given["sink"][:, None, None] if c.sink else None
        heads = self.heads(c, scores, allowed, values, relative_values, sink)
        if c.fully_masked == "nan":
            heads = np.where(allowed.any(axis=-1, keepdims=True), heads, np.nan)
        output = to_layout(c, heads)
        if c.projections and c.projections.output:
            output = self.linear(output, given["output_weight"], given["output_bias"])
        return output

    def scores(
        self, c: AttentionConfig, given: Mapping[str, Array], q: Array, k: Array, relative: Array | None
    ) -> Array:
        kept = self.kept
        scale = round_to(c.score_scale, self.p.storage) if self.constants else c.score_scale
        if self.prescaled:
            q = self.stored(q * scale)
        if relative is None:
            raw = kept(self.matmul(q, k.swapaxes(-1, -2)))
        elif self.apart:
            raw = kept(self.matmul(q, k.swapaxes(-1, -2)))
            raw = kept(raw + kept(self.matmul(q[..., None, :], relative.swapaxes(-1, -2))[..., 0, :]))
        else:
            own = self.stored(k[:, :, None] + relative)
            raw = kept(self.matmul(q[..., None, :], own.swapaxes(-1, -2))[..., 0, :])
        if c.bias_at == "products":
            scores = kept(raw + self.stored(given["bias"] * scale)) if self.prescaled else raw
            scores = scores if self.prescaled else kept(kept(raw + given["bias"]) * scale)
        else:
            scores = raw if self.prescaled else kept(raw * scale)
        if c.bias and c.bias_at == "scores":
            scores = kept(scores + given["bias"])
        if c.softcap:
            bounded = kept(self.unsure(np.tanh(kept(scores / c.softcap)), self.p.accumulate))
            scores = kept(c.softcap * bounded)
        if c.mask and c.mask.type == "additive":
            scores = kept(scores + given["mask"])
        return scores

    def unsure(self, values: Array, format: Format) -> Array:
        """Off by up to an ulp more than rounding, as exp and tanh of libraries are."""
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
        if relative is not None and not self.apart:
            values, relative = self.stored(values[:, :, None] + relative), None
        if self.fused and values.ndim == 4:
            heads = self.online(scores, allowed, values, sink)
            return self.stored(heads if factor is None else self.rounding(p.accumulate)(heads * factor))
        narrow = self.rounding(p.softmax)
        masked = narrow(np.where(allowed, scores, -np.inf))
        if sink is not None:
            masked = np.concatenate([masked, np.broadcast_to(narrow(sink), (*masked.shape[:-1], 1))], axis=-1)
        largest = np.max(masked, axis=-1, keepdims=True, initial=-np.inf)
        shifted = narrow(masked - np.where(np.isneginf(largest), 0.0, largest))
        numerator = self.unsure(np.exp(shifted), p.softmax)
        denominator = self.total(np.moveaxis(numerator, -1, 0), p.softmax)[..., None]
        weights = narrow(numerator / np.where(denominator == 0, 1.0, denominator))
        weights = round_to(weights, p.weights)[..., : c.kv_len]
        if factor is not None:
            weights = round_to(weights * factor, p.weights)
        if values.ndim == 5:
            return self.stored(self.matmul(weights[..., None, :], values)[..., 0, :])
        heads = self.matmul(weights, values)
        if relative is None:
            return self.stored(heads)
        return self.stored(self.stored(heads) + self.stored(self.matmul(weights[..., None, :], relative)[..., 0, :]))

    def online(self, scores: Array, allowed: Array, values: Array, sink: Array | None) -> Array:
        """Milakov & Gimelshein 2018: the running sum and output are rescaled whenever the maximum grows.

        A sink is where the running maximum and sum begin.
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
            part = self.unsure(np.exp(rnd(masked - base)), p.softmax)
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
WRITTEN: dict[str, dict[str, Any]] = {
    "by hand": {},
    "by hand, query scaled": {"prescaled": True, "pairs": True},
    "by hand, constants rounded": {"constants": True, "apart": True},
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


def made(name: str, seed: int = 0, **changes: Any) -> tuple[AttentionConfig, Case]:
    config = AttentionConfig.model_validate(CONFIGS[name] | changes)
    return config, Case(id=f"attention/{name}/{seed}", name=name, file=Path("x.yaml"), line=1, config=config)


def expectation(case: Case, p: Precision, dtype: str) -> Reference:
    assert isinstance(case.config, AttentionConfig)
    random = inputs.random_terms(case)
    return reference(case.config, DTYPES[dtype], inputs.operands(case, dtype), p, random)


def ratio_of(case: Case, dtype: str, formats: Mapping[str, str | bool], written: Mapping[str, Any]) -> float:
    p = declared(DTYPES[dtype], **formats)
    if written.get("fused"):
        p = p.but(intermediate=p.accumulate.name)
    with np.errstate(invalid="ignore", over="ignore"):
        output = Computed(p, **written).attend(case.config, inputs.operands(case, dtype))
    return worst(output, expectation(case, p, dtype))


@pytest.mark.parametrize("name", CONFIGS, ids=lambda n: n.replace(" ", "_"))
@pytest.mark.parametrize("precision", PRECISIONS, ids=lambda n: n.replace(" ", "_"))
def test_correct_attention_stays_within_the_bound_however_it_is_written(name: str, precision: str) -> None:
    dtype, formats = PRECISIONS[precision]
    ratios = {}
    for seed in range(2):
        for how, written in WRITTEN.items():
            ratios[how, seed] = ratio_of(made(name, seed)[1], dtype, formats, written)
    assert max(ratios.values()) <= 1, ratios


# Usefulness ---------------------------------------------------------------------------------------------------------

Wrong = Callable[[AttentionConfig, dict[str, Array]], tuple[AttentionConfig, dict[str, Array]]]


def but(**fields: Any) -> Wrong:
    """The same operands under another statement of the case."""
    return lambda c, given: (c.model_copy(update=fields), given)


def scaled(factor: float) -> Wrong:
    return lambda c, given: (c.model_copy(update={"scale": c.score_scale * factor}), given)


def visible(diagonal: int) -> Wrong:
    """Keys up to this many after the query's own place."""

    def shifted(c: AttentionConfig, given: dict[str, Array]) -> tuple[AttentionConfig, dict[str, Array]]:
        masked = AttentionConfig.model_validate(c.model_dump() | {"causal": "none", "mask": {"type": "bool"}})
        return masked, given | {"mask": np.tri(c.q_len, c.kv_len, diagonal, dtype=bool)}

    return shifted


def heads_interleaved(c: AttentionConfig, given: dict[str, Array]) -> tuple[AttentionConfig, dict[str, Array]]:
    """Query head h reads key head h modulo their number, instead of consecutive heads sharing one."""
    tiled = {name: np.tile(given[name], (1, 1, c.num_heads // c.num_kv_heads, 1)) for name in ("key", "value")}
    return c.model_copy(update={"num_kv_heads": c.num_heads}), given | tiled


def without_last_key(c: AttentionConfig, given: dict[str, Array]) -> tuple[AttentionConfig, dict[str, Array]]:
    return c.model_copy(update={"kv_len": c.kv_len - 1}), given | {n: given[n][:, :-1] for n in ("key", "value")}


def shared_first(name: str) -> Wrong:
    """Every batch item gets what belongs to the first."""
    return lambda c, given: (c, given | {name: np.repeat(given[name][:1], len(given[name]), axis=0)})


GROUPED = {"num_heads": 4, "num_kv_heads": 2}
SQUARE = {"q_len": 12, "kv_len": 12, "causal": "top_left"}
MASKED_ROW = {"mask": {"type": "bool", "pattern": "masked_row"}}
SEMANTIC: dict[str, tuple[dict[str, Any], Wrong]] = {
    "scale missing": ({}, but(scale=1.0)),
    "scale twice": ({}, scaled(16**-0.5)),
    "scale doubled": ({}, scaled(2.0)),
    "scale off by 3 percent": ({}, scaled(1.03)),
    "scale at the weights": ({"scale": 0.5}, but(scale_at="weights")),
    "causal sees one more": (SQUARE, visible(1)),
    "causal sees one less": (SQUARE, visible(-1)),
    "causal ignored": (SQUARE, but(causal="none")),
    "causal aligned at the other end": (SQUARE | {"kv_len": 15}, but(causal="bottom_right")),
    "window one too wide": (SQUARE | {"window": {"left": 3}}, but(window=AttentionConfig.model_validate(
        {"q_len": 1, "head_dim": 1, "window": {"left": 4}}).window)),
    "heads interleaved": (GROUPED, heads_interleaved),
    "last key dropped": ({}, without_last_key),
    "mask of the first batch item": ({"mask": {"type": "bool", "shape": "bhqk"}}, shared_first("mask")),
    "value of the first batch item": ({}, shared_first("value")),
    "lengths ignored": ({"kv_lengths": [7, 20]}, but(kv_lengths=None)),
    "bias ignored": ({"bias": "random"}, lambda c, given: (c, {n: a for n, a in given.items() if n != "bias"})),
    "softcap ignored": ({"softcap": 2.0}, but(softcap=None)),
    "zeros for nan": (MASKED_ROW | {"fully_masked": "nan"}, but(fully_masked="zeros")),
    "mean for zeros": (MASKED_ROW, but(fully_masked="mean")),
    "nan for zeros": (MASKED_ROW, but(fully_masked="nan")),
}  # fmt: skip


@pytest.mark.parametrize("fault", SEMANTIC, ids=lambda n: n.replace(" ", "_"))
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("seed", range(2))
def test_another_computation_is_outside_the_bound(fault: str, dtype: str, seed: int) -> None:
    changes, wrong = SEMANTIC[fault]
    config, case = made("plain", seed, **changes)
    operands = dict(inputs.operands(case, dtype))
    expected = expectation(case, declared(DTYPES[dtype]), dtype)
    right = attention(config, operands, DTYPES[dtype])
    assert compare(cast(rounded(right.output), DTYPES[dtype]), expected).problem == ""
    got = attention(*wrong(config, operands), DTYPES[dtype])
    assert compare(cast(rounded(got.output), DTYPES[dtype]), expected).problem


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_a_softmax_over_the_wrong_axis_is_outside_the_bound(dtype: str) -> None:
    _, case = made("plain", q_len=9, kv_len=9, layout="bhsd")
    q, k, v = (inputs.operands(case, dtype)[name].astype(np.float64) for name in ("query", "key", "value"))
    scores = np.exp(q @ k.swapaxes(-1, -2) / 4)
    expected = expectation(case, declared(DTYPES[dtype]), dtype)
    over_keys, over_queries = (cast(scores / scores.sum(axis, keepdims=True) @ v, DTYPES[dtype]) for axis in (-1, -2))
    assert worst(over_keys, expected) <= 1
    assert worst(over_queries, expected) > 1


@pytest.mark.parametrize(
    ("dtype", "narrower"),
    [
        ("float32", {"multiply": "tf32"}),
        ("float32", {"multiply": "bfloat16"}),
        ("float32", {"softmax": "float16"}),
        ("float32", {"softmax": "bfloat16"}),
        ("float32", {"weights": "bfloat16"}),
        ("float32", {"intermediate": "float16"}),
        ("float32", {"accumulate": "float16"}),
        ("float64", {"multiply": "float32"}),
        ("float64", {"softmax": "float32"}),
        ("float64", {"accumulate": "float32"}),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["plain", "grouped", "causal", "many keys"])
def test_a_step_in_a_narrower_format_is_outside_the_bound(dtype: str, narrower: dict[str, str], name: str) -> None:
    config, case = made(name)
    p = declared(DTYPES[dtype])
    output = Computed(p.but(**narrower)).attend(config, inputs.operands(case, dtype))
    assert worst(output, expectation(case, p, dtype)) > 1
    allowed = expectation(case, p.but(**narrower), dtype)
    assert worst(output, allowed) <= 1  # declared, it is right


@pytest.mark.parametrize("name", ["integers", "sparse"])
@pytest.mark.parametrize(
    "narrower", [{"weights": "bfloat16"}, {"softmax": "bfloat16"}, {"multiply": "bfloat16"}], ids=str
)
def test_bfloat16_behind_float32_is_outside_the_bound_for_any_data_too(name: str, narrower: dict[str, str]) -> None:
    config, case = made(name)
    p = declared(DTYPES["float32"])
    expected = expectation(case, p, "float32")
    assert expected.facts["form"] == "any data"
    assert worst(Computed(p.but(**narrower)).attend(config, inputs.operands(case, "float32")), expected) > 1


# Numbers that are not finite, and ranges that overflow ---------------------------------------------------------------

LITERAL = {"batch": 1, "num_heads": 1, "head_dim": 1, "value_dim": 1, "scale": 1.0}


def column(*numbers: float) -> list[list[list[list[float]]]]:
    """A tensor bshd of one head and one feature."""
    return [[[[number]] for number in numbers]]


def outcome(dtype: str, **fields: Any) -> Reference:
    _, case = made("plain", **LITERAL | fields)
    return expectation(case, declared(DTYPES[dtype]), dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_what_is_not_finite_has_one_right_result_and_the_rest_keeps_its_bound(dtype: str) -> None:
    keys, values = column(1.0, 2.0, 3.0), column(1.0, np.nan, 2.0)
    found = outcome(dtype, q_len=3, kv_len=3, causal="top_left", key=keys, value=values)
    assert np.isnan(rounded(found.value)).ravel().tolist() == [False, True, True]
    assert found.error is not None
    assert np.isfinite(found.error).all()
    infinite = outcome(dtype, q_len=1, kv_len=2, query=column(0.0), value=column(np.inf, 1.0))
    assert rounded(infinite.value).ravel().tolist() == [np.inf]
    assert infinite.error is not None
    assert infinite.error.ravel().tolist() == [0.0]


@pytest.mark.parametrize(("masked_values", "expected"), [("ignored", [1.0, np.nan]), ("spread", [np.nan, np.nan])])
def test_a_masked_value_counts_for_nothing_or_as_zero_times_it(masked_values: str, expected: list[float]) -> None:
    values = column(1.0, np.nan)
    found = outcome("float32", q_len=2, kv_len=2, causal="top_left", value=values, masked_values=masked_values)
    np.testing.assert_array_equal(rounded(found.value).ravel(), expected)


def test_an_infinite_value_whose_weight_may_vanish_leaves_no_bound() -> None:
    found = outcome("float32", q_len=1, kv_len=2, query=column(1.0), key=column(0.0, 200.0), value=column(np.inf, 1.0))
    assert found.error is not None
    assert np.isinf(found.error).all()


def test_a_product_that_may_be_minus_infinity_in_float16_only_loses_its_own_weight() -> None:
    fields = {"q_len": 1, "kv_len": 2, "query": column(300.0), "key": column(-300.0, 0.0), "value": column(5.0, 2.0)}
    found = outcome("float16", **fields)
    assert found.error is not None
    assert found.error.max() < 0.01
    every = outcome("float16", **fields | {"key": column(-300.0, -301.0)})
    assert every.error is not None
    assert np.isinf(every.error).all()


def test_behind_a_softcap_an_overflowing_product_is_the_cap() -> None:
    fields = {"q_len": 1, "kv_len": 2, "query": column(300.0), "key": column(300.0, 0.0), "value": column(5.0, 2.0)}
    found = outcome("float16", **fields, softcap=1.0)
    assert found.error is not None
    assert found.error.max() < 0.01


@pytest.mark.parametrize("name", ["linear", "linear with bias and output", "per head", "rotary", "relative keys"])
def test_random_data_narrow_the_bound_of_what_is_projected_turned_or_relative(name: str) -> None:
    _, case = made(name, kv_len=64)
    p = declared(DTYPES["bfloat16"])
    operands = inputs.operands(case, "bfloat16")
    assert isinstance(case.config, AttentionConfig)
    random, any_data = (
        reference(case.config, DTYPES["bfloat16"], operands, p, random=random).error for random in (True, False)
    )
    assert random is not None
    assert any_data is not None
    assert np.median(random / any_data) < 0.75


def test_scores_beyond_float16_leave_no_bound_and_others_keep_theirs() -> None:
    literal = {"query": [[[[300.0]], [[1.0]]]], "key": [[[[300.0]]]], "value": [[[[2.0]]]]}
    shape = {"batch": 1, "q_len": 2, "kv_len": 1, "num_heads": 1, "head_dim": 1, "value_dim": 1}
    _, case = made("plain", **shape, **literal)
    stored, kept = (declared(DTYPES["float16"], intermediate=name) for name in ("float16", "float32"))
    assert np.isinf(expectation(case, stored, "float16").error).ravel().tolist() == [True, False]
    assert np.isfinite(expectation(case, kept, "float16").error).all()
