"""The page of a run shows which features of its cases met in checks that were computed."""

from __future__ import annotations

import math

from reports.reach import collect_reach
from specs.case.attention import AttentionConfig
from specs.case.case import Config
from specs.case.einsum import EinsumConfig
from specs.verdict.statement import make_statement
from tests.support.checks import case_of


def reach_of(config: Config, *records: tuple[str, str, str]) -> dict[str, dict[tuple[str, str], object]]:
    """By kind, what the table says of two features; a record is given by its verdict, dtype and direction."""
    statement = make_statement(case_of(config))
    tables = collect_reach(
        [{"case": statement["case"], "verdict": v, "dtype": d, "direction": r} for v, d, r in records], [statement]
    )
    return {
        kind: {
            (feature, other): cell
            for (feature, other), cell in zip(
                [(a, b) for i, a in enumerate(table["features"]) for b in table["features"][: i + 1]],
                table["cells"],
                strict=True,
            )
        }
        for kind, table in tables.items()
    }


def test_only_computed_checks_count() -> None:
    config = AttentionConfig(q_len=5, kv_len=9, head_dim=4, sink=True, softcap=1.0)
    records = [("pass", "float32", "forward"), ("unsupported", "bfloat16", "forward"), ("deviation", "float16", "grad")]
    table = reach_of(config, *records)["attention"]
    assert table["sink", "softcap"] == [9, None, None, 9]
    assert table["cache", "sink"] == [None] * 4
    assert table["layout ds", "heads"] == "tokens as columns have neither batch nor heads"


def test_literal_numbers_that_json_has_as_text_are_no_obstacle() -> None:
    config = EinsumConfig(equation="ij,jk->ik", operands=[[[1j, 2]], [[math.nan], [1]]], dtypes=["complex64"])
    assert reach_of(config, ("pass", "complex64", "forward"))["einsum"]["axis of size one", "two operands"] is not None
    mask = AttentionConfig(q_len=5, head_dim=4, mask={"type": "additive", "fill": -math.inf})
    table = reach_of(mask, ("pass", "float32", "forward"))["attention"]
    assert table["additive mask that hides", "additive mask that hides"] == [5, None, None, None]
