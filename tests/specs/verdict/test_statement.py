"""A statement says everything of a case, in JSON's types."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from specs.case.loading import discover, load
from specs.verdict.statement import make_statement, read_config
from tests.support import ROOT


@pytest.mark.parametrize("file", discover([], ROOT), ids=lambda file: str(file.relative_to(ROOT)))
def test_the_config_of_a_statement_is_that_of_the_case(file: Path) -> None:
    """But for characters that command a terminal, which only invalid equations have."""
    for case in (case for case in load(file, ROOT) if case.config.expected_error is None):
        config = read_config(json.loads(json.dumps(make_statement(case), allow_nan=False)))
        assert repr(config) == repr(case.config)  # which has every number, and in which NaN is equal to NaN


def test_fields_that_no_case_can_have_are_refused() -> None:
    with pytest.raises(ValidationError, match="head_dim"):
        read_config({"kind": "attention", "config": {"q_len": 3, "head_dim": "wide"}})
