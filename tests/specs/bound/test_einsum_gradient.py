"""Simulated backpropagation is within the error bound of einsum's gradients; faults are not."""

from collections.abc import Callable

import numpy as np
import pytest

from specs.arithmetic.formats import BFLOAT16, DTYPES, FLOAT32, TF32, Array, cast, round_to
from specs.arithmetic.precision import declared_precision
from specs.case.equation import bind
from tests.support.narrow_arithmetic import ORDERS, PRECISIONS, normal, worst_ratio
from tests.support.narrow_einsum_gradient import (
    Backpropagation,
    DeferredSum,
    Expanded,
    Shapes,
    deferred_labels,
    make_inputs,
    reference,
)

BACKWARD: list[tuple[str, Shapes]] = [
    ("ij,jk->ik", [(4, 32), (32, 4)]),
    ("ij,jk->ik", [(64, 2), (2, 64)]),
    ("bij,bjk->bik", [(1, 4, 8), (16, 8, 4)]),
    ("ij,jk->ik", [(4, 1), (16, 8)]),
    ("...ij,...j->...i", [(4, 1, 3, 5), (8, 5)]),
    ("ij,k->i", [(4, 16), (16,)]),
    ("iij,jk->k", [(6, 6, 12), (12, 5)]),
    ("ij,jk,kl->il", [(4, 8), (8, 8), (8, 4)]),
    ("ij,j,kl->il", [(4, 16), (16,), (8, 3)]),
    ("ai,aj,a->ij", [(16, 3), (16, 3), (1,)]),
    ("i,ij,ij->ij", [(24,), (24, 1), (24, 3)]),
    ("i,ij,jk,jk->k", [(9,), (9, 1), (5, 7), (5, 7)]),
    ("a,ab,bc,c->", [(5,), (5, 6), (6, 5), (5,)]),
]


@pytest.mark.parametrize("name", PRECISIONS, ids=lambda n: n.replace(" ", "_"))
@pytest.mark.parametrize(("equation", "shapes"), BACKWARD, ids=[f"{e}{s}" for e, s in BACKWARD])
@pytest.mark.parametrize("random", [True, False], ids=["random_data", "any_data"])
def test_backpropagation_in_any_order_stays_within_the_bound(
    name: str, equation: str, shapes: Shapes, random: bool
) -> None:
    dtype, formats = PRECISIONS[name]
    p = declared_precision(DTYPES[dtype], **formats)
    contraction = bind(equation, list(shapes))
    broadcasts = any(deferred_labels(equation, shapes, i) for i in range(len(shapes)))
    operands = normal([*shapes, contraction.output_shape], dtype, 3)
    if not random:
        operands = [cast(np.abs(o.astype(np.float64)) + 1, DTYPES[dtype]) for o in operands]
    *operands, cotangent = operands
    wide = [o.astype(np.float64) for o in operands]
    expected = [reference(equation, operands, cotangent, i, dtype, p, random=random) for i in range(len(operands))]
    for seed, order in enumerate(ORDERS):
        for kind in (Backpropagation, Expanded, DeferredSum) if broadcasts else (Backpropagation,):
            gradients = kind(p, order, seed).gradients(equation, wide, cotangent.astype(np.float64))
            for i, (result, right) in enumerate(zip(gradients, expected, strict=True)):
                defers_sum = kind is Expanded and not deferred_labels(equation, shapes, i)
                assert defers_sum or worst_ratio(result, right) <= 1, (order, kind.__name__, i)


# Usefulness -----------------------------------------------------------------------------------------------------------

FAULTS: dict[str, Callable[[Array, Array], Array]] = {
    "bfloat16 operands": lambda c, b: round_to(c, BFLOAT16) @ round_to(b, BFLOAT16).T,
    "TF32 operands": lambda c, b: round_to(c, TF32) @ round_to(b, TF32).T,
    "last term dropped": lambda c, b: c[:, :-1] @ b[:, :-1].T,
    "result through bfloat16": lambda c, b: round_to(c @ b.T, BFLOAT16),
    "cotangent of the row above": lambda c, b: np.roll(c, 1, axis=0) @ b.T,
    "sign": lambda c, b: -c @ b.T,
    "all off by 1e-5": lambda c, b: (c @ b.T) * (1 + 1e-5),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("terms", [4, 64, 512])
def test_a_fault_behind_float32_is_outside_the_bound(fault: str, terms: int) -> None:
    operands, cotangent = make_inputs("ij,jk->ik", [(16, 16), (16, terms)], "float32")
    expected = reference("ij,jk->ik", operands, cotangent, 0, "float32")
    c, b = cotangent.astype(np.float64), operands[1].astype(np.float64)
    assert worst_ratio(round_to(c @ b.T, FLOAT32), expected) <= 1
    assert worst_ratio(round_to(FAULTS[fault](c, b), FLOAT32), expected) > 1


def test_products_stored_in_bfloat16_are_a_finding_where_nothing_was_broadcast() -> None:
    operands, cotangent = make_inputs("i,j->ij", [(32,), (32,)], "bfloat16")
    expected = reference("i,j->ij", operands, cotangent, 0, "bfloat16")
    products = cotangent.astype(np.float64) * operands[1].astype(np.float64)
    assert worst_ratio(round_to(products.sum(axis=1), BFLOAT16), expected) <= 1
    assert worst_ratio(round_to(round_to(products, BFLOAT16).sum(axis=1), BFLOAT16), expected) > 1
