"""What is recorded of named cases is recognised in others by its `when`, and may be absent there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from specs.case.attention import AttentionConfig
from specs.case.case import Case
from specs.case.einsum import EinsumConfig
from specs.verdict.check import Check
from specs.verdict.deviation import Deviation, Recorded, beyond_cases

SUM = Check(
    Case("fuzz::x", "x", Path("x.yaml"), 4, EinsumConfig(equation="ij->i", shapes=[[2, 3]])),
    "b", "cpu", "einsum", "eager", "float16",
)  # fmt: skip
ATTENTION = replace(SUM, case=Case("fuzz::y", "y", Path("y.yaml"), 4, AttentionConfig(q_len=2, head_dim=2)))


def entry(observed: dict[str, Any], when: list[str] | None, **match: str) -> Recorded:
    said = {"match": {"case": "named", **match}, "observed": observed, "grade": "bug", "reason": "It is known: wrong."}
    return Recorded(Deviation.model_validate({**said, "when": when}), Path("b.yaml"), 1)


def test_an_entry_without_when_is_for_its_cases_alone() -> None:
    assert beyond_cases([entry({"error": True}, None)], SUM) == []


@pytest.mark.parametrize(
    ("when", "match", "seen"),
    [
        ([], {}, True),
        (["summed_alone"], {}, True),
        (["summed_alone"], {"dtype": "float16"}, True),
        (["summed_alone"], {"dtype": "float32"}, False),
        (["summed_alone", "nothing_summed"], {}, False),
    ],
)
def test_all_that_an_entry_says_must_hold_but_the_case(when: list[str], match: dict[str, str], seen: bool) -> None:
    assert bool(beyond_cases([entry({"error": True}, when, **match)], SUM)) == seen


def test_a_right_result_says_nothing_against_an_entry_that_was_not_made_for_the_case() -> None:
    made = entry({"fully_masked": "mean"}, [])
    (found,) = beyond_cases([made], ATTENTION)
    assert (made.must_show, found.must_show) == (True, False)
    assert found.deviation.applies(ATTENTION)
    assert found.place == made.place


def test_readings_are_tried_together_and_what_stands_alone_is_not() -> None:
    entries = [
        entry({"fully_masked": "mean"}, []),
        entry({"precision": {"softmax": "float16"}}, []),
        entry({"precision": {"accumulate": "float16"}}, []),
        entry({"error": True}, []),
    ]
    observed = [str(found.deviation.observed) for found in beyond_cases(entries, ATTENTION)]
    assert len(observed) == 4 + 3 + 1
    assert all(said in observed[-1] for said in ("fully_masked: mean", "softmax float16", "accumulate float16"))


def test_another_statement_of_attention_is_none_of_an_einsum() -> None:
    assert beyond_cases([entry({"fully_masked": "mean"}, []), entry({"scale_rounded_to": "float32"}, [])], SUM) == []


def test_a_property_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValidationError, match="summed_alone"):
        entry({"error": True}, ["summed_alon"])
