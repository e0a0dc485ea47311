"""Both formulations, on every framework, against attention in Python loops: does every field have its effect?

Tolerances are loose guesses on purpose: accuracy is tested by the suite, not by these tests.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backends.discovery import registry
from specs.arithmetic.formats import DTYPES
from specs.case.attention import AttentionConfig
from specs.case.case import Case
from specs.inputs.inputs import operands as operands_of
from tests.support.attention_in_loops import by_loops
from tests.support.attention_on_backends import list_offered, run
from tests.support.checks import check_of, framework


@pytest.mark.parametrize(("name", "implementation", "config"), list_offered(by_hand=True))
def test_eager(name: str, implementation: str, config: str) -> None:
    c, operands, result = run(framework(name), config, implementation, "eager")
    np.testing.assert_allclose(result, by_loops(c, operands), rtol=1e-12, atol=1e-12, strict=True)


@pytest.mark.parametrize(
    ("name", "implementation", "config"),
    list_offered(by_hand=True, configs=["columns", "everything", "nothing_added_zeros", "seed_003"], mode="jit"),
)
def test_compiled(name: str, implementation: str, config: str) -> None:
    c, operands, result = run(framework(name), config, implementation, "jit")
    np.testing.assert_allclose(result, by_loops(c, operands), rtol=1e-12, atol=1e-12, strict=True)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize(
    ("name", "implementation", "config"),
    list_offered(by_hand=True, configs=["everything", "nothing_mask_mean", "relative_columns", "scale_at_weights"]),
)
def test_numbers_do_not_widen_the_dtype(name: str, implementation: str, config: str, dtype: str) -> None:
    c, operands, result = run(framework(name), config, implementation, "eager", dtype)
    wide = {key: value if value.dtype == bool else value.astype(np.float64) for key, value in operands.items()}
    assert result.dtype == DTYPES[dtype].numpy
    np.testing.assert_allclose(result.astype(np.float64), by_loops(c, wide), rtol=0.1, atol=0.3)


def test_heads_that_do_not_divide_are_refused() -> None:
    config = AttentionConfig(q_len=2, num_heads=1, num_kv_heads=2, head_dim=3)
    for name in registry.names():
        backend = framework(name)
        for implementation in ("einsum", "matmul"):
            case = Case("tests/by_hand::heads", "heads", Path(__file__), 1, config)
            with pytest.raises(ValueError, match="cannot share"):
                backend.run(check_of(case, implementation, dtype="float64"), operands_of(case, "float64"))
