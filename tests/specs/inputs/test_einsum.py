"""Operands of an einsum: literals keep their values, and cancelling data cancels along a summed label."""

from typing import Any

import numpy as np
import pytest

from specs.arithmetic.formats import Array
from specs.case.error import CaseError
from specs.inputs import inputs
from tests.support.sample_cases import einsum_case

# Literals -------------------------------------------------------------------------------------------------------------


def literal(dtype: str, *values: Any) -> list[Array]:
    case = einsum_case(equation=",".join("i" * len(values)), shapes=None, operands=list(values))
    return list(inputs.operands(case, dtype).values())


def test_literals_are_rounded_once_to_the_dtype() -> None:
    a, b = literal("bfloat16", [0.1, 1 + 2**-8 + 2**-30], [[1, 2], [3, 4]])
    assert a.astype(float).tolist() == [0.10009765625, 1 + 2**-7]
    assert b.shape == (2, 2)


def test_integer_literals_wrap_and_infinities_and_nan_are_preserved() -> None:
    assert literal("uint8", [-1, 256, 7])[0].tolist() == [255, 0, 7]
    np.testing.assert_array_equal(literal("float16", [np.inf, -np.inf, np.nan])[0], [np.inf, -np.inf, np.nan])
    assert literal("float16", [1e6])[0].tolist() == [np.inf]
    assert literal("bool", [0, 2])[0].tolist() == [False, True]
    assert literal("complex64", [2])[0].tolist() == [2 + 0j]


def test_an_integer_of_64_bits_keeps_its_bits_next_to_a_small_one() -> None:
    assert literal("uint64", [2**64 - 1, 2])[0].tolist() == [2**64 - 1, 2]
    assert literal("int64", [[2**63, -1], [2**64 - 1, 5]])[0].tolist() == [[-(2**63), -1], [-1, 5]]


def test_scalars_and_empty_literals_have_their_shapes() -> None:
    assert [a.shape for a in literal("float32", 3, [], [[], []])] == [(), (0,), (2, 0)]


def test_a_ragged_literal_is_refused() -> None:
    with pytest.raises(CaseError):
        literal("float32", [[1, 2], [3]])


# Cancelling -----------------------------------------------------------------------------------------------------------


def test_cancelling_sums_are_far_smaller_than_their_terms() -> None:
    a, b = inputs.operands(einsum_case(data="cancelling"), "float64").values()
    total, size = a @ b, np.abs(a) @ np.abs(b)
    assert np.abs(total).max() < size.min() / 30
    np.testing.assert_array_equal(a[:, 100:], a[:, :100] * -(1 + 2**-6))
    np.testing.assert_array_equal(b[100:], b[:100])


def test_cancelling_needs_something_to_sum() -> None:
    with pytest.raises(CaseError):
        inputs.operands(einsum_case(equation="ij,jk->ijk", data="cancelling"), "float64")
