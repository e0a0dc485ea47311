"""Operands: the same bits for the same case everywhere, and what each recipe promises."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specs.arithmetic.formats import DTYPES, Array
from specs.case.attention import AttentionConfig
from specs.case.case import Case
from specs.case.einsum import EinsumConfig
from specs.case.error import CaseError
from specs.inputs import inputs

BIG: dict[str, Any] = {"equation": "ij,jk->ik", "shapes": [[100, 200], [200, 100]]}
ATTENTION: dict[str, Any] = {"batch": 2, "q_len": 6, "kv_len": 10, "num_heads": 2, "head_dim": 4}


def einsum(id: str = "einsum/test::case", **fields: Any) -> Case:
    return Case(id=id, name="case", file=Path("x.yaml"), line=1, config=EinsumConfig.model_validate(BIG | fields))


def attention(id: str = "attention/test::case", **fields: Any) -> Case:
    config = AttentionConfig.model_validate(ATTENTION | fields)
    return Case(id=id, name="case", file=Path("x.yaml"), line=1, config=config)


def literal(dtype: str, *values: Any) -> list[Array]:
    case = einsum(equation=",".join("i" * len(values)), shapes=None, operands=list(values))
    return list(inputs.operands(case, dtype).values())


def bits(arrays: dict[str, Array]) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in arrays.items()}


# Reproducible -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [einsum, attention])
def test_the_same_id_gives_the_same_bits_and_another_id_others(make: Any) -> None:
    first, again, other = (bits(inputs.operands(make(id), "float32")) for id in ("a::x", "a::x", "a::y"))
    assert first == again
    assert all(first[name] != other[name] for name in first)


def test_each_operand_has_a_stream_of_its_own() -> None:
    case = attention(kv_len=6, bias="random")
    drawn = inputs.operands(case, "float64")
    assert len({array.tobytes() for array in drawn.values()}) == len(drawn) == 4
    plain = inputs.operands(attention(kv_len=6), "float64")
    assert all(plain[name].tobytes() == drawn[name].tobytes() for name in plain)


def test_narrower_dtypes_are_the_float64_operands_rounded() -> None:
    wide = inputs.operands(einsum(), "float64")["operand_0"]
    np.testing.assert_array_equal(inputs.operands(einsum(), "float32")["operand_0"], wide.astype(np.float32))
    np.testing.assert_array_equal(inputs.operands(einsum(), "float16")["operand_0"], wide.astype(np.float16))


GOLDEN = {
    ("einsum", "normal", "float64"): "572e4e63",
    ("einsum", "normal", "bfloat16"): "7b90e8cf",
    ("einsum", "normal", "complex64"): "9b7904c9",
    ("einsum", "normal", "int32"): "1949e083",
    ("einsum", "normal", "uint8"): "72479b39",
    ("einsum", "normal", "bool"): "b9c00b8a",
    ("einsum", "uniform", "float64"): "d9cc706d",
    ("einsum", "integers", "float32"): "71819936",
    ("einsum", "wide", "float64"): "45f087e2",
    ("einsum", "cancelling", "float64"): "7385aa4a",
    ("einsum", "large", "float64"): "1d66dd39",
    ("einsum", "sparse", "float64"): "29e0a648",
    ("einsum", "nonfinite", "float64"): "73b283d1",
    ("attention", "normal", "float32"): "aead7b4f",
    ("attention", "large", "float64"): "eb5d3853",
}


@pytest.mark.parametrize(("kind", "recipe", "dtype"), GOLDEN)
def test_bits_are_the_ones_they_have_always_been(kind: str, recipe: str, dtype: str) -> None:
    """A change here changes every recorded digest and error ratio: it must be meant."""
    masked = {"mask": {"type": "bool"}, "bias": "alibi"}
    case = einsum(data=recipe, dtypes=[dtype]) if kind == "einsum" else attention(data=recipe, **masked)
    digest = hashlib.sha256(b"".join(bits(inputs.operands(case, dtype)).values())).hexdigest()[:8]
    assert digest == GOLDEN[kind, recipe, dtype]


def test_first_numbers_are_the_ones_they_have_always_been() -> None:
    got = inputs.operands(einsum(shapes=[[1, 2], [2, 1]]), "float64")["operand_0"].tolist()
    assert got == [[1.1067061882989528, 0.12740842182866152]]


def test_operands_cannot_be_written_to() -> None:
    for case in (einsum(), attention(mask={"type": "bool"}, kv_lengths=[1, 2])):
        for array in inputs.operands(case, "float32").values():
            assert not array.flags.writeable


# Recipes ------------------------------------------------------------------------------------------------------------


def drawn(recipe: str, dtype: str = "float64") -> Array:
    return np.asarray(inputs.operands(einsum(data=recipe), dtype)["operand_0"])


def test_normal_has_the_moments_of_the_normal_distribution() -> None:
    values = drawn("normal")
    assert abs(values.mean()) < 4 / np.sqrt(values.size)
    assert abs(values.var() - 1) < 4 * np.sqrt(2 / values.size)
    assert abs((values**3).mean()) < 0.15
    assert abs((values**4).mean() - 2.9) < 0.2  # of twelve uniform numbers: 3 - 1.2 / 12
    assert np.abs(values).max() <= 6
    rows = values.reshape(2, -1)
    assert abs(np.corrcoef(rows)[0, 1]) < 4 / np.sqrt(rows.shape[1])


def test_uniform_is_on_zero_to_one() -> None:
    values = drawn("uniform")
    assert values.min() >= 0
    assert values.max() < 1
    assert abs(values.mean() - 0.5) < 4 * np.sqrt(1 / 12 / values.size)
    assert abs(values.var() - 1 / 12) < 0.003


def test_integers_are_small_whole_numbers_of_both_signs() -> None:
    assert set(drawn("integers").ravel()) == {-4, -3, -2, -1, 1, 2, 3, 4}


def test_wide_spans_twelve_binary_orders() -> None:
    values, plain = np.abs(drawn("wide")), np.abs(drawn("normal"))
    assert np.quantile(values, 0.95) / np.quantile(values, 0.05) > 10 * np.quantile(plain, 0.95) / np.quantile(
        plain, 0.05
    )
    assert values.max() < 6 * 2**6


def test_large_is_normal_times_32() -> None:
    np.testing.assert_array_equal(drawn("large"), 32 * drawn("normal"))


def test_sparse_is_nine_tenths_zeros() -> None:
    assert abs((drawn("sparse") == 0).mean() - 0.9) < 0.02


def test_nonfinite_has_each_kind_and_begins_with_infinity() -> None:
    values = drawn("nonfinite")
    assert values[0, 0] == np.inf
    assert all(
        0.005 < share < 0.05
        for share in (np.isnan(values).mean(), np.isposinf(values).mean(), np.isneginf(values).mean())
    )
    both = drawn("nonfinite", "complex128")
    assert np.isinf(both.real).any()
    assert (np.isinf(both.imag) & np.isfinite(both.real)).any()


def test_cancelling_sums_are_far_smaller_than_their_terms() -> None:
    a, b = inputs.operands(einsum(data="cancelling"), "float64").values()
    total, size = a @ b, np.abs(a) @ np.abs(b)
    assert np.abs(total).max() < size.min() / 30
    np.testing.assert_array_equal(a[:, 100:], a[:, :100] * -(1 + 2**-6))
    np.testing.assert_array_equal(b[100:], b[:100])


def test_cancelling_needs_something_to_sum() -> None:
    with pytest.raises(CaseError):
        inputs.operands(einsum(equation="ij,jk->ijk", data="cancelling"), "float64")


@pytest.mark.parametrize(
    ("dtype", "values"),
    [("int8", range(-8, 9)), ("int64", range(-8, 9)), ("uint16", range(9)), ("bool", [False, True])],
)
def test_integers_and_bool_are_small_in_their_own_dtype(dtype: str, values: Any) -> None:
    got = drawn("normal", dtype)
    assert got.dtype == DTYPES[dtype].numpy
    assert set(got.ravel().tolist()) == set(values)


def test_complex_parts_are_independent() -> None:
    values = drawn("normal", "complex128")
    assert abs(np.corrcoef(values.real.ravel(), values.imag.ravel())[0, 1]) < 4 / np.sqrt(values.size)
    assert abs(values.real.var() - 1) < 0.05
    assert abs(values.imag.var() - 1) < 0.05


def test_random_terms_are_those_of_independent_random_recipes() -> None:
    yes = [einsum(), einsum(data="uniform"), attention()]
    no = [einsum(data=r) for r in ("integers", "wide", "cancelling", "large", "sparse", "nonfinite")]
    no.append(einsum(equation="i", shapes=None, operands=[[1.0]]))
    no += [attention(**{name: [1.0]}) for name in ("query", "key", "value")]
    assert [inputs.random_terms(case) for case in yes + no] == [True] * 3 + [False] * 10


# Literals -----------------------------------------------------------------------------------------------------------


def test_literals_are_rounded_once_to_the_dtype() -> None:
    a, b = literal("bfloat16", [0.1, 1 + 2**-8 + 2**-30], [[1, 2], [3, 4]])
    assert a.astype(float).tolist() == [0.10009765625, 1 + 2**-7]
    assert b.shape == (2, 2)


def test_literals_wrap_and_keep_what_is_not_finite() -> None:
    assert literal("uint8", [-1, 256, 7])[0].tolist() == [255, 0, 7]
    np.testing.assert_array_equal(literal("float16", [np.inf, -np.inf, np.nan])[0], [np.inf, -np.inf, np.nan])
    assert literal("float16", [1e6])[0].tolist() == [np.inf]
    assert literal("bool", [0, 2])[0].tolist() == [False, True]
    assert literal("complex64", [2])[0].tolist() == [2 + 0j]


def test_an_integer_of_64_bits_keeps_its_bits_beside_a_small_one() -> None:
    assert literal("uint64", [2**64 - 1, 2])[0].tolist() == [2**64 - 1, 2]
    assert literal("int64", [[2**63, -1], [2**64 - 1, 5]])[0].tolist() == [[-(2**63), -1], [-1, 5]]


def test_scalars_and_empty_literals_have_their_shapes() -> None:
    assert [a.shape for a in literal("float32", 3, [], [[], []])] == [(), (0,), (2, 0)]


def test_a_ragged_literal_is_refused() -> None:
    with pytest.raises(CaseError):
        literal("float32", [[1, 2], [3]])


# Attention ----------------------------------------------------------------------------------------------------------


def mask(dtype: str = "float32", **fields: Any) -> Array:
    return np.asarray(inputs.operands(attention(q_len=50, kv_len=40, mask=fields), dtype)["mask"])


def test_a_random_mask_hides_three_in_ten_but_never_the_first_key() -> None:
    got = mask(type="bool")
    assert got.dtype == np.bool_
    assert got.shape == (50, 40)
    assert got[:, 0].all()
    assert abs(got[:, 1:].mean() - 0.7) < 0.05


def test_a_masked_row_hides_all_keys_of_the_first_query_alone() -> None:
    got = mask(type="bool", pattern="masked_row", shape="bhqk")
    assert got.shape == (2, 2, 50, 40)
    assert not got[..., 0, :].any()
    assert got[..., 1:, 0].all()


def test_padding_hides_the_last_fifth() -> None:
    got = mask(type="bool", pattern="padding", shape="b11k")
    assert got.shape == (2, 1, 1, 40)
    assert got[..., :32].all()
    assert not got[..., 32:].any()


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("fill", [-np.inf, "lowest", -1e4])
def test_an_additive_mask_holds_zero_and_its_fill_where_the_bool_mask_hides(dtype: str, fill: Any) -> None:
    got, shown = mask(dtype, type="additive", fill=fill), mask(type="bool")
    assert got.dtype == DTYPES[dtype].numpy
    assert (got.astype(float)[shown] == 0).all()
    expected = -DTYPES[dtype].format.max if fill == "lowest" else float(np.array(fill, DTYPES[dtype].numpy))
    assert (got.astype(float)[~shown] == expected).all()


def test_an_additive_mask_without_fill_is_random() -> None:
    got = mask("float64", type="additive")
    assert abs(got.mean()) < 0.1
    assert abs(got.var() - 1) < 0.15


def test_lengths_are_int32_as_stated() -> None:
    got = inputs.operands(attention(kv_lengths=[3, 0]), "bfloat16")["kv_lengths"]
    assert (got.dtype, got.tolist()) == (np.int32, [3, 0])


def test_alibi_is_minus_slope_times_distance_aligned_at_the_last_query() -> None:
    got = inputs.operands(attention(q_len=2, kv_len=3, num_heads=4, bias="alibi"), "float64")["bias"]
    distance = [[1, 0, 1], [2, 1, 0]]
    slopes = [1 / 4, 1 / 16, 1 / 64, 1 / 256]
    assert got.tolist() == [[[-s * d for d in row] for row in distance] for s in slopes]


def test_rotary_tables_hold_cosines_and_sines_of_position_times_frequency() -> None:
    case = attention(q_len=2, kv_len=5, head_dim=8, causal="bottom_right", rotary={"dims": 4, "base": 100.0})
    got = inputs.operands(case, "float64")
    angle = np.arange(5)[:, None] * np.array([1.0, 0.1])
    np.testing.assert_allclose(got["rotary_cos"], np.cos(angle), atol=1e-7)
    np.testing.assert_allclose(got["rotary_sin"], np.sin(angle), atol=1e-7)
    single = {name: array.astype(np.float32) for name, array in got.items()}
    assert all((single[name] == got[name]).all() for name in ("rotary_cos", "rotary_sin"))


def test_rotary_tables_reach_the_last_query_though_there_are_fewer_keys() -> None:
    got = inputs.operands(attention(q_len=9, kv_len=5, head_dim=4, rotary={}), "float32")
    assert got["rotary_cos"].shape == (9, 2)


@pytest.mark.parametrize("layout", ["bshd", "bhsd", "sbhd", "bsd"])
@pytest.mark.parametrize("past", [None, 2])
def test_what_no_query_may_see_is_filled_and_nothing_else(layout: str, past: int | None) -> None:
    case = attention(q_len=2, kv_len=5, kv_lengths=[1, 4], layout=layout, past=past, unseen="nan")
    got = inputs.operands(case, "float32")
    for name in ("key", "value"):
        parts = [got[part] for part in (f"past_{name}", name) if part in got]
        joined = np.concatenate(parts, axis=layout.index("s"))
        by_key = np.moveaxis(joined, (layout.index("b"), layout.index("s")), (0, 1)).reshape(2, 5, -1)
        filled = np.isnan(by_key)
        assert filled.all(axis=-1).tolist() == [[False] + 4 * [True], 4 * [False] + [True]]
        assert (filled.any(axis=-1) == filled.all(axis=-1)).all()
    assert not np.isnan(got["query"]).any()


def test_where_every_key_is_seen_none_can_be_filled() -> None:
    with pytest.raises(CaseError, match="every key is seen"):
        inputs.operands(attention(unseen="inf"), "float32")


def test_cancelling_attention_has_equal_keys_whose_values_nearly_cancel() -> None:
    got = inputs.operands(attention(data="cancelling", kv_len=6), "float64")
    key, value = got["key"], got["value"]
    np.testing.assert_array_equal(key[:, 3:], key[:, :3])
    np.testing.assert_array_equal(value[:, 3:], value[:, :3] * -(1 + 2**-6))


@pytest.mark.parametrize("fields", [{"kv_len": 1}, {"past": 3, "kv_len": 4}])
def test_cancelling_attention_needs_two_keys(fields: dict[str, Any]) -> None:
    with pytest.raises(CaseError, match="two keys"):
        inputs.operands(attention(data="cancelling", **fields), "float64")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_memory_changes_strides_and_no_value(dtype: str) -> None:
    plain, reversed_axes, spread = (
        inputs.operands(attention(memory=memory), dtype)["key"] for memory in ("contiguous", "transposed", "strided")
    )
    assert plain.flags.c_contiguous
    assert reversed_axes.flags.f_contiguous
    assert spread.strides[-1] == 2 * spread.itemsize
    for other in (reversed_axes, spread):
        np.testing.assert_array_equal(other.astype(float), plain.astype(float))
        assert not other.flags.writeable


@pytest.mark.parametrize("layout", ["bshd", "bhsd", "sbhd", "bsd"])
@pytest.mark.parametrize("data", ["normal", "ramp", "equal", "cancelling"])
def test_memory_is_contiguous_whatever_layout_the_numbers_were_made_in(layout: str, data: str) -> None:
    got = inputs.operands(attention(layout=layout, data=data, num_heads=2, num_kv_heads=2, head_dim=1), "float32")
    assert [name for name, array in got.items() if not array.flags.c_contiguous] == []


def test_large_logits_come_from_large_queries() -> None:
    got = inputs.operands(attention(data="large", q_len=200, kv_len=200), "float64")
    assert [got[name].std() for name in ("query", "key", "value")] == pytest.approx([32, 1, 1], rel=0.05)


def test_large_projected_logits_come_from_large_weights() -> None:
    case = attention(data="large", q_len=200, kv_len=200, layout="bsd", projections={"kind": "linear"})
    assert [array.std() for array in inputs.operands(case, "float64").values()] == pytest.approx([1] * 6, abs=0.15)


def test_weights_keep_the_variance_of_what_they_are_applied_to() -> None:
    case = attention(layout="bsd", head_dim=64, projections={"kind": "linear", "bias": True, "output": True})
    got = inputs.operands(case, "float64")
    for name in ("query_weight", "key_weight", "value_weight", "output_weight"):
        assert got[name].std() * np.sqrt(got[name].shape[-1]) == pytest.approx(1, rel=0.05)
