"""Another computation than attention's, or a step in a narrower format, is outside the error bound."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from specs.arithmetic.double_double import to_float64
from specs.arithmetic.formats import DTYPES, Array, cast
from specs.arithmetic.precision import declared_precision
from specs.case.attention import AttentionConfig
from specs.inputs import inputs
from specs.reference.attention import attention
from specs.verdict.comparison import compare
from tests.support.narrow_arithmetic import worst_ratio
from tests.support.narrow_attention import SimulatedAttention, make_case, reference_of

Wrong = Callable[[AttentionConfig, dict[str, Array]], tuple[AttentionConfig, dict[str, Array]]]


def change_fields(**fields: Any) -> Wrong:
    """The same operands with other fields of the case."""
    return lambda c, operands: (c.model_copy(update=fields), operands)


def change_scale(factor: float) -> Wrong:
    return lambda c, operands: (c.model_copy(update={"scale": c.score_scale * factor}), operands)


def visible(diagonal: int) -> Wrong:
    """Keys up to this many after the query's own position."""

    def shifted(c: AttentionConfig, operands: dict[str, Array]) -> tuple[AttentionConfig, dict[str, Array]]:
        masked = AttentionConfig.model_validate(c.model_dump() | {"causal": "none", "mask": {"type": "bool"}})
        return masked, operands | {"mask": np.tri(c.q_len, c.kv_len, diagonal, dtype=bool)}

    return shifted


def heads_interleaved(c: AttentionConfig, operands: dict[str, Array]) -> tuple[AttentionConfig, dict[str, Array]]:
    """Query head h uses key head h modulo their number, instead of consecutive heads sharing one."""
    tiled = {name: np.tile(operands[name], (1, 1, c.num_heads // c.num_kv_heads, 1)) for name in ("key", "value")}
    return c.model_copy(update={"num_kv_heads": c.num_heads}), operands | tiled


def without_last_key(c: AttentionConfig, operands: dict[str, Array]) -> tuple[AttentionConfig, dict[str, Array]]:
    return c.model_copy(update={"kv_len": c.kv_len - 1}), operands | {n: operands[n][:, :-1] for n in ("key", "value")}


def shared_first(name: str) -> Wrong:
    """Every batch item gets the operand of the first."""
    return lambda c, operands: (c, operands | {name: np.repeat(operands[name][:1], len(operands[name]), axis=0)})


GROUPED = {"num_heads": 4, "num_kv_heads": 2}
SQUARE = {"q_len": 12, "kv_len": 12, "causal": "top_left"}
MASKED_ROW = {"mask": {"type": "bool", "pattern": "masked_row"}}
SEMANTIC: dict[str, tuple[dict[str, Any], Wrong]] = {
    "scale missing": ({}, change_fields(scale=1.0)),
    "scale twice": ({}, change_scale(16**-0.5)),
    "scale doubled": ({}, change_scale(2.0)),
    "scale off by 3 percent": ({}, change_scale(1.03)),
    "scale at the weights": ({"scale": 0.5}, change_fields(scale_at="weights")),
    "causal sees one more": (SQUARE, visible(1)),
    "causal sees one less": (SQUARE, visible(-1)),
    "causal ignored": (SQUARE, change_fields(causal="none")),
    "causal aligned at the other end": (SQUARE | {"kv_len": 15}, change_fields(causal="bottom_right")),
    "window one too wide": (SQUARE | {"window": {"left": 3}}, change_fields(window=AttentionConfig.model_validate(
        {"q_len": 1, "head_dim": 1, "window": {"left": 4}}).window)),
    "heads interleaved": (GROUPED, heads_interleaved),
    "last key dropped": ({}, without_last_key),
    "mask of the first batch item": ({"mask": {"type": "bool", "shape": "bhqk"}}, shared_first("mask")),
    "value of the first batch item": ({}, shared_first("value")),
    "lengths ignored": ({"kv_lengths": [7, 20]}, change_fields(kv_lengths=None)),
    "bias ignored": ({"bias": "random"}, change_fields(bias=None)),
    "softcap ignored": ({"softcap": 2.0}, change_fields(softcap=None)),
    "zeros for nan": (MASKED_ROW | {"fully_masked": "nan"}, change_fields(fully_masked="zeros")),
    "mean for zeros": (MASKED_ROW, change_fields(fully_masked="mean")),
    "nan for zeros": (MASKED_ROW, change_fields(fully_masked="nan")),
}  # fmt: skip


@pytest.mark.parametrize("fault", SEMANTIC, ids=lambda n: n.replace(" ", "_"))
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("seed", range(2))
def test_another_computation_is_outside_the_bound(fault: str, dtype: str, seed: int) -> None:
    changes, wrong = SEMANTIC[fault]
    config, case = make_case("plain", seed, **changes)
    operands = dict(inputs.operands(case, dtype))
    expected = reference_of(case, declared_precision(DTYPES[dtype]), dtype)
    right = attention(config, operands, DTYPES[dtype])
    assert compare(cast(to_float64(right.output), DTYPES[dtype]), expected).problem == ""
    result = attention(*wrong(config, operands), DTYPES[dtype])
    assert compare(cast(to_float64(result.output), DTYPES[dtype]), expected).problem


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_a_softmax_over_the_wrong_axis_is_outside_the_bound(dtype: str) -> None:
    _, case = make_case("plain", q_len=9, kv_len=9, layout="bhsd")
    q, k, v = (inputs.operands(case, dtype)[name].astype(np.float64) for name in ("query", "key", "value"))
    scores = np.exp(q @ k.swapaxes(-1, -2) / 4)
    expected = reference_of(case, declared_precision(DTYPES[dtype]), dtype)
    over_keys, over_queries = (cast(scores / scores.sum(axis, keepdims=True) @ v, DTYPES[dtype]) for axis in (-1, -2))
    assert worst_ratio(over_keys, expected) <= 1
    assert worst_ratio(over_queries, expected) > 1


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
    config, case = make_case(name)
    p = declared_precision(DTYPES[dtype])
    output = SimulatedAttention(p.replace(**narrower)).attend(config, inputs.operands(case, dtype))
    assert worst_ratio(output, reference_of(case, p, dtype)) > 1
    allowed = reference_of(case, p.replace(**narrower), dtype)
    assert worst_ratio(output, allowed) <= 1  # declared, it is right


@pytest.mark.parametrize("name", ["integers", "sparse"])
@pytest.mark.parametrize(
    "narrower", [{"weights": "bfloat16"}, {"softmax": "bfloat16"}, {"multiply": "bfloat16"}], ids=str
)
def test_bfloat16_behind_float32_is_outside_the_bound_for_any_data_too(name: str, narrower: dict[str, str]) -> None:
    config, case = make_case(name)
    p = declared_precision(DTYPES["float32"])
    expected = reference_of(case, p, "float32")
    assert expected.facts["form"] == "any data"
    assert (
        worst_ratio(
            SimulatedAttention(p.replace(**narrower)).attend(config, inputs.operands(case, "float32")), expected
        )
        > 1
    )
