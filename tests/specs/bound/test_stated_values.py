"""`expect.value` is compared with the formula, for every kind of dtype."""

from pathlib import Path
from typing import Any

import pytest

from specs.arithmetic.formats import DTYPES
from specs.arithmetic.precision import declared_precision
from specs.case.case import Case
from specs.case.einsum import EinsumConfig
from specs.case.error import CaseError
from specs.inputs import inputs
from specs.verdict.direction import DIRECTIONS

INF, NAN = float("inf"), float("nan")

# dtype, operands of `i,i->i`, the right value, a wrong one
STATED = [
    ("bool", [[True, True], [True, False]], [True, False], [True, True]),
    ("uint64", [[2**64 - 1, 3], [1, 1]], [2**64 - 1, 3], [2**64 - 2, 3]),
    ("int64", [[-(2**63), 2**62], [1, 2]], [-(2**63), -(2**63)], [-(2**63), 2**63 - 1]),
    ("int8", [[100, 1], [2, 1]], [-56, 1], [200, 1]),
    ("float32", [[0.1, 2], [1, 3]], [0.1, 6], [0.1, 6.1]),
    ("float32", [[INF, INF], [0, 1]], [NAN, INF], [NAN, 1]),
    ("float64", [[INF, 1], [0, 1]], [NAN, 1], [INF, 1]),
    ("bfloat16", [[1, 2], [1, 2]], [1, 4], [NAN, 4]),
    ("complex64", [[1, 2], [1, 2]], [1, 4], None),
    ("complex64", [[0.1 + 2j, 1j], [1j, 1j]], [-2 + 0.1j, -1], [-2 - 0.1j, -1]),
    ("complex128", [[1j, 2], [1, complex(0, INF)]], [1j, complex(NAN, INF)], [-1j, complex(NAN, INF)]),
]


def check_stated(dtype: str, operands: list[Any], value: Any) -> None:
    config = EinsumConfig.model_validate(
        {"equation": "i,i->i", "operands": operands, "expect": {"value": value}, "dtypes": [dtype]}
    )
    case = Case("test::stated", "stated", Path("x.yaml"), 1, config)
    target = DTYPES[dtype]
    precision = declared_precision(target) if target.inexact else None
    DIRECTIONS["forward"].reference(case, dtype, inputs.operands(case, dtype), precision)


@pytest.mark.parametrize(("dtype", "operands", "right", "wrong"), STATED)
def test_a_stated_value_must_be_what_the_formula_gives(dtype: str, operands: Any, right: Any, wrong: Any) -> None:
    check_stated(dtype, operands, right)
    if wrong is not None:
        with pytest.raises(CaseError, match="but the formula gives"):
            check_stated(dtype, operands, wrong)
