"""Propagated uncertainties agree with the errors of perturbed numbers."""

import numpy as np
import pytest

from specs.arithmetic.formats import BFLOAT16, Float64, round_to
from specs.bound.uncertainty import EXACT, Uncertainty, propagate_product

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.standard_normal((3, 5)), RANDOM.standard_normal((5, 4))
E_X, E_Y = (Uncertainty(0.01 * np.abs(x) + 0.001, (0.003 * x) ** 2, 0.002 * np.abs(x)) for x in (X, Y))


def perturb(value: Float64, e: Uncertainty, count: int = 4000) -> Float64:
    return value + np.sqrt(e.variance) * RANDOM.standard_normal((count, *value.shape))


def test_the_error_of_a_product_covers_all_factors_within_their_errors() -> None:
    e = propagate_product(np.matmul, X, E_X, Y, E_Y)
    for _ in range(100):
        off_x, off_y = (np.sign(RANDOM.standard_normal(x.error.shape)) * x.error for x in (E_X, E_Y))
        assert np.all(np.abs((X + off_x) @ (Y + off_y) - X @ Y) <= e.error)
    largest = (np.abs(X) + E_X.error) @ (np.abs(Y) + E_Y.error) - np.abs(X) @ np.abs(Y)
    np.testing.assert_allclose(e.error, largest)


def test_the_variance_of_a_product_is_that_of_random_factors() -> None:
    observed = np.var(perturb(X, E_X) @ perturb(Y, E_Y), axis=0)
    np.testing.assert_allclose(propagate_product(np.matmul, X, E_X, Y, E_Y).variance, observed, rtol=0.15)


def test_a_product_with_an_operand_is_a_sum_of_scaled_errors() -> None:
    y = Y[:, :1]
    parts = [E_X.map(lambda x, i=i: x[:, i : i + 1]).scale_by(y[i]) for i in range(5)]
    total = EXACT
    for part in parts:
        total = total.add(part)
    for name, part in vars(propagate_product(np.matmul, X, E_X, y, EXACT)).items():
        np.testing.assert_allclose(part, getattr(total, name))


def test_operations_on_exact_tensors_are_exact() -> None:
    assert propagate_product(np.matmul, X, EXACT, Y, EXACT).is_exact
    assert EXACT.map(lambda x: x[0]).scale_by(X).add(EXACT).is_exact


def test_a_rounding_is_within_its_uncertainty() -> None:
    values = RANDOM.standard_normal(100_000)
    off = round_to(values, BFLOAT16) - values
    e = EXACT.add_roundings(values, (1, BFLOAT16.unit_roundoff))
    assert np.all(np.abs(off) <= e.error)
    assert np.mean(off**2 / e.variance) <= 1


@pytest.mark.parametrize("largest", [1e-30, 1.0, np.inf])
def test_the_limit_for_random_data_is_the_smaller_one(largest: float) -> None:
    e = Uncertainty(np.full(3, largest), np.full(3, 1e-6), np.full(3, 1e-3))
    limit = e.random_data_limit()
    assert np.all(limit <= largest)
    assert np.all(np.isinf(limit) == np.isinf(largest))
    assert np.all((limit < largest) == (largest == 1.0))
