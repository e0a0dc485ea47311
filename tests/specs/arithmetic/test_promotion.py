"""Promotion of several dtypes, and which result dtypes can be requested."""

import itertools

import numpy as np
import pytest

from specs.arithmetic.formats import DTYPES
from specs.arithmetic.promotion import is_same_kind_cast, result_type

NUMPY_DTYPES = [name for name in DTYPES if name != "bfloat16"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["float32"], "float32"),
        (["float32", "float64"], "float64"),
        (["float16", "float16", "float32"], "float32"),
        (["complex64", "float64"], "complex128"),
        (["int8", "uint8"], "int16"),
        (["int8", "uint32"], "int64"),
        (["bool", "int8"], "int8"),
        # Left open by the array API standard; as in NumPy
        (["int64", "uint64"], "float64"),
        (["int8", "float16"], "float16"),
        (["int32", "float32"], "float64"),
        (["int32", "complex64"], "complex128"),
        # Not in NumPy; as in JAX
        (["bfloat16", "bfloat16"], "bfloat16"),
        (["bfloat16", "float16"], "float32"),
        (["bfloat16", "float32"], "float32"),
        (["bfloat16", "int64"], "bfloat16"),
        (["bool", "bfloat16"], "bfloat16"),
        (["bfloat16", "complex64"], "complex64"),
    ],
)
def test_dtypes_promote_as_documented(names: list[str], expected: str) -> None:
    for order in itertools.permutations(names):
        assert result_type(order) == expected


def test_casts_within_a_kind_are_those_of_numpys_rule() -> None:
    for operand, result in itertools.product(NUMPY_DTYPES, NUMPY_DTYPES):
        assert is_same_kind_cast(operand, result) == np.can_cast(operand, result, "same_kind"), (operand, result)


def test_bfloat16_is_a_float_like_the_others() -> None:
    for name in DTYPES:
        assert is_same_kind_cast("bfloat16", name) == is_same_kind_cast("float16", name)
        assert is_same_kind_cast(name, "bfloat16") == is_same_kind_cast(name, "float16")
