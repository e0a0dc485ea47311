"""A function of the scores with a parameter for each head, between a bias and a softcap."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from specs.arithmetic.double_double import to_float64
from specs.arithmetic.formats import DTYPES, Array
from specs.arithmetic.precision import Precision, declared_precision
from specs.case import operands, score_functions
from specs.case.attention import AttentionConfig
from specs.case.score_functions import ScoreFunction, Softcap
from specs.inputs import inputs
from specs.verdict.comparison import compare
from specs.verdict.direction import DIRECTIONS
from specs.verdict.verdict import judge
from tests.support.checks import case_of, check_of, framework

CONFIG = AttentionConfig(
    q_len=5, kv_len=9, num_heads=4, num_kv_heads=2, head_dim=8, causal="bottom_right", bias="random", sink=True,
    softcap=2.0,
)  # fmt: skip


class Temperature(ScoreFunction):
    """a x; here the field and the operand of a sink stand for those of a."""

    field = "sink"

    def value(self, c: AttentionConfig, x: Any, parameter: Any, math: Any) -> Any:
        return x * parameter

    def slope(self, c: AttentionConfig, x: Any, parameter: Any) -> Any:
        return parameter

    def relative_curvature(self, c: AttentionConfig) -> float:
        return 0.0

    def parameter_slope(self, c: AttentionConfig, x: Any, parameter: Any) -> Any:
        return x

    def cross_slope(self, c: AttentionConfig, x: Any, parameter: Any) -> Any:
        return np.ones_like(x)

    def argument_rounding(self, p: Precision) -> float:
        return 0.0

    def value_rounding(self, p: Precision) -> float:
        return p.u_a + p.u_s

    def slope_rounding(self, p: Precision, slope: Any) -> float:
        return 0.0


@pytest.fixture(autouse=True)
def temperature(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sink is the parameter of `Temperature` instead of a logit."""
    rows = (replace(row, logit=False) if row.name == "sink" else row for row in operands.OPERANDS)
    monkeypatch.setattr(operands, "OPERANDS", tuple(rows))
    monkeypatch.setattr(score_functions, "FUNCTIONS", (Temperature(), Softcap()))


CASE = replace(case_of(CONFIG), id="tests/score_functions::temperature")


def value(tensors: dict[str, Array]) -> Array:
    precision = declared_precision(DTYPES["float64"])
    return to_float64(DIRECTIONS["forward"].references(CASE, "float64", tensors, {}, precision)["result"].value)


@pytest.mark.parametrize("name", ["numpy", "torch", "jax", "tensorflow"])
@pytest.mark.parametrize("implementation", ["einsum", "matmul"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_frameworks_stay_within_its_bounds(name: str, implementation: str, dtype: str) -> None:
    backend = framework(name)
    for direction in backend.directions:
        check = check_of(CASE, implementation, dtype=dtype, direction=direction)
        assert judge(check, backend, "id", "again", ()).reason == ""


def test_the_gradient_is_the_limit_of_differences() -> None:
    tensors = dict(inputs.operands(CASE, "float64"))
    cotangent, precision = inputs.cotangent(CASE, "float64"), declared_precision(DTYPES["float64"])
    gradients = DIRECTIONS["grad"].references(CASE, "float64", tensors, {"cotangent": cotangent}, precision)
    step = np.arange(1.0, 5.0) * 1e-4
    along = [np.sum(cotangent * value(tensors | {"sink": tensors["sink"] + sign * step})) for sign in (1, -1)]
    expected = np.sum(to_float64(gradients["sink"].value) * step)
    assert (along[0] - along[1]) / 2 == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["query", "key", "bias", "sink"])
def test_a_gradient_that_is_slightly_wrong_is_refused(name: str) -> None:
    tensors, precision = inputs.operands(CASE, "float32"), declared_precision(DTYPES["float32"])
    expected = DIRECTIONS["grad"].reference(CASE, "float32", tensors, precision, label=name)
    right = to_float64(expected.value)
    assert compare(right.astype(np.float32), expected).problem == ""
    assert compare((right * (1 + 2.0**-12)).astype(np.float32), expected).problem
