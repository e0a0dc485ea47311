"""Probe designs are exact where nothing is rounded, and refused for computations they do not fit."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from specs.arithmetic.formats import DTYPES, Array, round_to
from specs.case.attention import AttentionConfig
from specs.case.case import Case, Config
from specs.case.einsum import EinsumConfig
from specs.case.error import CaseError
from specs.inputs import inputs
from tests.support.probes import CASES, FACTORS, SUBNORMALS


@pytest.mark.parametrize("name", [*FACTORS[:2], *SUBNORMALS[:2]])
def test_the_products_of_a_design_are_exact(name: str) -> None:
    """In each dtype every operand and every product is representable."""
    for dtype in CASES[f"einsum::{name}"].config.dtypes:
        a, b = (x.astype(np.float64) for x in inputs.operands(CASES[f"einsum::{name}"], dtype).values())
        config = CASES[f"einsum::{name}"].config
        assert isinstance(config, EinsumConfig)
        product = np.einsum(config.equation, a, b)
        storage = DTYPES[dtype].format
        assert storage is not None
        assert np.all(product != 0)
        assert np.array_equal(round_to(product, storage), product)


def test_an_einsum_that_a_probe_does_not_fit_is_refused() -> None:
    case = CASES["einsum::sums"]

    def make_operands(fields: dict[str, Any]) -> Mapping[str, Array]:
        config: Config = EinsumConfig.model_validate({"gradient": False, "probe": "accumulate"} | fields)
        return inputs.operands(Case(case.id, case.name, case.file, 1, config), "float32")

    for fields in (
        {"equation": "ij->i", "sizes": {"i": 9, "j": 67}},
        {"equation": "ij->i", "sizes": {"i": 960, "j": 2}},
        {"equation": "ij,jk,k->i", "sizes": {"i": 960, "j": 5, "k": 5}},
        {"equation": "ii->i", "sizes": {"i": 5}},
        {"equation": "ij,i->i", "sizes": {"i": 960, "j": 5}},
        {"equation": "ij->i", "sizes": {"i": 960, "j": 1}, "probe": "rounding"},
        {"equation": "ij->i", "sizes": {"i": 960, "j": 64}, "probe": "multiply"},
        {"equation": "ij,jk->ik", "sizes": {"i": 20, "j": 64, "k": 37}, "probe": "multiply"},
    ):
        with pytest.raises(CaseError):
            make_operands(fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"probe": "accumulate", "kv_len": 17},
        {"probe": "accumulate", "batch": 1},
        {"probe": "multiply", "num_heads": 1},
        {"probe": "multiply", "head_dim": 3, "value_dim": 64},
        {"probe": "multiply", "layout": "bhsd"},
        {"probe": "multiply", "mask": {"type": "bool", "shape": "qk"}},
    ],
    ids=str,
)
def test_an_attention_that_a_probe_does_not_fit_is_refused(fields: dict[str, Any]) -> None:
    unfit = {"batch": 16, "q_len": 3, "kv_len": 16, "num_heads": 4, "head_dim": 16, "gradient": False} | fields
    fitting = unfit | {"kv_len": 16, "num_heads": 4, "batch": 16, "head_dim": 16, "layout": "bshd", "mask": None}
    case = CASES["attention::sums"]

    def make_operands(fields: dict[str, Any]) -> Mapping[str, Array]:
        return inputs.operands(
            Case(case.id, case.name, case.file, 1, AttentionConfig.model_validate(fields)), "float32"
        )

    assert set(make_operands(fitting)) == {"query", "key", "value"}
    with pytest.raises(CaseError):
        make_operands(unfit)
