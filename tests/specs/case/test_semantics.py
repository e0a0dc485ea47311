"""A case that contradicts itself is refused with a reason."""

from __future__ import annotations

from typing import Any

import pytest

from specs.case.attention import AttentionConfig
from specs.case.case import Config
from specs.case.einsum import EinsumConfig
from specs.case.semantics import find_contradiction
from tests.support.checks import case_of

PRODUCT: dict[str, Any] = {"equation": "ij,jk->ik", "shapes": [[3, 3], [3, 3]]}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (EinsumConfig(**PRODUCT, memory={"operand_1": "strided"}), None),
        (EinsumConfig(**PRODUCT, memory="shared", gradient=False), None),
        (AttentionConfig(q_len=3, head_dim=4, memory={"cotangent": "broadcast"}), None),
        (
            EinsumConfig(**PRODUCT, memory={"key": "strided"}),
            "memory names 'key', but the operands are operand_0 and operand_1",
        ),
        (
            EinsumConfig(equation="i,i", operands=[[1, 2], [3, 4]], memory="broadcast"),
            "memory broadcast replaces values, but the case states them literally",
        ),
        (
            AttentionConfig(q_len=3, head_dim=4, batch=2, kv_lengths=[1, 2], memory={"kv_lengths": "broadcast"}),
            "memory broadcast replaces values, but those of kv_lengths follow from the case",
        ),
    ],
)
def test_memory_of_operands(config: Config, message: str | None) -> None:
    assert find_contradiction(case_of(config)) == message


def test_a_shared_tensor_has_no_gradient() -> None:
    with pytest.raises(ValueError, match="memory shared needs gradient: false"):
        EinsumConfig(**PRODUCT, memory="shared")
