"""Properties by which deviations are recognised: configs that have them, and similar ones that do not."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from specs.case.attention import AttentionConfig
from specs.case.case import Config
from specs.case.einsum import EinsumConfig
from specs.verdict.properties import PROPERTIES, Property


def einsum(equation: str, *shapes: list[int]) -> EinsumConfig:
    return EinsumConfig(equation=equation, shapes=list(shapes))


def attention(**fields: Any) -> AttentionConfig:
    return AttentionConfig(**{"q_len": 2, "head_dim": 2, **fields})


PRESENT: list[tuple[Property, Config]] = [
    ("summed_alone", einsum("ij->i", [2, 3])),
    ("summed_alone", einsum("ii->", [2, 2])),
    ("summed_alone", einsum("ij,jk->j", [2, 3], [3, 4])),
    ("summed_alone", einsum("ij,ij->i", [2, 3], [2, 1])),
    ("nothing_summed", einsum("i,j->ij", [2], [3])),
    ("label_of_size_one", einsum("ij,jk->ik", [2, 1], [3, 4])),
    ("ellipsis_left_out", einsum("...i->i", [2, 3])),
    ("ellipsis_shared_and_no_arrow", einsum("...i,...i", [2], [2])),
    ("empty_axis", einsum("i,ij->j", [0], [1, 2])),
    ("ellipsis_of_output_alone", einsum("i->i...", [2])),
    ("diagonal_of_size_one", einsum("ii", [1, 3])),
    ("diagonal_of_size_one", einsum("i,iij", [3], [1, 3, 2])),
    ("no_arrow", einsum("ba", [2, 3])),
    ("not_letters", einsum("i1->i", [2, 3])),
    ("split_by_spaces", einsum("ij- >i", [2, 3])),
    ("split_by_spaces", einsum(". ..i->i", [2, 3])),
    ("two_ellipses_in_output", einsum("i->......i", [2])),
    ("two_ellipses_in_a_row", einsum("......i->i", [2])),
    ("one_key_value_head", attention(num_heads=4, num_kv_heads=1)),
    ("one_head_and_item", attention()),
    ("causal_and_scale_not_positive", attention(causal="top_left", scale=0.0)),
    ("causal_and_scale_not_positive", attention(causal="top_left", scale=-1.0)),
    ("adds_minus_infinity", attention(mask={"type": "additive", "fill": float("-inf")})),
    ("bias_of_products", attention(bias="random", bias_at="products")),
    ("empty", attention(q_len=0, kv_len=2)),
    ("empty", attention(kv_len=0)),
    ("empty", attention(batch=0)),
    ("nothing_summed_in_pairs", einsum("ij,jk->ik", [2, 1], [3, 4])),
    ("nothing_summed_in_pairs", einsum("i,j->ij", [2], [3])),
    (
        "mixed_dtypes",
        EinsumConfig(equation="i,i->i", shapes=[[2]] * 2, operand_dtypes=["int8", "int32"], dtypes=["int32"]),
    ),
    ("asks_for_dtype", EinsumConfig(equation="i->i", shapes=[[2]], asks_for_dtype=True, dtypes=["float64"])),
    ("not_finite", attention(data="nonfinite")),
    ("not_finite", attention(key=[[[[float("nan"), 1.0]], [[2.0, 3.0]]]])),
]
ABSENT: list[tuple[Property, Config]] = [
    ("nothing_summed_in_pairs", einsum("ij,jk->ik", [2, 3], [3, 4])),
    ("mixed_dtypes", einsum("i,i->i", [2], [2])),
    ("asks_for_dtype", einsum("i->i", [2])),
    ("not_finite", attention()),
    ("summed_alone", einsum("ij,jk->ik", [2, 3], [3, 4])),
    ("summed_alone", einsum("ij->ji", [2, 3])),
    ("nothing_summed", einsum("ij->i", [2, 3])),
    ("label_of_size_one", einsum("ij,jk->ik", [2, 1], [1, 4])),
    ("label_of_size_one", einsum("...,...->...", [2, 1], [2, 3])),
    ("ellipsis_left_out", einsum("...i->i", [3])),
    ("ellipsis_left_out", einsum("...i->...", [2, 3])),
    ("ellipsis_shared_and_no_arrow", einsum("...i,i", [2], [2])),
    ("ellipsis_shared_and_no_arrow", einsum("...i,...i->...", [2], [2])),
    ("empty_axis", einsum("i,ij->j", [1], [1, 2])),
    ("ellipsis_of_output_alone", einsum("...i->i...", [2])),
    ("ellipsis_of_output_alone", einsum("i,i", [2], [2])),
    ("diagonal_of_size_one", einsum("ii", [2, 3])),
    ("diagonal_of_size_one", einsum("ij,ij", [1, 3], [3, 3])),
    ("no_arrow", einsum("ba->ab", [2, 3])),
    ("not_letters", einsum("... iJ , j -> i", [2, 3], [3])),
    ("split_by_spaces", einsum("i j -> i", [2, 3])),
    ("two_ellipses_in_output", einsum("...i->...i", [2])),
    ("two_ellipses_in_a_row", einsum("...i...->i", [2])),
    ("bias_of_products", attention(bias="random")),
    ("one_key_value_head", attention()),
    ("one_head_and_item", attention(batch=2)),
    ("causal_and_scale_not_positive", attention(scale=-1.0)),
    ("causal_and_scale_not_positive", attention(causal="top_left")),
    ("causal_and_scale_not_positive", attention(causal="top_left", scale=-1.0, scale_at="weights")),
    ("adds_minus_infinity", attention(mask={"type": "additive", "fill": "lowest"})),
    ("adds_minus_infinity", attention(mask={"type": "bool"})),
    ("empty", attention(kv_lengths=[0])),
]


@pytest.mark.parametrize(("name", "config"), PRESENT, ids=str)
def test_a_config_has_the_property(name: Property, config: Config) -> None:
    assert PROPERTIES[name](config)


@pytest.mark.parametrize(("name", "config"), ABSENT, ids=str)
def test_a_config_does_not_have_the_property(name: Property, config: Config) -> None:
    assert not PROPERTIES[name](config)


def test_every_property_has_examples_with_and_without_it() -> None:
    assert {name for name, _ in PRESENT} == {name for name, _ in ABSENT} == set(get_args(Property)) == set(PROPERTIES)


@pytest.mark.parametrize("name", PROPERTIES)
def test_a_property_of_one_kind_is_none_of_the_other(name: Property) -> None:
    kinds = {config.kind for property, config in PRESENT if property == name}
    other = attention(num_heads=4, num_kv_heads=1) if kinds == {"einsum"} else einsum("...i,...i", [1], [1])
    assert not PROPERTIES[name](other)
