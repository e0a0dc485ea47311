"""Reference gradients of attention against finite differences of the reference attention, and exact gradients."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specs.arithmetic.double_double import to_float64
from specs.arithmetic.formats import DTYPES, FLOAT32, Array, cast, round_to
from specs.arithmetic.precision import declared_precision
from specs.bound.attention_gradient import references
from specs.case.attention import AttentionConfig
from specs.case.case import Case
from specs.case.shapes import attention_shapes
from specs.inputs import inputs
from specs.reference.attention import attention
from specs.reference.reference import Reference
from specs.reference.working_precision import to_working_precision
from specs.verdict.comparison import compare

FLOAT64 = DTYPES["float64"]
STEP = 2.0**-26  # operands are rounded to float32, so that one step to either side is exact

BASE: dict[str, Any] = {"batch": 2, "q_len": 3, "kv_len": 5, "num_heads": 2, "head_dim": 4, "layout": "bhsd"}
GROUPED = BASE | {"num_heads": 4, "num_kv_heads": 2, "value_dim": 3}
PACKED = BASE | {"layout": "bsd", "kv_len": 3}
COLUMNS = BASE | {"batch": 1, "num_heads": 1, "layout": "ds"}
MASKED_ROW: dict[str, Any] = {"mask": {"type": "bool", "shape": "bhqk", "pattern": "masked_row"}}
LINEAR = {"kind": "linear", "bias": True, "output": True}
CONFIGS: dict[str, dict[str, Any]] = {
    "plain": BASE,
    "one key": BASE | {"kv_len": 1},
    "head dim one": BASE | {"head_dim": 1},
    "layout bshd": BASE | {"layout": "bshd"},
    "layout sbhd": BASE | {"layout": "sbhd"},
    "layout bsd": BASE | {"layout": "bsd"},
    "layout ds": COLUMNS,
    "grouped": GROUPED,
    "one key head": BASE | {"num_heads": 3, "num_kv_heads": 1},
    "scale": BASE | {"scale": -0.7},
    "scale zero": BASE | {"scale": 0.0},
    "scale at weights": BASE | {"scale": 0.3, "scale_at": "weights"},
    "causal": BASE | {"causal": "top_left"},
    "causal, some queries without keys": BASE | {"q_len": 5, "kv_len": 3, "causal": "bottom_right"},
    "window": BASE | {"window": {"left": 1, "right": 0}},
    "bool mask": BASE | {"mask": {"type": "bool", "shape": "bhqk"}},
    "masked row is zeros": BASE | MASKED_ROW,
    "masked row is the mean": BASE | MASKED_ROW | {"fully_masked": "mean"},
    "masked row of -inf is the mean": BASE
    | {"mask": {"type": "additive", "pattern": "masked_row", "fill": -np.inf}, "fully_masked": "mean"},
    "lengths": BASE | {"kv_lengths": [0, 3]},
    "additive mask": BASE | {"mask": {"type": "additive", "shape": "bhqk"}},
    "additive mask of keys": BASE | {"mask": {"type": "additive", "shape": "b11k"}},
    "additive mask of heads": BASE | {"mask": {"type": "additive", "shape": "h11"}},
    "additive mask of -inf": BASE | {"mask": {"type": "additive", "fill": -np.inf}},
    "additive mask of lowest": BASE | {"mask": {"type": "additive", "fill": "lowest"}},
    "bias": BASE | {"bias": "random"},
    "bias of the products": BASE | {"bias": "random", "bias_at": "products", "softcap": 2.0},
    "alibi": BASE | {"bias": "alibi"},
    "softcap": BASE | {"softcap": 0.5, "bias": "random", "mask": {"type": "additive"}, "causal": "bottom_right"},
    "sink": GROUPED | {"sink": True},
    "sink and masked row": BASE | MASKED_ROW | {"sink": True},
    "relative keys and values": BASE | {"relative": {}},
    "relative keys": GROUPED | {"relative": {"values": False}},
    "rotary": GROUPED | {"rotary": {}, "causal": "bottom_right"},
    "rotary of neighbours": BASE | {"head_dim": 6, "rotary": {"pairing": "interleaved", "dims": 4}, "layout": "sbhd"},
    "past": GROUPED | {"past": 2},
    "past, rotary, relative": BASE | {"past": 3, "rotary": {}, "relative": {}, "layout": "bshd"},
    "past, projected": PACKED | {"kv_len": 5, "past": 2, "projections": LINEAR, "self_attention": True, "rotary": {}},
    "linear": PACKED | {"projections": LINEAR},
    "linear, one input": PACKED | {"projections": LINEAR | {"input_dim": 5}, "self_attention": True},
    "linear, columns": COLUMNS | {"projections": LINEAR},
    "per head": GROUPED | {"projections": {"kind": "per_head", "bias": True, "input_dim": 5}},
    "per head, shared": PACKED | {"projections": LINEAR | {"kind": "per_head", "shared": True}, "self_attention": True},
    "per head, columns": COLUMNS | {"projections": {"kind": "per_head", "bias": True}},
    "large logits": BASE | {"scale": 30.0},
    "no keys": BASE | {"kv_len": 0, "bias": "random"},
    "no queries": BASE | {"q_len": 0, "mask": {"type": "additive"}},
    "no batch": BASE | {"batch": 0, "bias": "random"},
}  # fmt: skip


def case(**fields: Any) -> Case:
    config = AttentionConfig.model_validate(BASE | fields)
    return Case("attention/t::c", "c", Path("t.yaml"), 1, config)


def make_inputs(case: Case, dtype: str = "float64") -> tuple[AttentionConfig, dict[str, Array], Array]:
    """Operands with few digits, and a cotangent."""
    assert isinstance(case.config, AttentionConfig)
    operands = {
        name: round_to(array, FLOAT32) if array.dtype == np.float64 else array
        for name, array in inputs.operands(case, dtype).items()
    }
    return case.config, operands, inputs.cotangent(case, dtype)


def gradients(
    config: AttentionConfig, operands: Mapping[str, Array], cotangent: Array, dtype: str = "float64"
) -> dict[str, Reference]:
    d = DTYPES[dtype]
    return references(config, d, operands, cotangent, declared_precision(d), random=False)


# The definition -------------------------------------------------------------------------------------------------------


def difference(config: AttentionConfig, operands: dict[str, Array], cotangent: Array, name: str, along: Array) -> float:
    """Central difference of sum(cotangent * output) along one direction of an operand; outputs have 100 bits."""
    ahead, behind = (
        attention(config, operands | {name: operands[name] + sign * STEP * along}, FLOAT64).output for sign in (1, -1)
    )
    total = ((ahead - behind) * to_working_precision(cotangent, FLOAT64)).sum(axis=tuple(range(cotangent.ndim)))
    return float(to_float64(total)) / (2 * STEP)


@pytest.mark.parametrize("name", CONFIGS, ids=lambda n: n.replace(" ", "_"))
def test_the_reference_is_the_derivative_along_any_direction(name: str) -> None:
    config, operands, cotangent = make_inputs(case(**CONFIGS[name]))
    expected = gradients(config, operands, cotangent)
    assert list(expected) == inputs.differentiable(operands)
    generator = np.random.default_rng(0)
    for operand, reference in expected.items():
        array = operands[operand]
        assert reference.shape == array.shape
        movable = np.isfinite(array) & (np.abs(array) < 1e30)  # a mask's lowest number cannot be moved by a step
        for _ in range(2):
            along = np.where(movable, np.rint(generator.standard_normal(array.shape) * 8) / 8, 0.0)
            own = to_float64((reference.value * along).sum(axis=tuple(range(array.ndim))))
            # Terms cancel fully where, as for a bias of all keys, every derivative is zero
            size = np.sum(np.abs(to_float64(reference.value) * along)) + 1e-6
            operands[operand] = np.where(movable, array, operands[operand])
            assert abs(difference(config, operands, cotangent, operand, along) - own) <= 1e-12 * size


@pytest.mark.parametrize("operand", ["query", "key", "value", "bias", "sink"])
def test_each_element_is_the_derivative_along_itself(operand: str) -> None:
    masked = case(bias="random", sink=True, softcap=2.0, causal="bottom_right", num_heads=2, num_kv_heads=1)
    config, operands, cotangent = make_inputs(masked)
    expected = to_float64(gradients(config, operands, cotangent)[operand].value)
    for index in np.ndindex(expected.shape):
        along = np.zeros(expected.shape)
        along[index] = 1.0
        moved = difference(config, operands, cotangent, operand, along)
        assert moved == pytest.approx(expected[index], rel=1e-11, abs=1e-14)


@pytest.mark.parametrize("name", ["plain", "softcap", "sink", "past, projected", "relative keys and values"])
def test_narrower_dtypes_have_the_same_gradients(name: str) -> None:
    config, operands, cotangent = make_inputs(case(**CONFIGS[name]), "float32")
    narrow = gradients(config, operands, cotangent, "float32")
    wide = gradients(config, {n: x.astype(np.float64) for n, x in operands.items()}, cotangent.astype(np.float64))
    for operand, reference in narrow.items():
        largest = np.abs(to_float64(wide[operand].value)).max() + 1e-3
        assert np.allclose(reference.value, to_float64(wide[operand].value), rtol=0, atol=1e-13 * largest)


# Exact gradients, and those without a bound ---------------------------------------------------------------------------


def test_nothing_flows_through_a_key_that_no_query_sees() -> None:
    config, operands, cotangent = make_inputs(case(kv_lengths=[3, 5]))
    expected = gradients(config, operands, cotangent)
    for name in ("key", "value"):
        assert not to_float64(expected[name].value)[0, :, 3:].any()
        assert to_float64(expected[name].value)[1].all()
        leaked = cast(to_float64(expected[name].value), FLOAT64)
        assert compare(leaked, expected[name]).problem == ""
        leaked[0, 0, 4, 0] = 1e-30
        assert compare(leaked, expected[name]).problem


def test_nothing_flows_into_a_mask_where_it_is_infinite() -> None:
    config, operands, cotangent = make_inputs(case(mask={"type": "additive", "fill": -np.inf}))
    expected, hidden = gradients(config, operands, cotangent)["mask"], np.isinf(operands["mask"])
    assert not to_float64(expected.value)[hidden].any()
    assert to_float64(expected.value)[~hidden].all()


def test_a_query_without_keys_that_yields_zeros_has_no_gradient() -> None:
    config, operands, cotangent = make_inputs(case(**MASKED_ROW))
    expected = gradients(config, operands, cotangent)["query"]
    assert not to_float64(expected.value)[:, :, 0].any()
    assert to_float64(expected.value)[:, :, 1:].all()


def test_a_query_without_keys_that_yields_the_mean_has_equal_gradients_for_all_values() -> None:
    config, operands, _ = make_inputs(case(**MASKED_ROW, fully_masked="mean"))
    cotangent = np.zeros((2, 2, 3, 4))
    cotangent[:, :, 0] = 5.0
    expected = gradients(config, operands, cotangent)
    assert np.array_equal(to_float64(expected["value"].value), np.ones((2, 2, 5, 4)))
    assert not to_float64(expected["query"].value).any()
    assert not to_float64(expected["key"].value).any()


def test_only_gradients_that_depend_on_a_query_with_nan_output_have_no_bound() -> None:
    masked = case(mask={"type": "bool", "shape": "bhqk", "pattern": "masked_row"}, fully_masked="nan")
    config, operands, cotangent = make_inputs(masked)
    expected = gradients(config, operands, cotangent)
    assert np.isinf(expected["query"].error[:, :, 0]).all()
    assert np.isfinite(expected["query"].error[:, :, 1:]).all()
    assert np.isinf(expected["key"].error).all()
    assert np.isinf(expected["value"].error).all()
    assert all(np.isfinite(to_float64(reference.value)).all() for reference in expected.values())


def test_only_the_batch_item_with_an_infinite_value_has_no_bound() -> None:
    config, operands, cotangent = make_inputs(case(bias="random"))
    operands["value"] = operands["value"].copy()
    operands["value"][1, 0, 2, 1] = np.inf
    expected = gradients(config, operands, cotangent)
    for name in ("query", "key", "value"):
        left_open = np.isinf(expected[name].error).all(axis=(2, 3))
        assert left_open.tolist() == [[False, False], [True, False]]
    assert np.isinf(expected["bias"].error).all(axis=(1, 2)).tolist() == [True, False]


def test_garbage_in_a_cache_that_no_query_sees_changes_nothing() -> None:
    config, operands, cotangent = make_inputs(case(kv_lengths=[3, 5]))
    dirty = {name: array.copy() for name, array in operands.items()}
    for name in ("key", "value"):
        dirty[name][0, :, 3:] = np.nan
    clean, expected = (gradients(config, arrays, cotangent) for arrays in (operands, dirty))
    for name, reference in expected.items():
        assert np.array_equal(to_float64(reference.value), to_float64(clean[name].value))
        assert np.isfinite(reference.error).all()


def test_the_cotangent_has_the_shape_of_the_result_in_every_layout() -> None:
    for fields in (*CONFIGS.values(), BASE | {"layout": "bsd", "value_dim": 3}):
        config, operands, cotangent = make_inputs(case(**fields))
        assert attention(config, operands, FLOAT64).output.shape == cotangent.shape


def test_tables_of_rotary_positions_and_lengths_have_no_gradient() -> None:
    config, operands, _ = make_inputs(case(rotary={}, kv_lengths=[2, 5]))
    assert {"rotary_cos", "rotary_sin", "kv_lengths"} <= set(attention_shapes(config))
    assert inputs.differentiable(operands) == ["query", "key", "value"]
