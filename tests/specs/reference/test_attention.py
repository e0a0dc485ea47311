"""Reference attention against the formula, evaluated element by element in ball arithmetic of 80 digits."""

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import flint
import numpy as np
import pytest

from specs.arithmetic.double_double import lift
from specs.arithmetic.formats import DTYPES, Array
from specs.case.attention import AttentionConfig
from specs.case.case import Case
from specs.case.error import CaseError
from specs.inputs import inputs
from specs.reference.attention import attention

arb = flint.arb
BASE: dict[str, Any] = {"batch": 2, "q_len": 3, "kv_len": 4, "num_heads": 2, "head_dim": 3, "dtypes": ["float64"]}
FLAT = BASE | {"batch": 1, "num_heads": 1, "layout": "ds"}
PACKED = BASE | {"layout": "bsd"}
CONFIGS: dict[str, dict[str, Any]] = {
    "plain": BASE,
    "one of all": {"q_len": 1, "head_dim": 1},
    "layout bhsd": BASE | {"layout": "bhsd"},
    "layout sbhd": BASE | {"layout": "sbhd", "value_dim": 2},
    "layout bsd": PACKED,
    "layout ds": FLAT,
    "values of another size": BASE | {"value_dim": 5},
    "grouped heads": BASE | {"num_heads": 4, "num_kv_heads": 2},
    "one key head": BASE | {"num_heads": 3, "num_kv_heads": 1, "layout": "bhsd"},
    "grouped packed heads": PACKED | {"num_heads": 4, "num_kv_heads": 2, "value_dim": 2},
    "scale": BASE | {"scale": 0.3},
    "scale zero": BASE | {"scale": 0.0},
    "negative scale": BASE | {"scale": -1.5},
    "scale at weights": BASE | {"scale": 0.7, "scale_at": "weights"},
    "causal, square": BASE | {"kv_len": 3, "causal": "top_left"},
    "causal, top left, more keys": BASE | {"causal": "top_left"},
    "causal, bottom right, more keys": BASE | {"causal": "bottom_right"},
    "causal, top left, more queries": BASE | {"q_len": 5, "kv_len": 3, "causal": "top_left"},
    "causal, bottom right, more queries": BASE | {"q_len": 5, "kv_len": 3, "causal": "bottom_right"},
    "window to the left": BASE | {"q_len": 4, "window": {"left": 1}},
    "window to the right": BASE | {"q_len": 4, "window": {"right": 1}},
    "window, bottom right": BASE | {"q_len": 2, "kv_len": 5, "causal": "bottom_right", "window": {"left": 2}},
    "window of one": BASE | {"q_len": 4, "window": {"left": 0, "right": 0}},
    "bool mask": BASE | {"mask": {"type": "bool"}},
    "bool mask of each item and head": BASE | {"mask": {"type": "bool", "shape": "bhqk"}},
    "bool mask of keys": BASE | {"mask": {"type": "bool", "shape": "b11k", "pattern": "padding"}},
    "additive mask": BASE | {"mask": {"type": "additive", "shape": "1hqk"}},
    "additive mask of -inf": BASE | {"mask": {"type": "additive", "fill": -np.inf}},
    "additive mask of lowest": BASE | {"mask": {"type": "additive", "fill": "lowest"}},
    "additive mask of -3": BASE | {"mask": {"type": "additive", "fill": -3.0, "shape": "h1k"}},
    "lengths": BASE | {"kv_lengths": [4, 2]},
    "a length of zero": BASE | {"kv_lengths": [0, 2]},
    "bias": BASE | {"bias": "random"},
    "bias of the products": BASE | {"bias": "random", "bias_at": "products", "scale": 0.3},
    "alibi": BASE | {"bias": "alibi", "causal": "bottom_right"},
    "softcap": BASE | {"softcap": 1.5},
    "softcap after bias, before mask": BASE | {"softcap": 2.0, "bias": "random", "mask": {"type": "additive"}},
    "sink": BASE | {"sink": True, "num_heads": 4, "num_kv_heads": 2},
    "sink, masked row": BASE | {"sink": True, "mask": {"type": "bool", "pattern": "masked_row"}},
    "sink without keys": BASE | {"sink": True, "kv_len": 0},
    "past": BASE | {"past": 3, "value_dim": 2},
    "past, packed": PACKED | {"past": 1, "num_heads": 4, "num_kv_heads": 2, "projections": {"kind": "linear"}},
    "past in columns": FLAT | {"past": 4},
    "past of self attention": PACKED
    | {"past": 1, "self_attention": True, "causal": "bottom_right", "projections": {"kind": "linear"}},
    "rotary by halves": BASE | {"head_dim": 4, "rotary": {}},
    "rotary of neighbours": BASE | {"head_dim": 4, "rotary": {"pairing": "interleaved", "base": 10.0}},
    "rotary of some features": BASE | {"head_dim": 7, "rotary": {"dims": 4}, "num_kv_heads": 1},
    "rotary of some neighbours": BASE | {"head_dim": 5, "rotary": {"dims": 2, "pairing": "interleaved"}},
    "rotary and past": BASE | {"head_dim": 4, "rotary": {}, "past": 3, "q_len": 1, "causal": "bottom_right"},
    "rotary of projections": PACKED
    | {"head_dim": 4, "rotary": {}, "projections": {"kind": "linear", "input_dim": 3, "bias": True}},
    "unseen": BASE | {"kv_lengths": [2, 4], "unseen": "nan"},
    "unseen in a cache": BASE | {"kv_lengths": [0, 2], "unseen": "inf", "past": 3, "layout": "sbhd"},
    "unseen that spreads": BASE | {"kv_lengths": [2, 4], "unseen": "inf", "masked_values": "spread"},
    "in other memory": BASE | {"memory": "transposed"},
    "in strided memory": PACKED | {"memory": "strided", "kv_lengths": [4, 2]},
    "cancelling": BASE | {"data": "cancelling", "kv_len": 7},
    "relative keys": BASE | {"relative": {"values": False}},
    "relative values": BASE | {"relative": {"keys": False}, "value_dim": 2},
    "relative both, grouped": BASE | {"relative": {}, "num_heads": 4, "num_kv_heads": 2},
    "linear projections": PACKED | {"projections": {"kind": "linear"}},
    "linear with bias and output": PACKED
    | {"projections": {"kind": "linear", "bias": True, "output": True, "input_dim": 5}, "value_dim": 2},
    "linear, grouped": PACKED | {"num_heads": 4, "num_kv_heads": 2, "projections": {"kind": "linear", "bias": True}},
    "linear in columns": FLAT | {"projections": {"kind": "linear", "bias": True, "output": True}, "value_dim": 2},
    "per head projections": BASE | {"projections": {"kind": "per_head", "input_dim": 2, "bias": True}},
    "shared projections": PACKED
    | {"projections": {"kind": "per_head", "shared": True, "bias": True, "output": True}},
    "self attention": PACKED
    | {"q_len": 4, "self_attention": True, "projections": {"kind": "linear", "bias": True, "output": True}},
    "self attention per head": BASE | {"q_len": 4, "self_attention": True, "projections": {"kind": "per_head"}},
    "masked row of zeros": BASE | {"mask": {"type": "bool", "pattern": "masked_row"}},
    "masked row of the mean": BASE | {"mask": {"type": "bool", "pattern": "masked_row"}, "fully_masked": "mean"},
    "masked row of nan": BASE | {"mask": {"type": "bool", "pattern": "masked_row"}, "fully_masked": "nan"},
    "masked row, then the output": PACKED
    | {"causal": "bottom_right", "q_len": 6, "projections": {"kind": "linear", "output": True}},
    "large logits": BASE | {"data": "large"},
    "large projected": PACKED | {"data": "large", "projections": {"kind": "linear"}},
    "no queries": BASE | {"q_len": 0},
    "no batch": BASE | {"batch": 0},
    "no keys": BASE | {"kv_len": 0},
}  # fmt: skip
every_config = pytest.mark.parametrize("name", CONFIGS, ids=lambda n: n.replace(" ", "_"))


@pytest.fixture(autouse=True)
def digits() -> Iterator[None]:
    before, flint.ctx.dps = flint.ctx.dps, 80
    yield
    flint.ctx.dps = before


class Formula:
    """One attention, element by element."""

    def __init__(self, config: AttentionConfig, operands: dict[str, Array]) -> None:
        self.c, self.operands = config, operands
        self.number = {name: self.balls(array) for name, array in operands.items() if array.dtype != bool}

    @staticmethod
    def balls(array: Array) -> Array:
        out = np.empty(array.shape, dtype=object)
        for index in np.ndindex(array.shape):
            out[index] = arb(float(array[index]))
        return out

    def element(self, tensor: Array, b: int, h: int, s: int, d: int, features: int) -> Any:
        if self.c.layout == "ds":
            return tensor[d, s]
        if self.c.layout == "bsd":
            return tensor[b, s, h * features + d]
        if self.c.layout == "sbhd":
            return tensor[s, b, h, d]
        return tensor[b, s, h, d] if self.c.layout == "bshd" else tensor[b, h, s, d]

    def source(self, name: str, b: int, h: int, s: int, d: int, features: int) -> Any:
        """An element of query, key or value, past ones included: projected, with its rotary position."""
        past = (self.c.past or 0) if name != "query" else 0
        if s < past:
            return self.element(self.number[f"past_{name}"], b, h, s, d, features)
        if self.c.rotary is None or name == "value" or d >= self.c.rotary_dims:
            return self.projected(name, b, h, s - past, d, features)
        half = self.c.rotary_dims // 2
        if self.c.rotary.pairing == "half":
            pair, first, other = d % half, d < half, (d + half) % (2 * half)
        else:
            pair, first, other = d // 2, d % 2 == 0, d ^ 1
        at = s + (self.c.query_offset if name == "query" else 0)
        own, other = (self.projected(name, b, h, s - past, i, features) for i in (d, other))
        turn = self.number["rotary_sin"][at, pair] * other
        return own * self.number["rotary_cos"][at, pair] + (-turn if first else turn)

    def projected(self, name: str, b: int, h: int, s: int, d: int, features: int) -> Any:
        p = self.c.projections
        tensor = self.number["input" if self.c.self_attention else name]
        if p is None:
            return self.element(tensor, b, h, s, d, features)
        weight, bias = self.number[f"{name}_weight"], self.number.get(f"{name}_bias")
        if p.kind == "linear":
            row = h * features + d
            terms = [
                w * (tensor[i, s] if self.c.layout == "ds" else tensor[b, s, i]) for i, w in enumerate(weight[row])
            ]
            return sum(terms, arb(0) if bias is None else bias[row])
        matrix = weight if p.shared else weight[h]
        size = len(matrix)
        terms = [self.element(tensor, b, h, s, i, size) * matrix[i, d] for i in range(size)]
        return sum(terms, arb(0) if bias is None else (bias if p.shared else bias[h])[d])

    def mask(self, b: int, h: int, i: int, j: int) -> Any:
        assert self.c.mask is not None
        place = {"b": b, "h": h, "q": i, "k": j, "1": 0}
        return self.operands["mask"][tuple(place[axis] for axis in self.c.mask.shape)]

    def allowed(self, b: int, h: int, i: int, j: int) -> bool:
        c = self.c
        position = i + (c.kv_len - c.q_len if c.causal == "bottom_right" else 0)
        if c.causal != "none" and j > position:
            return False
        if c.window and c.window.left is not None and j < position - c.window.left:
            return False
        if c.window and c.window.right is not None and j > position + c.window.right:
            return False
        if c.kv_lengths and j >= c.kv_lengths[b]:
            return False
        if c.mask is None:
            return True
        value = self.mask(b, h, i, j)
        return bool(value) if c.mask.type == "bool" else bool(value != -np.inf)

    def score(self, b: int, h: int, i: int, j: int) -> Any:
        c, kv = self.c, h * self.c.num_kv_heads // self.c.num_heads
        total = arb(0)
        for d in range(c.head_dim):
            key = self.source("key", b, kv, j, d, c.head_dim)
            if "relative_keys" in self.number:
                key = key + self.number["relative_keys"][i, j, h, d]
            total += self.source("query", b, h, i, d, c.head_dim) * key
        if c.bias_at == "products":
            total += self.number["bias"][h, i, j]
        if c.scale_at == "scores":
            total *= arb(1 / math.sqrt(c.head_dim) if c.scale is None else c.scale)
        if c.bias and c.bias_at == "scores":
            total += self.number["bias"][h, i, j]
        if c.softcap:
            total = (total / arb(c.softcap)).tanh() * arb(c.softcap)
        if c.mask and c.mask.type == "additive" and self.allowed(b, h, i, j):
            total += arb(float(self.mask(b, h, i, j)))
        return total

    def head(self, b: int, h: int, i: int) -> list[Any]:
        """One query's weighted values."""
        c, kv = self.c, h * self.c.num_kv_heads // self.c.num_heads
        keys = [j for j in range(c.kv_len) if self.allowed(b, h, i, j)]
        weight = {j: self.score(b, h, i, j).exp() for j in keys}
        if not keys and c.fully_masked == "nan":
            return [arb("nan")] * c.value_dim
        if not keys and c.fully_masked == "mean":
            weight = {j: arb(1) for j in range(c.kv_len)}
        total, out = sum(weight.values(), self.number["sink"][h].exp() if c.sink else arb(0)), []
        for d in range(c.value_dim):
            element = arb(0)
            for j, w in weight.items():
                value = self.source("value", b, kv, j, d, c.value_dim)
                if "relative_values" in self.number:
                    value = value + self.number["relative_values"][i, j, h, d]
                element += w / total * value
            if c.masked_values == "spread":  # 0 times a value
                masked = (self.source("value", b, kv, j, d, c.value_dim) for j in range(c.kv_len) if j not in weight)
                element = arb("nan") if any(not value.is_finite() for value in masked) else element
            out.append(element * arb(c.scale) if c.scale_at == "weights" else element)
        return out

    def output(self) -> Array:
        c = self.c
        heads = np.empty((c.batch, c.q_len, c.num_heads, c.value_dim), dtype=object)
        for b, i, h in np.ndindex(heads.shape[:3]):
            heads[b, i, h] = self.head(b, h, i)
        if c.layout == "bhsd":
            return heads.transpose(0, 2, 1, 3)
        if c.layout == "sbhd":
            return heads.transpose(1, 0, 2, 3)
        if c.layout == "bshd":
            return heads
        merged = heads.reshape(c.batch, c.q_len, c.num_heads * c.value_dim)
        if c.projections and c.projections.output:
            weight, bias = self.number["output_weight"], self.number["output_bias"]
            merged = np.array(
                [
                    [[sum(w * row, arb(0)) + z for w, z in zip(weight, bias, strict=True)] for row in item]
                    for item in merged
                ],
                dtype=object,
            ).reshape(merged.shape)
        return merged[0].T if c.layout == "ds" else merged


def make_case(name: str, **changes: Any) -> tuple[AttentionConfig, Case]:
    config = AttentionConfig.model_validate(CONFIGS[name] | changes)
    return config, Case(id=f"attention/{name}", name=name, file=Path("x.yaml"), line=1, config=config)


@every_config
@pytest.mark.parametrize(("dtype", "accuracy"), [("float64", "1e-25"), ("float32", "1e-13"), ("bfloat16", "1e-13")])
def test_attention_is_the_formula(name: str, dtype: str, accuracy: str) -> None:
    config, case = make_case(name)
    operands = dict(inputs.operands(case, dtype))
    output = lift(attention(config, operands, DTYPES[dtype]).output)
    expected = Formula(config, operands).output()
    assert output.shape == expected.shape
    scale = max((abs(x) for x in expected.ravel() if x.is_finite()), default=arb(1), key=float) + 1
    for index in np.ndindex(expected.shape):
        if not expected[index].is_finite():
            assert np.isnan(output.hi[index])
            continue
        ours = Fraction(float(output.hi[index])) + Fraction(float(output.lo[index]))
        error = abs(arb(flint.fmpq(ours.numerator, ours.denominator)) - expected[index])
        assert error < arb(accuracy) * scale, (index, error)


def test_every_field_that_changes_the_computation_is_covered() -> None:
    settings = {field for config in CONFIGS.values() for field in config}
    common = {"about", "source", "gradient", "expect", "modes", "implementations", "seed", "probe", "weak"}
    assert set(AttentionConfig.model_fields) - settings - common == {"query", "key", "value"}


def test_literal_operands_are_used_as_they_are() -> None:
    config, case = make_case("one of all", query=[[[[0.0]]]], key=[[[[1.0]]]], value=[[[[0.1]]]])
    operands = inputs.operands(case, "float64")
    assert attention(config, operands, DTYPES["float64"]).output.hi.tolist() == [[[[0.1]]]]


@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 3), (2, 4), (3, 2), (1, 2)])
def test_heads_that_cannot_be_shared_are_refused(heads: int, kv_heads: int) -> None:
    config, case = make_case("plain", num_heads=heads, num_kv_heads=kv_heads)
    with pytest.raises(CaseError) as raised:
        attention(config, inputs.operands(case, "float64"), DTYPES["float64"])
    assert raised.value.error == "head_mismatch"


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_no_operation_warns_or_overflows_with_scores_of_thousands(dtype: str) -> None:
    config, case = make_case("plain", scale=1000.0)
    output = lift(attention(config, inputs.operands(case, dtype), DTYPES[dtype]).output)
    largest = np.abs(inputs.operands(case, dtype)["value"].astype(float)).max()
    assert np.isfinite(output.hi).all()
    assert (np.abs(output.hi) <= largest).all()
