"""A case of a matrix product and one of a small attention, with any fields changed."""

from pathlib import Path
from typing import Any

from specs.case.attention import AttentionConfig
from specs.case.case import Case
from specs.case.einsum import EinsumConfig

PRODUCT: dict[str, Any] = {"equation": "ij,jk->ik", "shapes": [[100, 200], [200, 100]]}
ATTENTION: dict[str, Any] = {"batch": 2, "q_len": 6, "kv_len": 10, "num_heads": 2, "head_dim": 4}


def einsum_case(id: str = "einsum/test::case", **fields: Any) -> Case:
    return Case(id=id, name="case", file=Path("x.yaml"), line=1, config=EinsumConfig.model_validate(PRODUCT | fields))


def attention_case(id: str = "attention/test::case", name: str = "case", **fields: Any) -> Case:
    config = AttentionConfig.model_validate(ATTENTION | fields)
    return Case(id=id, name=name, file=Path("x.yaml"), line=1, config=config)
