"""The frameworks' own operations against attention in loops: do they get the right arguments?"""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.attention_in_loops import by_loops
from tests.support.attention_on_backends import case_of, list_offered, run
from tests.support.checks import framework


@pytest.mark.parametrize(("name", "implementation", "config"), list_offered(by_hand=False))
def test_fused(name: str, implementation: str, config: str) -> None:
    """Results for a query without keys, and with masked values that are not finite, are up to the framework."""
    if (name, implementation) == ("tensorflow", "keras") and config.startswith("multi_query"):
        pytest.xfail("keras 3.15 documents K = 1 but leaves the single head to tf.einsum, which does not broadcast it")
    if implementation == "flex" and case_of(config).config.kv_len == 0:
        pytest.xfail("flex_attention of torch 2.13 takes the largest score of each row, and refuses rows of no length")
    c, operands, result = run(framework(name), config, implementation, "eager")
    expected = by_loops(c.model_copy(update={"fully_masked": "nan", "masked_values": "spread"}), operands)
    np.testing.assert_allclose(
        np.where(np.isnan(expected), expected, result), expected, rtol=1e-5, atol=1e-5, strict=True
    )
