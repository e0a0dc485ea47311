"""Operands of an attention: masks, positions, unseen keys, cancelling and large data, and weights."""

from typing import Any

import numpy as np
import pytest

from specs.arithmetic.formats import DTYPES, Array
from specs.case.error import CaseError
from specs.inputs import inputs
from tests.support.sample_cases import attention_case

# Masks and lengths ----------------------------------------------------------------------------------------------------


def mask(dtype: str = "float32", **fields: Any) -> Array:
    return np.asarray(inputs.operands(attention_case(q_len=50, kv_len=40, mask=fields), dtype)["mask"])


def test_a_random_mask_excludes_three_in_ten_keys_but_never_the_first() -> None:
    allowed = mask(type="bool")
    assert allowed.dtype == np.bool_
    assert allowed.shape == (50, 40)
    assert allowed[:, 0].all()
    assert abs(allowed[:, 1:].mean() - 0.7) < 0.05


def test_a_masked_row_hides_all_keys_of_the_first_query_alone() -> None:
    allowed = mask(type="bool", pattern="masked_row", shape="bhqk")
    assert allowed.shape == (2, 2, 50, 40)
    assert not allowed[..., 0, :].any()
    assert allowed[..., 1:, 0].all()


def test_padding_hides_the_last_fifth() -> None:
    allowed = mask(type="bool", pattern="padding", shape="b11k")
    assert allowed.shape == (2, 1, 1, 40)
    assert allowed[..., :32].all()
    assert not allowed[..., 32:].any()


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("fill", [-np.inf, "lowest", -1e4])
def test_an_additive_mask_is_its_fill_where_the_bool_mask_is_false_and_zero_elsewhere(dtype: str, fill: Any) -> None:
    additive, allowed = mask(dtype, type="additive", fill=fill), mask(type="bool")
    assert additive.dtype == DTYPES[dtype].numpy
    assert (additive.astype(float)[allowed] == 0).all()
    expected = -DTYPES[dtype].format.max if fill == "lowest" else float(np.array(fill, DTYPES[dtype].numpy))
    assert (additive.astype(float)[~allowed] == expected).all()


def test_an_additive_mask_without_fill_is_random() -> None:
    additive = mask("float64", type="additive")
    assert abs(additive.mean()) < 0.1
    assert abs(additive.var() - 1) < 0.15


def test_lengths_are_int32_as_stated() -> None:
    lengths = inputs.operands(attention_case(kv_lengths=[3, 0]), "bfloat16")["kv_lengths"]
    assert (lengths.dtype, lengths.tolist()) == (np.int32, [3, 0])


@pytest.mark.parametrize("layout", ["bshd", "bhsd", "sbhd", "bsd"])
@pytest.mark.parametrize("past", [None, 2])
def test_only_keys_and_values_that_no_query_may_see_are_filled(layout: str, past: int | None) -> None:
    case = attention_case(q_len=2, kv_len=5, kv_lengths=[1, 4], layout=layout, past=past, unseen="nan")
    operands = inputs.operands(case, "float32")
    for name in ("key", "value"):
        parts = [operands[part] for part in (f"past_{name}", name) if part in operands]
        joined = np.concatenate(parts, axis=layout.index("s"))
        by_key = np.moveaxis(joined, (layout.index("b"), layout.index("s")), (0, 1)).reshape(2, 5, -1)
        filled = np.isnan(by_key)
        assert filled.all(axis=-1).tolist() == [[False] + 4 * [True], 4 * [False] + [True]]
        assert (filled.any(axis=-1) == filled.all(axis=-1)).all()
    assert not np.isnan(operands["query"]).any()


def test_unseen_needs_a_key_that_no_query_may_see() -> None:
    with pytest.raises(CaseError, match="every key is seen"):
        inputs.operands(attention_case(unseen="inf"), "float32")


# Positions ------------------------------------------------------------------------------------------------------------


def test_alibi_is_minus_slope_times_distance_aligned_at_the_last_query() -> None:
    bias = inputs.operands(attention_case(q_len=2, kv_len=3, num_heads=4, bias="alibi"), "float64")["bias"]
    distance = [[1, 0, 1], [2, 1, 0]]
    slopes = [1 / 4, 1 / 16, 1 / 64, 1 / 256]
    assert bias.tolist() == [[[-s * d for d in row] for row in distance] for s in slopes]


def test_rotary_tables_hold_cosines_and_sines_of_position_times_frequency() -> None:
    case = attention_case(q_len=2, kv_len=5, head_dim=8, causal="bottom_right", rotary={"dims": 4, "base": 100.0})
    operands = inputs.operands(case, "float64")
    angle = np.arange(5)[:, None] * np.array([1.0, 0.1])
    np.testing.assert_allclose(operands["rotary_cos"], np.cos(angle), atol=1e-7)
    np.testing.assert_allclose(operands["rotary_sin"], np.sin(angle), atol=1e-7)
    single = {name: array.astype(np.float32) for name, array in operands.items()}
    assert all((single[name] == operands[name]).all() for name in ("rotary_cos", "rotary_sin"))


def test_rotary_tables_reach_the_last_query_though_there_are_fewer_keys() -> None:
    operands = inputs.operands(attention_case(q_len=9, kv_len=5, head_dim=4, rotary={}), "float32")
    assert operands["rotary_cos"].shape == (9, 2)


# Data and weights -----------------------------------------------------------------------------------------------------


def test_cancelling_attention_has_equal_keys_whose_values_nearly_cancel() -> None:
    operands = inputs.operands(attention_case(data="cancelling", kv_len=6), "float64")
    key, value = operands["key"], operands["value"]
    np.testing.assert_array_equal(key[:, 3:], key[:, :3])
    np.testing.assert_array_equal(value[:, 3:], value[:, :3] * -(1 + 2**-6))


@pytest.mark.parametrize("fields", [{"kv_len": 1}, {"past": 3, "kv_len": 4}])
def test_cancelling_attention_needs_two_keys(fields: dict[str, Any]) -> None:
    with pytest.raises(CaseError, match="two keys"):
        inputs.operands(attention_case(data="cancelling", **fields), "float64")


def test_large_logits_come_from_large_queries() -> None:
    operands = inputs.operands(attention_case(data="large", q_len=200, kv_len=200), "float64")
    assert [operands[name].std() for name in ("query", "key", "value")] == pytest.approx([32, 1, 1], rel=0.05)


def test_large_projected_logits_come_from_large_weights() -> None:
    case = attention_case(data="large", q_len=200, kv_len=200, layout="bsd", projections={"kind": "linear"})
    assert [array.std() for array in inputs.operands(case, "float64").values()] == pytest.approx([1] * 6, abs=0.15)


def test_weights_keep_the_variance_of_what_they_are_applied_to() -> None:
    case = attention_case(layout="bsd", head_dim=64, projections={"kind": "linear", "bias": True, "output": True})
    operands = inputs.operands(case, "float64")
    for name in ("query_weight", "key_weight", "value_weight", "output_weight"):
        assert operands[name].std() * np.sqrt(operands[name].shape[-1]) == pytest.approx(1, rel=0.05)
