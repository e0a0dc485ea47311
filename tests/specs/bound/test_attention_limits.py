"""The attention bound with infinities, NaN and overflow, and with random data."""

from typing import Any

import numpy as np
import pytest

from specs.arithmetic.double_double import to_float64
from specs.arithmetic.formats import DTYPES
from specs.arithmetic.precision import declared_precision
from specs.bound.attention import references
from specs.case.attention import AttentionConfig
from specs.inputs import inputs
from specs.reference.reference import Reference
from tests.support.narrow_attention import make_case, reference_of

LITERAL = {"batch": 1, "num_heads": 1, "head_dim": 1, "value_dim": 1, "scale": 1.0}


def column(*numbers: float) -> list[list[list[list[float]]]]:
    """A tensor bshd of one head and one feature."""
    return [[[[number]] for number in numbers]]


def reference_for(dtype: str, **fields: Any) -> Reference:
    _, case = make_case("plain", **LITERAL | fields)
    return reference_of(case, declared_precision(DTYPES[dtype]), dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_infinities_and_nan_are_compared_exactly_and_finite_elements_have_a_bound(dtype: str) -> None:
    keys, values = column(1.0, 2.0, 3.0), column(1.0, np.nan, 2.0)
    reference = reference_for(dtype, q_len=3, kv_len=3, causal="top_left", key=keys, value=values)
    assert np.isnan(to_float64(reference.value)).ravel().tolist() == [False, True, True]
    assert reference.error is not None
    assert np.isfinite(reference.error).all()
    infinite = reference_for(dtype, q_len=1, kv_len=2, query=column(0.0), value=column(np.inf, 1.0))
    assert to_float64(infinite.value).ravel().tolist() == [np.inf]
    assert infinite.error is not None
    assert infinite.error.ravel().tolist() == [0.0]


@pytest.mark.parametrize(("masked_values", "expected"), [("ignored", [1.0, np.nan]), ("spread", [np.nan, np.nan])])
def test_a_masked_nan_is_ignored_or_multiplied_by_zero(masked_values: str, expected: list[float]) -> None:
    values = column(1.0, np.nan)
    reference = reference_for(
        "float32", q_len=2, kv_len=2, causal="top_left", value=values, masked_values=masked_values
    )
    np.testing.assert_array_equal(to_float64(reference.value).ravel(), expected)


def test_an_infinite_value_with_a_weight_that_may_underflow_has_no_bound() -> None:
    reference = reference_for(
        "float32", q_len=1, kv_len=2, query=column(1.0), key=column(0.0, 200.0), value=column(np.inf, 1.0)
    )
    assert reference.error is not None
    assert np.isinf(reference.error).all()


def test_a_product_that_may_be_minus_infinity_in_float16_affects_only_its_own_weight() -> None:
    fields = {"q_len": 1, "kv_len": 2, "query": column(300.0), "key": column(-300.0, 0.0), "value": column(5.0, 2.0)}
    reference = reference_for("float16", **fields)
    assert reference.error is not None
    assert reference.error.max() < 0.01
    every = reference_for("float16", **fields | {"key": column(-300.0, -301.0)})
    assert every.error is not None
    assert np.isinf(every.error).all()


def test_behind_a_softcap_an_overflowing_product_is_the_cap() -> None:
    fields = {"q_len": 1, "kv_len": 2, "query": column(300.0), "key": column(300.0, 0.0), "value": column(5.0, 2.0)}
    reference = reference_for("float16", **fields, softcap=1.0)
    assert reference.error is not None
    assert reference.error.max() < 0.01


@pytest.mark.parametrize("name", ["linear", "linear with bias and output", "per head", "rotary", "relative keys"])
def test_random_data_narrow_the_bound_with_projections_rotary_and_relative_positions(name: str) -> None:
    _, case = make_case(name, kv_len=64)
    p = declared_precision(DTYPES["bfloat16"])
    operands = inputs.operands(case, "bfloat16")
    assert isinstance(case.config, AttentionConfig)
    random, any_data = (
        references(case.config, DTYPES["bfloat16"], operands, p, random=random)["result"].error
        for random in (True, False)
    )
    assert random is not None
    assert any_data is not None
    assert np.median(random / any_data) < 0.75


def test_only_scores_beyond_float16_have_no_bound() -> None:
    literal = {"query": [[[[300.0]], [[1.0]]]], "key": [[[[300.0]]]], "value": [[[[2.0]]]]}
    shape = {"batch": 1, "q_len": 2, "kv_len": 1, "num_heads": 1, "head_dim": 1, "value_dim": 1}
    _, case = make_case("plain", **shape, **literal)
    narrow, wide = (declared_precision(DTYPES["float16"], intermediate=name) for name in ("float16", "float32"))
    assert np.isinf(reference_of(case, narrow, "float16").error).ravel().tolist() == [True, False]
    assert np.isfinite(reference_of(case, wide, "float16").error).all()
