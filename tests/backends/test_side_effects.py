"""What a computation does to tensors of a framework is seen, although arrays are copied to make them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from backends.base import Backend, Declaration
from backends.discovery import registry
from specs.case.einsum import EinsumConfig
from specs.verdict.verdict import judge
from tests.support.checks import case_of, check_of, framework

PRODUCT = EinsumConfig(equation="ij,jk->ik", shapes=[[3, 8], [8, 3]])


def make_backend(compute: Callable[[Mapping[str, Any]], Any]) -> Backend:
    """PyTorch with this function of its tensors as its einsum."""
    framework("torch")
    torch: Any = registry.load_class("torch")
    return type("Other", (torch,), {"einsum": lambda self, config, implementation: compute})()


def reason(backend: Backend, config: EinsumConfig = PRODUCT, **fields: Any) -> str:
    check = replace(check_of(case_of(config), "einsum", dtype="float32"), **fields)
    return judge(check, backend, "x", "t.yaml").reason


def test_a_tensor_that_is_changed_in_place() -> None:
    def halve(operands: Mapping[str, Any]) -> Any:
        result = operands["operand_0"] @ operands["operand_1"]
        operands["operand_1"] *= 0.5
        return result

    assert reason(make_backend(halve)) == "operand_1 was changed in place"
    assert reason(make_backend(lambda x: x["operand_0"] @ x["operand_1"])) == ""


def test_a_view_of_a_tensor_where_none_is_declared() -> None:
    config = EinsumConfig(equation="ij,->ij", operands=[[[1.0, 2.0], [3.0, 4.0]], 1.0], dtypes=["float32"])
    assert reason(make_backend(lambda x: x["operand_0"]), config).startswith("the result is a view of operand_0")
    assert reason(make_backend(lambda x: x["operand_0"] * x["operand_1"]), config) == ""


def test_an_output_for_which_nothing_asked() -> None:
    def compute(operands: Mapping[str, Any]) -> Any:
        result = operands["operand_0"] @ operands["operand_1"]
        return {"result": result, "other": result + 1}

    assert reason(make_backend(compute)) == "'other' was returned, for which nothing asked"


def test_one_tensor_for_all_results() -> None:
    buffers: list[Any] = []

    def compute(operands: Mapping[str, Any]) -> Any:
        result = operands["operand_0"] @ operands["operand_1"]
        buffers.append(result)
        return buffers[0].copy_(result)

    assert reason(make_backend(compute)) == "a later call returns its result in the memory of an earlier one"


@pytest.mark.parametrize("name", registry.names())
def test_einsum_that_only_rearranges_its_operand_passes(name: str) -> None:
    backend = framework(name)
    for equation in ("ij->ji", "ij->ij", "ii->i", "...j->j..."):
        config = EinsumConfig(equation=equation, shapes=[[4, 4]])
        for direction in backend.directions:
            assert reason(backend, config, direction=direction, mode=backend.usual_mode) == ""


def test_bits_may_vary_where_a_row_says_so() -> None:
    class Varying(Backend):
        varying = (Declaration({}, kind="einsum", direction="grad", reason="Atomic additions."),)

    check = check_of(case_of(PRODUCT), "einsum", dtype="float32")
    assert Varying.varies(Varying, check) is None  # type: ignore[arg-type]
    assert Varying.varies(Varying, replace(check, direction="grad")) == "Atomic additions."  # type: ignore[arg-type]


def test_a_gradient_is_built_once() -> None:
    backend = framework("torch")
    check = check_of(case_of(PRODUCT), "einsum", dtype="float32", direction="grad")
    operands = {"operand_0": np.ones((3, 8), np.float32), "operand_1": np.ones((8, 3), np.float32)}
    backend.gradient(check, operands, np.ones((3, 3), np.float32))
    built = backend._last_built
    backend.gradient(check, operands, np.ones((3, 3), np.float32))
    assert backend._last_built is built
