"""Which dtype several make, and which a result can be asked for."""

import itertools

import numpy as np
import pytest

from specs.arithmetic.formats import DTYPES
from specs.arithmetic.promotion import keeps_kind, promoted

ORDINARY = [name for name in DTYPES if name != "bfloat16"]


@pytest.mark.parametrize(
    ("names", "result"),
    [
        (["float32"], "float32"),
        (["float32", "float64"], "float64"),
        (["float16", "float16", "float32"], "float32"),
        (["complex64", "float64"], "complex128"),
        (["int8", "uint8"], "int16"),
        (["int8", "uint32"], "int64"),
        (["bool", "int8"], "int8"),
        # What the array API standard leaves open, as NumPy has it
        (["int64", "uint64"], "float64"),
        (["int8", "float16"], "float16"),
        (["int32", "float32"], "float64"),
        (["int32", "complex64"], "complex128"),
        # What NumPy has not, as JAX has it
        (["bfloat16", "bfloat16"], "bfloat16"),
        (["bfloat16", "float16"], "float32"),
        (["bfloat16", "float32"], "float32"),
        (["bfloat16", "int64"], "bfloat16"),
        (["bool", "bfloat16"], "bfloat16"),
        (["bfloat16", "complex64"], "complex64"),
    ],
)
def test_dtypes_make_the_one_that_is_documented(names: list[str], result: str) -> None:
    for order in itertools.permutations(names):
        assert promoted(order) == result


def test_a_kind_is_kept_as_in_numpys_casting_rule() -> None:
    for operand, result in itertools.product(ORDINARY, ORDINARY):
        assert keeps_kind(operand, result) == np.can_cast(operand, result, "same_kind"), (operand, result)


def test_bfloat16_is_a_float_like_the_others() -> None:
    for name in DTYPES:
        assert keeps_kind("bfloat16", name) == keeps_kind("float16", name)
        assert keeps_kind(name, "bfloat16") == keeps_kind(name, "float16")
