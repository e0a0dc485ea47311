"""What modes are: how a backend declares them, which code runs when, on what, and what is compiled once only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from backends.base import Backend
from backends.discovery import registry
from backends.numpy import Numpy
from backends.parts.mode import COMPILED, EAGER, Mode
from specs.arithmetic.formats import Array
from specs.case.attention import AttentionConfig
from specs.case.einsum import EinsumConfig
from specs.verdict.verdict import judge
from tests.support.checks import case_of, check_of, framework

PRODUCT = case_of(EinsumConfig(equation="ij,jk->ik", shapes=[[3, 4], [4, 5]]))
Function = Callable[[Mapping[str, Any]], Any]


def operands(*shape: int) -> dict[str, Array]:
    return {"x": np.arange(np.prod(shape), dtype=np.float32).reshape(shape)}


class Doubled:
    """Twice the operand; `calls` holds what each run of this code got."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def __call__(self, operands: Mapping[str, Any]) -> Any:
        self.calls.append(operands["x"])
        return operands["x"] + operands["x"]


def call(name: str, function: Function, *shape: int) -> None:
    """Call a function of a backend on an operand of this shape, of which it is to return the double."""
    backend = framework(name)
    tensors = {key: backend.from_numpy(array, "cpu") for key, array in operands(*shape).items()}
    np.testing.assert_array_equal(backend.to_numpy(function(tensors)), 2 * operands(*shape)["x"])


class Named(registry.load_class("torch")):  # type: ignore[misc]
    """As a user's adapter may declare its modes."""

    modes = ("eager", "dynamic", "fast")


class Lazy(Numpy):
    """A mode of its own beside the inherited one, of a nature that is known."""

    modes = {**Numpy.modes, "lazy": Mode("graph")}


@pytest.mark.parametrize(
    ("backend", "natures"),
    [
        (Named, {"eager": EAGER, "dynamic": Mode("compiled", any_sizes=True), "fast": COMPILED}),
        (Lazy, {"eager": EAGER, "lazy": Mode("graph")}),
    ],
)
def test_a_mode_that_is_only_named_is_what_its_base_class_declares_or_compiled(
    backend: type[Backend], natures: dict[str, Mode]
) -> None:
    assert {mode: backend.mode_of(check_of(PRODUCT, mode=mode)) for mode in backend.modes} == natures


def test_what_a_formulation_cannot_do_follows_from_what_a_mode_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Further modes of a backend, whatever they are called, have the limits of those of their nature."""
    backend: Any = framework("torch")
    further = {"further-graph": Mode("graph"), "further-program": COMPILED}
    monkeypatch.setattr(type(backend), "modes", {**backend.modes, **further})
    case = case_of(AttentionConfig(q_len=2, head_dim=4, dtypes=["float64"]))
    refused = {
        mode: {name for name in ("sdpa", "sdpa-math", "flex") if backend.unsupported(check_of(case, name, mode))}
        for mode in backend.modes
    }
    assert refused["further-graph"] == refused["export"] == {"sdpa-math"}
    assert refused["further-program"] == refused["jit"] == {"flex"}
    assert refused["eager"] == set()


@pytest.mark.parametrize(("name", "mode"), [("torch", "export"), ("tensorflow", "dynamic"), ("jax", "jit")])
def test_a_graph_is_made_once(name: str, mode: str) -> None:
    doubled = Doubled()
    function = framework(name).compile(doubled, check_of(PRODUCT, mode=mode))
    for _ in range(3):
        call(name, function, 2, 3)
    assert len(doubled.calls) == 1


def test_a_graph_of_unknown_sizes_serves_any() -> None:
    doubled = Doubled()
    function = framework("tensorflow").compile(doubled, check_of(PRODUCT, mode="dynamic"))
    for shape in ((2, 3), (5, 1), (0, 4)):
        call("tensorflow", function, *shape)
    assert len(doubled.calls) == 1


def test_torch_compiles_for_any_sizes_once() -> None:
    backend: Any = framework("torch")
    check = check_of(PRODUCT, mode="dynamic", direction="grad")
    function = backend.compile(lambda operands: operands["x"] + operands["x"], check)
    call("torch", function, 3, 4)
    with backend.torch.compiler.set_stance("fail_on_recompile"):
        call("torch", function, 5, 7)


def test_what_jax_computes_with_constants_has_no_parameters() -> None:
    backend: Any = framework("jax")
    constant, compiled = Doubled(), Doubled()
    call("jax", backend.compile(constant, check_of(PRODUCT, mode="constant")), 2, 3)
    call("jax", backend.compile(compiled, check_of(PRODUCT, mode="jit")), 2, 3)
    tracer = backend.jax.core.Tracer
    assert [isinstance(x, tracer) for x in (*constant.calls, *compiled.calls)] == [False, True]


def test_a_compiled_function_that_keeps_the_sizes_of_its_first_call_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    backend: Any = framework("torch")

    def compile(function: Function, **_: Any) -> Function:
        shapes: list[Any] = []

        def run(operands: Mapping[str, Any]) -> Any:
            result = function(operands)
            shapes.append(result.shape)
            return result if result.shape == shapes[0] else result.new_zeros(shapes[0])

        return run

    monkeypatch.setattr(backend.torch, "compile", compile)
    checks = [check_of(PRODUCT, mode=mode, dtype="float32") for mode in ("jit", "dynamic")]
    records = {check.mode: judge(check, backend, "", "") for check in checks}
    assert {mode: record.verdict for mode, record in records.items()} == {"jit": "pass", "dynamic": "fail"}
    assert records["dynamic"].reason.startswith("shape is (4, 6), expected (3, 5)")
