"""Every backend's gradients against the reference, and its declared convention for complex numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.base import Backend, Computation
from backends.discovery import registry
from specs.arithmetic.formats import Array
from specs.case.attention import AttentionConfig
from specs.case.case import Case
from specs.case.common import RESULT
from specs.case.einsum import EinsumConfig
from specs.inputs import inputs
from specs.verdict.check import Check
from specs.verdict.record import Record
from specs.verdict.verdict import judge
from tests.support.checks import check_of, framework

NAMES = [name for name in registry.names() if "grad" in registry.load_class(name).directions]
every_backend = pytest.mark.parametrize("name", NAMES)

CASES: dict[str, dict[str, Any]] = {
    "product": {"equation": "ij,jk->ik", "shapes": [[3, 8], [8, 5]]},
    "trace": {"equation": "ii->", "shapes": [[4, 4]]},
    "diagonal": {"equation": "bii->bi", "shapes": [[2, 3, 3]]},
    "unnamed axes": {"equation": "...ij,...jk->...ik", "shapes": [[2, 1, 3, 4], [3, 4, 2]]},
    "lone label": {"equation": "ij,jk->k", "shapes": [[3, 4], [4, 5]]},
    "chain": {"equation": "ij,jk,kl->il", "shapes": [[2, 3], [3, 4], [4, 2]]},
    "eleven": {"equation": ",".join("i" * 11) + "->i", "shapes": [[3]] * 11},
    "nothing": {"equation": "ij,jk->ik", "shapes": [[3, 0], [0, 4]]},
}
SMALL: dict[str, Any] = {"batch": 2, "q_len": 3, "kv_len": 5, "num_heads": 4, "num_kv_heads": 2, "head_dim": 4}
MASKED_ROW = {"mask": {"type": "bool", "shape": "bhqk", "pattern": "masked_row"}}
ATTENTION: dict[str, dict[str, Any]] = {
    "everything at the scores": {"bias": "random", "softcap": 1.5, "mask": {"type": "additive", "shape": "b11k"}},
    "masked row": MASKED_ROW,
    "masked row is the mean": MASKED_ROW | {"fully_masked": "mean"},
    "mask of -inf": {"mask": {"type": "additive", "fill": -np.inf}},
    "sink, rotary and past": {"sink": True, "rotary": {}, "past": 2, "causal": "bottom_right"},
    "relative": {"relative": {}, "scale": 0.3, "scale_at": "weights", "value_dim": 3},
    "projected": {
        "layout": "bsd",
        "kv_len": 3,
        "self_attention": True,
        "projections": {"kind": "linear", "bias": True, "output": True},
    },
    "projected for each head": {"projections": {"kind": "per_head", "bias": True, "input_dim": 3}},
}


def case(**fields: Any) -> Case:
    return Case("einsum/t::c", "c", Path("t.yaml"), 3, EinsumConfig.model_validate(CASES["product"] | fields))


def attention(name: str) -> Case:
    return Case("attention/t::c", "c", Path("t.yaml"), 3, AttentionConfig.model_validate(SMALL | ATTENTION[name]))


def verdict(backend: Backend, case: Case, dtype: str, mode: str = "eager") -> Record:
    check = Check(case, backend.name, "cpu", "einsum", mode, dtype, "grad")
    return judge(check, backend, "t.yaml::c[x-grad]", "t.yaml")


def gradients(backend: Backend, case: Case, operands: Mapping[str, Array], cotangent: Array) -> dict[str, Array]:
    return backend.gradient(check_of(case, direction="grad"), operands, cotangent)


@every_backend
@pytest.mark.parametrize("einsum", CASES)
@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_gradients_are_those_of_the_reference(name: str, einsum: str, dtype: str) -> None:
    record = verdict(framework(name), case(**CASES[einsum]), dtype)
    assert (record.verdict, record.reason) == ("pass", "")


@every_backend
@pytest.mark.parametrize("einsum", [einsum for einsum in CASES if einsum != "eleven"])  # it is about names
def test_complex_gradients_are_those_of_the_reference(name: str, einsum: str) -> None:
    record = verdict(framework(name), case(**CASES[einsum]), "complex64")
    assert (record.verdict, record.reason) == ("pass", "")


@every_backend
@pytest.mark.parametrize("config", ATTENTION)
@pytest.mark.parametrize("implementation", ["einsum", "matmul"])
def test_gradients_of_attention_by_hand_are_those_of_the_reference(name: str, config: str, implementation: str) -> None:
    """Three frameworks' own automatic differentiation of the formula, in float64: a second opinion on the reference."""
    check = Check(attention(config), name, "cpu", implementation, "eager", "float64", "grad")
    record = judge(check, framework(name), "t", "t")
    assert (record.verdict, record.reason) == ("pass", "")


@every_backend
@pytest.mark.parametrize("mode", ["jit", "xla", "dynamic", "export", "constant"])
@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_gradients_are_right_compiled(name: str, mode: str, dtype: str) -> None:
    backend = framework(name)
    if mode not in backend.modes:
        pytest.skip(f"{name} has no mode {mode}")
    record = verdict(backend, case(), dtype, mode)
    assert (record.verdict, record.reason) == ("pass", "")


@every_backend
def test_the_framework_has_the_declared_convention_for_complex_numbers(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = framework(name)
    assert verdict(backend, case(), "complex128").verdict == "pass"
    monkeypatch.setattr(type(backend), "conjugates", not backend.conjugates)
    record = verdict(backend, case(), "complex128")
    assert record.verdict == "fail"
    assert "gradient of operand_0" in record.reason
    assert "gradient of operand_1" in record.reason


@every_backend
def test_gradients_of_complex_numbers_are_the_transpose_of_the_derivative(name: str) -> None:
    a, b, c = np.array([1 + 2j]), np.array([3 - 1j]), np.array([2 + 5j])
    result = gradients(framework(name), case(equation="i,i->i", shapes=[[1], [1]]), {"operand_0": a, "operand_1": b}, c)
    assert result["operand_0"] == c * b
    assert result["operand_1"] == c * a


@every_backend
def test_a_gradient_has_the_operands_dtype_and_shape_even_without_axes(name: str) -> None:
    one = np.array(2, np.complex64)
    scalars = case(equation=",->", shapes=[[], []])
    result = gradients(framework(name), scalars, {"operand_0": one, "operand_1": one}, one)
    assert {key: (value.shape, value.dtype) for key, value in result.items()} == dict.fromkeys(
        ("operand_0", "operand_1"), ((), np.dtype(np.complex64))
    )


@every_backend
def test_operands_that_cannot_vary_have_no_gradient(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = framework(name)

    def masked(operands: Any) -> Any:
        return backend.primitives.where(operands["mask"], operands["x"], 0.0)

    monkeypatch.setattr(backend, "computation", lambda config, implementation: masked)
    x, mask = np.array([1.0, 2.0]), np.array([True, False])
    result = gradients(backend, case(), {"x": x, "mask": mask}, np.array([5.0, 7.0]))
    assert {key: value.tolist() for key, value in result.items()} == {"x": [5.0, 0.0]}


@pytest.mark.parametrize("name", [name for name in NAMES if name != "jax"])  # whose gradients are always there
def test_an_operand_that_is_not_used_has_no_gradient(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = framework(name)
    monkeypatch.setattr(backend, "computation", lambda config, implementation: lambda operands: operands["x"] * 2)
    x = np.array([1.0, 2.0])
    assert set(gradients(backend, case(), {"x": x, "y": x.copy()}, x)) == {"x"}


def test_indexed_slices_of_tensorflow_become_an_array(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = framework("tensorflow")
    tf = backend.tf  # type: ignore[attr-defined]
    monkeypatch.setattr(
        backend, "computation", lambda config, implementation: lambda operands: tf.gather(operands["x"], [2, 0, 2])
    )
    result = gradients(backend, case(), {"x": np.zeros(4)}, np.array([1.0, 2.0, 4.0]))
    assert result["x"].tolist() == [2.0, 0.0, 5.0, 0.0]


@every_backend
def test_operands_are_not_changed(name: str) -> None:
    product = case()
    operands = {key: array.copy() for key, array in inputs.operands(product, "float32").items()}
    before = {key: array.copy() for key, array in operands.items()}
    gradients(framework(name), product, operands, inputs.cotangent(product, "float32"))
    assert all(np.array_equal(before[key], operands[key]) for key in operands)


def test_numpy_declares_that_it_does_not_differentiate() -> None:
    assert "grad" not in registry.load_class("numpy").directions
    with pytest.raises(NotImplementedError, match="has no grad: it does not define `pullback`"):
        gradients(framework("numpy"), case(), inputs.operands(case(), "float32"), inputs.cotangent(case(), "float32"))


@every_backend
def test_a_gradient_is_that_of_the_result_whatever_other_outputs_there_are(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, plain = framework(name), case()
    operands = inputs.operands(plain, "float64")
    cotangent = np.ones((3, 5))
    expected = gradients(backend, plain, operands, cotangent)
    compute = type(backend).computation

    def with_operands(self: Backend, config: EinsumConfig, implementation: str) -> Computation:
        computation = compute(self, config, implementation)
        return lambda operands: {RESULT: computation(operands), "first": next(iter(operands.values()))}

    monkeypatch.setattr(type(backend), "computation", with_operands)
    monkeypatch.setattr(EinsumConfig, "output_labels", (RESULT, "first"))
    actual = gradients(backend, case(equation=" ij,jk->ik"), operands, cotangent)
    assert {label: array.tolist() for label, array in actual.items()} == {
        label: array.tolist() for label, array in expected.items()
    }
