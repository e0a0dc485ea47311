"""A cause is named where the errors look like it, and only there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from specs.arithmetic.formats import BFLOAT16, FLOAT32, TF32, Array, Format, round_to
from specs.verdict.diagnosis import narrow
from specs.verdict.record import Record
from tests.support.fake_backend import Fake
from tests.support.small_product import judge_product, make_config, product

pytestmark = pytest.mark.usefixtures("nothing_in_memory")

LARGE = make_config(shapes=[[24, 40], [40, 24]], data="normal")
LONG = make_config(equation="ij,j->i", shapes=[[24, 4000], [4000]], data="normal")


def judge_changed(change: Callable[[Array], Array], config: Any = LARGE, dtype: str = "float32") -> Record:
    """The record of a product whose right result is changed."""
    return judge_product(Fake(lambda a, b: change(product(a, b)).astype(a.dtype)), config, dtype)


def judge_rounded(format: Format, cut: bool, config: Any = LARGE, dtype: str = "float32") -> Record:
    """The record of a product of operands that are rounded before."""
    return judge_product(Fake(lambda a, b: product(narrow(a, format, cut), narrow(b, format, cut))), config, dtype)


def zero_one(x: Array) -> Array:
    return np.where(np.arange(x.size).reshape(x.shape) == x.size // 2, 0, x)


def zero_row(x: Array) -> Array:
    return np.where(np.arange(len(x)).reshape(-1, *[1] * (x.ndim - 1)) == 2, 0, x)


@pytest.mark.parametrize(
    ("config", "factor"),
    [(LARGE, 1.0001), (LARGE, 0.999), (LARGE, 1.01), (LARGE, 2.0), (LARGE, -1.0), (LONG, 1.01), (LONG, 0.5)],
)
def test_a_factor_is_named_and_no_format(config: Any, factor: float) -> None:
    reason = judge_changed(lambda x: x * np.float64(factor), config).reason
    assert reason.split("; ")[1] == f"as if scaled by {factor:g}"
    assert "consistent with" not in reason


def test_a_factor_that_its_bound_hides_is_no_format_either() -> None:
    record = judge_changed(lambda x: x * np.float64(1.0001), LONG)
    assert record.verdict == "fail"
    assert "consistent with" not in record.reason


@pytest.mark.parametrize("factor", [1.001, 0.999, 1.002, 0.997])
@pytest.mark.parametrize("shapes", [[[8, 16], [16, 8]], [[24, 40], [40, 24]], [[5, 7], [7, 3]]], ids=str)
@pytest.mark.parametrize("data", ["normal", "uniform", "integers"])
def test_a_factor_as_large_as_the_spacing_of_its_format_is_no_other_format(
    data: str, shapes: list[list[int]], factor: float
) -> None:
    config = make_config(shapes=shapes, data=data)
    record = judge_changed(lambda x: x.astype(np.float64) * factor, config, "float16")
    assert record.verdict == "fail"
    assert "consistent with" not in record.reason


def test_sums_in_float16_are_named() -> None:
    def half(a: Array, b: Array) -> Array:
        sums = np.zeros((a.shape[0], b.shape[1]), np.float16)
        for i in range(a.shape[1]):
            sums = (sums + a[:, i : i + 1].astype(np.float32) * b[i]).astype(np.float16)
        return sums

    config = make_config(shapes=[[24, 12], [12, 24]], data="normal")  # the bound of more terms would explain anything
    assert "consistent with sums in float16" in judge_product(Fake(half), config, "float16").reason


@pytest.mark.parametrize("config", [LARGE, LONG], ids=["matrices", "long sums"])
@pytest.mark.parametrize(
    "change",
    [zero_one, zero_row, lambda x: x + 1e-3, lambda x: np.roll(x, 1), lambda x: x * 0],
    ids=["element", "row", "shift", "roll", "zeros"],
)
def test_other_mistakes_are_given_no_cause(change: Callable[[Array], Array], config: Any) -> None:
    record = judge_changed(change, config)
    assert record.verdict == "fail"
    assert "consistent with" not in record.reason
    assert "as if" not in record.reason


@pytest.mark.parametrize("cut", [False, True], ids=["to nearest", "cut off"])
@pytest.mark.parametrize("dtype", ["float32", "complex64"])
@pytest.mark.parametrize(("format", "name"), [(TF32, "TF32"), (BFLOAT16, "bfloat16")], ids=str)
def test_the_format_of_operands_is_named(format: Format, name: str, dtype: str, cut: bool) -> None:
    assert f"consistent with operands rounded to {name}" in judge_rounded(format, cut, dtype=dtype).reason


def test_arithmetic_in_float32_is_named_where_the_result_has_no_more_digits() -> None:
    through = Fake(lambda a, b: (a.astype(np.float32) @ b.astype(np.float32)).astype(np.float64))
    assert judge_product(through, LARGE, "float64").reason.count("consistent with arithmetic in float32") >= 1
    noise = Fake(lambda a, b: product(a, b) * (1 + 2.0**-25 * np.random.default_rng(5).standard_normal((24, 24))))
    assert "consistent with" not in judge_product(noise, LARGE, "float64").reason


def test_too_few_elements_look_like_nothing() -> None:
    one = make_config(equation="i,i->", shapes=[[40], [40]], data="normal")
    rounded = Fake(lambda a, b: np.sum(round_to(a, TF32) * round_to(b, TF32)).astype(np.float32))
    record = judge_product(rounded, one)
    assert record.verdict == "fail"
    assert "consistent with" not in record.reason


def test_designed_inputs_hide_no_ratio_of_the_case_s_own() -> None:
    """Where the bound is 0 the ratio is inf, and says only that some bit is wrong."""
    record = judge_rounded(TF32, cut=False)
    assert "on exact inputs: " in record.reason
    assert record.reason.index("outside the error bound") < record.reason.index("on exact inputs")
    assert 1 < record.measurement.error_ratio < np.inf
    assert "data" not in record.measurement.bound


def test_cutting_off_is_towards_zero() -> None:
    numbers = np.array([1 + 2.0**-9, -1 - 2.0**-9], np.float32)
    assert narrow(numbers, BFLOAT16, cut=True).tolist() == [1, -1]
    assert narrow(np.array([1 / 3 - 1j / 3]), FLOAT32, cut=False)[0] == np.complex64(1 / 3 - 1j / 3)
