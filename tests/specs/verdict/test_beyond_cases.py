"""Deviations recorded for named cases are recognised in other cases by their `when`, and may be absent there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from specs.case.attention import AttentionConfig
from specs.case.case import Case
from specs.case.einsum import EinsumConfig
from specs.verdict.check import Check
from specs.verdict.deviation import Deviation, DeviationEntry, find_possible_entries
from specs.verdict.verdict import judge
from tests.support.fake_backend import Fake

SUM = Check(
    Case("fuzz::x", "x", Path("x.yaml"), 4, EinsumConfig(equation="ij->i", shapes=[[2, 3]])),
    "b", "cpu", "einsum", "eager", "float16",
)  # fmt: skip
ATTENTION = replace(SUM, case=Case("fuzz::y", "y", Path("y.yaml"), 4, AttentionConfig(q_len=2, head_dim=2)))


def entry(observed: dict[str, Any], when: list[str] | None, **match: str) -> DeviationEntry:
    fields = {
        "match": {"case": "named", **match},
        "observed": observed,
        "grade": "bug",
        "reason": "It is known: wrong.",
    }
    return DeviationEntry(Deviation.model_validate({**fields, "when": when}), Path("b.yaml"), 1)


def test_an_entry_without_when_is_for_its_cases_alone() -> None:
    assert find_possible_entries([entry({"error": True}, None)], SUM) == []


@pytest.mark.parametrize(
    ("when", "match", "expected"),
    [
        ([], {}, True),
        (["summed_alone"], {}, True),
        (["summed_alone"], {"dtype": "float16"}, True),
        (["summed_alone"], {"dtype": "float32"}, False),
        (["summed_alone", "nothing_summed"], {}, False),
    ],
)
def test_an_entry_matches_by_all_its_fields_but_the_case(
    when: list[str], match: dict[str, str], expected: bool
) -> None:
    assert bool(find_possible_entries([entry({"error": True}, when, **match)], SUM)) == expected


def test_an_entry_for_other_cases_is_not_stale_where_the_result_is_right() -> None:
    recorded = entry({"fully_masked": "mean"}, [])
    (possible,) = find_possible_entries([recorded], ATTENTION)
    assert (recorded.must_show, possible.must_show) == (True, False)
    assert possible.place == recorded.place


def test_only_observations_that_can_occur_together_are_combined() -> None:
    entries = [
        entry({"fully_masked": "mean"}, []),
        entry({"precision": {"softmax": "float16"}}, []),
        entry({"precision": {"accumulate": "float16"}}, []),
        entry({"error": True}, []),
    ]
    observed = [str(possible.deviation.observed) for possible in find_possible_entries(entries, ATTENTION)]
    assert len(observed) == 4 + 3 + 1
    assert all(text in observed[-1] for text in ("fully_masked: mean", "softmax float16", "accumulate float16"))


def test_an_observation_of_attention_does_not_apply_to_einsum() -> None:
    assert (
        find_possible_entries([entry({"fully_masked": "mean"}, []), entry({"scale_rounded_to": "float32"}, [])], SUM)
        == []
    )


def test_an_unknown_property_is_refused() -> None:
    with pytest.raises(ValidationError, match="summed_alone"):
        entry({"error": True}, ["summed_alon"])


@pytest.mark.parametrize(
    ("pattern", "possible"),
    [("mine::*", 0), ("mine::x", 0), ("others::*", 1), ("*", 1), ("mine*", 1), ("mine/*", 1)],
)
def test_when_counts_only_where_no_entry_names_the_case(pattern: str, possible: int) -> None:
    check = replace(SUM, case=replace(SUM.case, id="mine::x"))
    entries = [entry({"error": True}, []), entry({"value": "nan"}, None, case=pattern, mode="jit")]
    assert len(find_possible_entries(entries, check)) == possible


@pytest.mark.parametrize(
    ("equation", "message", "verdict"),
    [("ij->i", "no kernel", "deviation"), ("ij->i", "no memory", "fail"), ("ij->ij", "no kernel", "fail")],
)
def test_when_excuses_only_the_recorded_outcome_of_a_users_own_case(equation: str, message: str, verdict: str) -> None:
    config = EinsumConfig(equation=equation, shapes=[[2, 3]], dtypes=["float16"])
    check = replace(SUM, case=Case("mine::x", "x", Path("x.yaml"), 4, config))
    entries = [entry({"error": "no kernel"}, ["summed_alone"])]
    assert judge(check, Fake(RuntimeError(message)), "x", "x.yaml", entries).verdict == verdict


def test_a_right_result_of_a_users_own_case_passes() -> None:
    check = replace(SUM, case=replace(SUM.case, id="mine::x"))
    backend = Fake(lambda operand: operand.astype(np.float64).sum(axis=1).astype(np.float16))
    assert judge(check, backend, "x", "x.yaml", [entry({"error": True}, [])]).verdict == "pass"
