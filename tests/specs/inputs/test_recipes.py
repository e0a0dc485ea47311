"""Each recipe draws the distribution it documents, for each kind of dtype."""

from typing import Any

import numpy as np
import pytest

from specs.arithmetic.formats import DTYPES, Array
from specs.inputs import inputs
from tests.support.sample_cases import einsum_case


def drawn(recipe: str, dtype: str = "float64") -> Array:
    return np.asarray(inputs.operands(einsum_case(data=recipe), dtype)["operand_0"])


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


@pytest.mark.parametrize(
    ("dtype", "values"),
    [("int8", range(-8, 9)), ("int64", range(-8, 9)), ("uint16", range(9)), ("bool", [False, True])],
)
def test_integers_and_bool_are_small_in_their_own_dtype(dtype: str, values: Any) -> None:
    numbers = drawn("normal", dtype)
    assert numbers.dtype == DTYPES[dtype].numpy
    assert set(numbers.ravel().tolist()) == set(values)


def test_complex_parts_are_independent() -> None:
    values = drawn("normal", "complex128")
    assert abs(np.corrcoef(values.real.ravel(), values.imag.ravel())[0, 1]) < 4 / np.sqrt(values.size)
    assert abs(values.real.var() - 1) < 0.05
    assert abs(values.imag.var() - 1) < 0.05
