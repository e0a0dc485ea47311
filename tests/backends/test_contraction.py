"""The implementations of einsum: sublists instead of an equation, which are distinct, and their arguments."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends import numpy as numpy_backend
from backends.discovery import registry
from backends.parts.contraction import interleave
from specs.arithmetic.formats import Array
from specs.case.attention import AttentionConfig
from specs.case.case import Case
from specs.case.einsum import EinsumConfig
from tests.support.checks import case_of, check_of, framework


def config(equation: str = "ij,jk->ik", **fields: Any) -> EinsumConfig:
    shapes = [[2] * len(term.replace("...", "")) for term in equation.partition("->")[0].split(",")]
    return EinsumConfig.model_validate({"equation": equation, "shapes": shapes} | fields)


# Sublists -----------------------------------------------------------------------------------------------------------


def test_labels_become_numbers_capitals_first() -> None:
    assert interleave("ij,jk->ik", ["a", "b"]) == ["a", [34, 35], "b", [35, 36], [34, 36]]
    assert interleave("AZaz", ["x"]) == ["x", [0, 25, 26, 51]]
    assert interleave(" ... i , -> ...", ["x", "y"]) == ["x", [Ellipsis, 34], "y", [], [Ellipsis]]


@pytest.mark.parametrize("name", ["numpy", "torch"])
@pytest.mark.parametrize("equation", ["ij,jk->ik", "ba", "aB,Bc", "...i,i->...", "ii->i", "ij->"])
def test_sublists_mean_what_the_equation_means(name: str, equation: str) -> None:
    backend = framework(name)
    einsum = config(equation)
    operands = {f"operand_{i}": np.arange(2.0 ** len(s)).reshape(s) for i, s in enumerate(einsum.shapes or [])}
    case = Case("t::c", "c", Path("t.yaml"), 1, einsum)
    result = backend.run(check_of(case, "einsum-sublists"), operands)
    np.testing.assert_array_equal(result, np.einsum(equation, *operands.values()), strict=True)


# Distinct -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "implementation", "fields", "device", "distinct"),
    [
        ("numpy", "einsum-optimal", {"equation": "ij,jk->ik"}, "cpu", False),
        ("numpy", "einsum-optimal", {"equation": "ij,jk,kl->il"}, "cpu", True),
        ("numpy", "einsum-optimized", {"equation": "ij->ji"}, "cpu", True),
        ("numpy", "einsum-sublists", {"equation": "i#->i"}, "cpu", False),
        ("numpy", "einsum-sublists", {"equation": "ij,jk->ik", "shapes": [[2, 2]]}, "cpu", False),
        ("numpy", "einsum-out", {"equation": "ij->ik", "expect": {"error": "unknown_label"}}, "cpu", False),
        ("numpy", "einsum-casting", {}, "cpu", False),
        ("numpy", "einsum-casting", {"asks_for_dtype": True, "dtypes": ["float32"]}, "cpu", False),
        (
            "numpy",
            "einsum-casting",
            {"asks_for_dtype": True, "dtypes": ["float32"], "operand_dtypes": ["float64"] * 2},
            "cpu",
            True,
        ),
        ("torch", "einsum-unoptimized", {"equation": "ij,jk->ik"}, "cpu", False),
        ("torch", "einsum-unoptimized", {"equation": "ij,jk,kl->il"}, "cpu", True),
        ("jax", "einsum-optimal", {"equation": "ab,bc,cd,de->ae"}, "cpu", False),
        ("jax", "einsum-optimal", {"equation": "ab,bc,cd,de,ef->af"}, "cpu", True),
        ("jax", "einsum-highest", {}, "cpu", False),
        ("jax", "einsum-highest", {}, "cuda:0", True),
        ("tensorflow", "keras", {}, "cpu", True),
    ],
)
def test_an_implementation_that_equals_another_by_construction_is_not_distinct(
    name: str, implementation: str, fields: dict[str, Any], device: str, distinct: bool
) -> None:
    assert registry.load_class(name).is_distinct(config(**fields), implementation, device) == distinct


@pytest.mark.parametrize(("name", "layer"), [("torch", "linear-layer"), ("tensorflow", "keras-dense")])
def test_a_linear_layer_is_distinct_where_there_are_linear_projections(name: str, layer: str) -> None:
    plain = AttentionConfig(q_len=2, head_dim=4, layout="bsd")
    projected = plain.model_validate(plain.model_dump(exclude_unset=True) | {"projections": {"kind": "linear"}})
    backend = registry.load_class(name)
    assert not backend.is_distinct(plain, layer, "cpu")
    assert backend.is_distinct(projected, layer, "cpu")
    assert backend.is_distinct(plain, "matmul", "cpu")


@pytest.mark.parametrize("name", registry.names())
def test_what_runs_on_request_is_offered_and_never_the_plain_one(name: str) -> None:
    backend = registry.load_class(name)
    offered = {implementation for names in backend.implementations.values() for implementation in names}
    assert backend.on_request <= offered - {"einsum"}


# Arguments that request a dtype -------------------------------------------------------------------------------------


def test_a_casting_rule_is_given_only_where_the_default_would_refuse() -> None:
    fields = {"asks_for_dtype": True, "dtypes": ["float32"]}
    assert numpy_backend.dtype_arguments(config()) == ()
    assert dict(numpy_backend.dtype_arguments(config(**fields))) == {"dtype": np.float32}
    assert dict(numpy_backend.dtype_arguments(config(**fields, operand_dtypes=["float16", "float32"]))) == {
        "dtype": np.float32
    }
    narrowed = dict(numpy_backend.dtype_arguments(config(**fields, operand_dtypes=["float64", "float32"])))
    assert narrowed == {"dtype": np.float32, "casting": "same_kind"}


@pytest.mark.parametrize("name", ["numpy", "jax"])
def test_int8_with_an_int32_result_does_not_wrap_around(name: str) -> None:
    product = config("i,i->", asks_for_dtype=True, operand_dtypes=["int8", "int8"], dtypes=["int32"])
    operands = {f"operand_{i}": np.full(2, 100, np.int8) for i in range(2)}
    result = framework(name).run(check_of(case_of(product)), operands)
    assert (result.dtype, result.item()) == (np.int32, 20000)


@pytest.mark.parametrize("name", ["torch", "tensorflow"])
def test_a_backend_without_such_an_argument_says_so(name: str) -> None:
    product = config(asks_for_dtype=True, dtypes=["float32"])
    assert "argument for the result's dtype" in str(framework(name).unsupported(check_of(case_of(product))))


# Orders of contraction ----------------------------------------------------------------------------------------------


def test_torch_is_unoptimized_only_while_it_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = framework("torch")
    torch = backend.torch  # type: ignore[attr-defined]
    enabled = torch.backends.opt_einsum.enabled
    switches: dict[str, bool] = {}

    def observe(name: str) -> Any:
        def einsum(equation: str, *operands: Any) -> Any:
            switches[name] = torch.backends.opt_einsum.enabled
            return operands[0]

        return einsum

    for name in ("einsum", "einsum-unoptimized"):
        monkeypatch.setattr(torch, "einsum", observe(name))
        backend.einsum(config("ij,jk,kl->il"), name)({f"operand_{i}": torch.ones(2, 2) for i in range(3)})
    assert switches == {"einsum": enabled, "einsum-unoptimized": False}
    assert torch.backends.opt_einsum.enabled == enabled


@pytest.mark.parametrize("name", ["numpy", "jax"])
def test_no_exhaustive_search_for_the_order_of_many_operands(name: str) -> None:
    backend = framework(name)
    chain = ",".join(a + b for a, b in zip(string.ascii_letters[:7], string.ascii_letters[1:8], strict=True))
    reason = backend.unsupported(check_of(case_of(config(chain)), "einsum-optimal"))
    assert reason is not None
    assert "exhaustive search" in reason
    assert backend.unsupported(check_of(case_of(config(chain[:-3])), "einsum-optimal")) is None


# NumPy's arguments --------------------------------------------------------------------------------------------------


def test_an_output_array_is_in_fortran_order_and_holds_other_values() -> None:
    outputs: list[Array] = []

    def einsum(equation: str, *operands: Array, out: Array) -> Array:
        outputs.append(out.copy(order="K"))
        return out

    for dtype in (np.float32, np.int8):
        numpy_backend.einsum_out("ij,jk->ik", np.ones((2, 3), dtype), np.ones((3, 4), dtype), einsum=einsum)
    assert [(x.shape, x.dtype, x.flags.f_contiguous) for x in outputs] == [
        ((2, 4), np.float32, True),
        ((2, 4), np.int8, True),
    ]
    assert np.isnan(outputs[0]).all()
    assert (outputs[1] == 127).all()
