"""Operands of several dtypes: the fields of a case, the operands, and the bounds of result and gradients."""

import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specs.arithmetic.formats import DTYPES, Array, cast, dtype_name, round_to
from specs.arithmetic.precision import declared_precision
from specs.bound import einsum, einsum_gradient
from specs.case.case import Case
from specs.case.einsum import EinsumConfig
from specs.case.error import CaseError
from specs.case.semantics import find_contradiction
from specs.inputs import inputs
from specs.reference.reference import Reference
from specs.verdict.comparison import compare
from specs.verdict.direction import DIRECTIONS
from tests.support.narrow_arithmetic import ORDERS, Simulated, normal, worst_ratio


def case(**fields: Any) -> Case:
    config = {"equation": "ij,jk->ik", "shapes": [[3, 4], [4, 5]]} | fields
    return Case("einsum/test::case", "case", Path("x.yaml"), 1, EinsumConfig.model_validate(config))


def reference(equation: str, operands: list[Array], dtype: str, random: bool = True, **formats: Any) -> Reference:
    config = EinsumConfig(equation=equation, shapes=[list(o.shape) for o in operands])
    return einsum.reference(config, DTYPES[dtype], operands, declared_precision(DTYPES[dtype], **formats), random)


# Fields of a case -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"operand_dtypes": ["int8", "float32"], "dtypes": ["float32"]}, None),
        ({"operand_dtypes": ["int8", "int8"], "dtypes": ["int32"], "asks_for_dtype": True}, None),
        ({"operand_dtypes": ["float64", "float64"], "dtypes": ["float32"], "asks_for_dtype": True}, None),
        ({"operand_dtypes": ["float32"], "dtypes": ["float32"]}, "names 1 dtypes for 2 operands"),
        ({"operand_dtypes": ["int8", "int8"], "dtypes": ["int32"]}, r"promote to int8: give dtypes: \[int8\], or set"),
        (
            {"operand_dtypes": ["complex64", "float32"], "dtypes": ["float32"], "asks_for_dtype": True},
            "operands of complex64 cannot be converted to float32",
        ),
    ],
)
def test_contradicting_dtypes_are_a_problem(fields: dict[str, Any], message: str | None) -> None:
    problem = find_contradiction(case(**fields))
    if message is None:
        assert problem is None
    else:
        assert problem is not None
        assert re.search(message, str(problem))


def test_a_lower_kind_may_be_what_a_case_expects_to_be_refused() -> None:
    fields = {"operand_dtypes": ["complex64", "complex64"], "dtypes": ["float32"], "asks_for_dtype": True}
    assert find_contradiction(case(**fields, expect={"error": "dtype"})) is None


@pytest.mark.parametrize("field", [{"asks_for_dtype": True}, {"operand_dtypes": ["float32", "float32"]}])
def test_several_results_are_refused(field: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="list exactly one in dtypes"):
        case(dtypes=["float32", "float64"], **field)


# Operands -----------------------------------------------------------------------------------------------------------


def test_each_operand_has_its_dtype_and_the_cotangent_the_results() -> None:
    mixed = case(operand_dtypes=["float16", "int8"], dtypes=["float64"], asks_for_dtype=True)
    assert [x.dtype.name for x in inputs.operands(mixed, "float64").values()] == ["float16", "int8"]
    assert inputs.cotangent(mixed, "float64").dtype == np.float64


def test_an_operands_bits_do_not_depend_on_the_others_dtypes() -> None:
    mixed = inputs.operands(case(operand_dtypes=["float32", "float64"], dtypes=["float64"]), "float64")
    for name, dtype in (("operand_0", "float32"), ("operand_1", "float64")):
        np.testing.assert_array_equal(mixed[name], inputs.operands(case(), dtype)[name], strict=True)


@pytest.mark.parametrize(
    ("operands", "result", "has"), [(["int8", "float32"], "float32", True), (["int8", "int8"], "float32", False)]
)
def test_a_gradient_needs_an_operand_that_varies(operands: list[Any], result: str, has: bool) -> None:
    mixed = case(operand_dtypes=operands, dtypes=[result], asks_for_dtype=True)
    assert DIRECTIONS["grad"].exists(mixed, result) == has


# The bound of the result --------------------------------------------------------------------------------------------

EQUATIONS = [("ij->i", [(3, 24)]), ("ij,jk->ik", [(4, 24), (24, 3)]), ("ij,jk,kl->il", [(3, 8), (8, 4), (4, 2)])]
PAIRS = [("float32", "float64"), ("float16", "float32"), ("bfloat16", "float32"), ("float64", "float32"),
         ("float32", "bfloat16"), ("float64", "float16")]  # fmt: skip


@pytest.mark.parametrize(("own", "result"), PAIRS)
@pytest.mark.parametrize(("equation", "shapes"), EQUATIONS)
@pytest.mark.parametrize("random", [True, False])
def test_conversion_of_operands_or_of_the_result_stays_within_the_bound(
    own: str, result: str, equation: str, shapes: list[Any], random: bool
) -> None:
    p = declared_precision(DTYPES[result])
    for seed, order in itertools.product(range(3), ORDERS):
        operands = normal(shapes, own, seed)
        expected = reference(equation, operands, result, random)
        before = [cast(x, DTYPES[result]).astype(np.float64) for x in operands]
        wide = [x.astype(np.float64) for x in operands]
        assert worst_ratio(Simulated(p, order, seed)(equation, before), expected) <= 1
        assert worst_ratio(round_to(np.einsum(equation, *wide), p.storage), expected) <= 1


def test_a_promoted_result_from_the_narrower_dtype_is_outside_the_bound() -> None:
    a, b = normal([(4, 24)], "float32")[0], normal([(24, 3)], "float64")[0]
    expected = reference("ij,jk->ik", [a, b], "float64")
    assert worst_ratio(np.einsum("ij,jk->ik", a.astype(np.float64), b), expected) <= 1
    narrow = np.einsum("ij,jk->ik", a, b.astype(np.float32)).astype(np.float64)
    assert worst_ratio(narrow, expected) > 1e6


@pytest.mark.parametrize("integers", ["int8", "int32", "uint16", "bool"])
def test_small_integers_in_a_floating_result_are_exact(integers: str) -> None:
    a, b = np.array([[1, 0, 1]]).astype(integers), np.array([[0.5], [2], [4]], np.float32)
    expected = reference("ij,jk->ik", [a, b], "float32")
    assert not expected.error.any()
    assert compare(np.array([[4.5]], np.float32), expected).problem == ""


def test_an_integer_that_the_result_does_not_hold_is_rounded_once() -> None:
    numbers = np.array([2**24 + 1, 5])
    copied = reference("i->i", [numbers], "float32")
    assert compare(np.array([2**24, 5], np.float32), copied).problem == ""
    assert compare(np.array([2**24 + 2, 5], np.float32), copied).problem
    doubled = reference("i,i->i", [numbers, np.array([2.0, 2.0], np.float32)], "float32")
    assert doubled.error[0] > 0


def test_an_integer_beyond_the_references_digits_is_refused() -> None:
    with pytest.raises(CaseError, match="more than the reference can hold"):
        reference("i->i", [np.array([2**53 + 1])], "float64")


def test_elements_that_use_an_operand_which_overflows_in_conversion_have_no_bound() -> None:
    a, b = np.array([1e300, 1.0]), np.array([1e-300, 1.0])
    expected = reference("i,i->i", [a, b], "float32", random=False)
    assert np.isinf(expected.error).tolist() == [True, False]


def test_an_operand_that_underflows_in_conversion_may_be_zero() -> None:
    a, b = np.array([1e-46, 1e-40]), np.array([1e30, 1e30])
    expected = reference("i,i->i", [a, b], "float32", random=False)
    with np.errstate(all="ignore"):
        inside = a.astype(np.float32) * b.astype(np.float32)
        outside = (a * b).astype(np.float32)
    assert inside[0] == 0 < outside[0]
    assert [worst_ratio(x, expected) <= 1 for x in (inside, outside)] == [True, True]
    assert worst_ratio(outside * np.float32(1.001), expected) > 1


def test_a_flushed_subnormal_of_the_narrower_dtype_is_allowed_only_where_that_is_declared() -> None:
    a, b = np.array([2.0**-140], np.float32), np.array([2.0**100])
    lost = np.array([0.0])
    assert compare(lost, reference("i,i->i", [a, b], "float64", flushes=True)).problem == ""
    assert compare(lost, reference("i,i->i", [a, b], "float64")).problem


# Gradients ----------------------------------------------------------------------------------------------------------


def gradient_of(operands: list[Array], result: str, cotangent: Array, of: int) -> Reference:
    config = EinsumConfig(equation="ij,jk->ik", shapes=[list(o.shape) for o in operands])
    p = declared_precision(DTYPES[result])
    return einsum_gradient.reference(config, DTYPES[result], operands, cotangent, of, p, random=True)


@pytest.mark.parametrize(
    ("own", "other", "result"),
    [
        ("float32", "float64", "float64"),
        ("float64", "float32", "float32"),
        ("bfloat16", "int8", "float32"),
        ("float16", "bfloat16", "float32"),
        ("float64", "float64", "bfloat16"),
    ],
)
def test_a_gradient_has_the_operands_dtype_and_may_be_rounded_to_the_results_dtype_first(
    own: str, other: str, result: str
) -> None:
    for seed in range(5):
        x = normal([(4, 6)], own, seed)[0]
        y = cast(np.rint(4 * np.random.default_rng(seed).standard_normal((6, 3))), DTYPES[other])
        c = normal([(4, 3)], result, seed + 9)[0]
        expected = gradient_of([x, y], result, c, 0)
        assert expected.dtype.name == own
        exact = np.einsum("ik,jk->ij", c.astype(np.float64), y.astype(np.float64))
        stored = round_to(exact, DTYPES[result].format)
        for gradient in (cast(exact, DTYPES[own]), cast(stored, DTYPES[own])):
            assert dtype_name(gradient.dtype) == own
            assert compare(gradient, expected).problem == ""
        wrong = cast(exact * 1.05, DTYPES[own])
        assert "outside" in compare(wrong, expected).problem


def test_the_gradient_of_a_real_operand_of_a_complex_result_is_real() -> None:
    x, y = normal([(4, 6)], "float64")[0], np.array(normal([(6, 3)], "float32")[0] * (1 + 2j), np.complex64)
    c = normal([(4, 3)], "float64", 3)[0] * (2 - 1j)
    expected = gradient_of([x, y], "complex128", c, 0)
    assert (expected.dtype.name, expected.shape) == ("float64", (4, 6))
    right = np.einsum("ik,jk->ij", c, y.astype(np.complex128))
    assert compare(right.real, expected).problem == ""
    assert compare(np.abs(right), expected).problem
    assert gradient_of([x, y], "complex128", c, 1).dtype.name == "complex64"


def test_a_gradient_that_is_a_copy_stays_exact() -> None:
    config = EinsumConfig(equation="ij->ji", shapes=[[2, 3]])
    x, c = normal([(2, 3)], "float32")[0], np.arange(6.0).reshape(3, 2)
    expected = einsum_gradient.reference(
        config, DTYPES["float64"], [x], c, 0, declared_precision(DTYPES["float64"]), random=True
    )
    assert not expected.error.any()
    assert compare(c.T.astype(np.float32), expected).problem == ""
