"""The algebra of uncertainties: what its operations say is what perturbed numbers do."""

import numpy as np
import pytest

from specs.arithmetic.formats import BFLOAT16, Float64, round_to
from specs.bound.uncertainty import EXACT, Uncertainty, through

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.standard_normal((3, 5)), RANDOM.standard_normal((5, 4))
E_X, E_Y = (Uncertainty(0.01 * np.abs(x) + 0.001, (0.003 * x) ** 2, 0.002 * np.abs(x)) for x in (X, Y))


def spread(value: Float64, e: Uncertainty, count: int = 4000) -> Float64:
    return value + np.sqrt(e.variance) * RANDOM.standard_normal((count, *value.shape))


def test_no_product_of_numbers_within_their_errors_is_further_off() -> None:
    e = through(np.matmul, X, E_X, Y, E_Y)
    for _ in range(100):
        off_x, off_y = (np.sign(RANDOM.standard_normal(x.error.shape)) * x.error for x in (E_X, E_Y))
        assert np.all(np.abs((X + off_x) @ (Y + off_y) - X @ Y) <= e.error)
    worst = (np.abs(X) + E_X.error) @ (np.abs(Y) + E_Y.error) - np.abs(X) @ np.abs(Y)
    np.testing.assert_allclose(e.error, worst)


def test_the_variance_of_a_product_is_that_of_random_factors() -> None:
    found = np.var(spread(X, E_X) @ spread(Y, E_Y), axis=0)
    np.testing.assert_allclose(through(np.matmul, X, E_X, Y, E_Y).variance, found, rtol=0.15)


def test_a_product_with_an_operand_is_a_sum_of_scaled_errors() -> None:
    y = Y[:, :1]
    parts = [E_X.mapped(lambda x, i=i: x[:, i : i + 1]).scaled(y[i]) for i in range(5)]
    total = EXACT
    for part in parts:
        total = total.plus(part)
    for name, found in vars(through(np.matmul, X, E_X, y, EXACT)).items():
        np.testing.assert_allclose(found, getattr(total, name))


def test_what_is_exact_stays_so() -> None:
    assert through(np.matmul, X, EXACT, Y, EXACT).exact
    assert EXACT.mapped(lambda x: x[0]).scaled(X).plus(EXACT).exact


def test_a_rounding_is_within_its_uncertainty() -> None:
    values = RANDOM.standard_normal(100_000)
    off = round_to(values, BFLOAT16) - values
    e = EXACT.rounded(values, (1, BFLOAT16.unit_roundoff))
    assert np.all(np.abs(off) <= e.error)
    assert np.mean(off**2 / e.variance) <= 1


@pytest.mark.parametrize("largest", [1e-30, 1.0, np.inf])
def test_random_data_have_the_smaller_of_both_limits(largest: float) -> None:
    e = Uncertainty(np.full(3, largest), np.full(3, 1e-6), np.full(3, 1e-3))
    found = e.of_random_data()
    assert np.all(found <= largest)
    assert np.all(np.isinf(found) == np.isinf(largest))
    assert np.all((found < largest) == (largest == 1.0))
