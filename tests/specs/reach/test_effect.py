"""A case has a feature in the table of reach only where the result would be another without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from specs.arithmetic.formats import Array
from specs.case.case import Case
from specs.case.common import COTANGENT
from specs.case.loading import discover, load
from specs.case.memory import effective_layouts
from specs.inputs import inputs
from specs.reach.fields import FEATURES
from specs.reach.reach import features_of, view_of
from specs.verdict.direction import DIRECTIONS
from tests.specs.reach.removal import REMOVABLE, largest_difference
from tests.support import ROOT

FILES = [file.relative_to(ROOT / "cases") for file in discover([], ROOT)]
# What no computation of the result tells apart: sizes, the form in which operands are given, and names
FORMS = {
    "beyond the first block", "513 keys or more", "value_dim", "cache", "self_attention", "unseen keys",
    "grouped heads", "one key/value head", "one query", "fewer queries than keys", "more queries than keys",
    "layout bhsd", "layout sbhd", "layout bsd", "layout ds", "linear projections", "projections by head",
    "one projection for all heads", "projection of another width",
}  # fmt: skip


def valid_cases(file: Path) -> list[Case]:
    cases = load(ROOT / "cases" / file, ROOT)
    return [case for case in cases if case.config.expected_error is None and case.config.probe is None]


@pytest.mark.parametrize("file", [file for file in FILES if file.parts[0] == "attention"], ids=str)
def test_without_a_feature_the_result_is_outside_the_bound(file: Path) -> None:
    idle = [
        (case.name, dtype, feature)
        for case in valid_cases(file)
        for dtype in one_of_each_view(case)
        for feature in sorted(features_of(case.config) & REMOVABLE)
        if largest_difference(case, dtype, feature) <= 1
    ]
    assert idle == []


def one_of_each_view(case: Case) -> list[str]:
    """The first dtype of float32 and of 16 bits."""
    views = {view_of(dtype, "forward"): dtype for dtype in reversed(case.config.dtypes)}
    return [views[view] for view in ("float32 forward", "16 bits forward") if view in views]


def test_every_other_feature_is_a_form_or_a_layout() -> None:
    others = {feature.name for feature in FEATURES["attention"]} - REMOVABLE
    assert {name for name in others if not name.startswith("memory ")} == FORMS


def test_layouts_that_count_are_those_of_the_operands() -> None:
    cases = [case for file in FILES for case in valid_cases(file) if case.config.memory != "contiguous"]
    for case in cases:
        dtype = case.config.dtypes[0]
        arrays = dict(inputs.operands(case, dtype))
        if DIRECTIONS["grad"].exists(case, dtype):
            arrays[COTANGENT] = inputs.cotangent(case, dtype)
        expected = effective_layouts(case.config)
        assert {name for name in arrays if is_laid_out(arrays, name)} == expected.keys(), case.id


def is_laid_out(arrays: dict[str, Array], name: str) -> bool:
    """Whether an operand is not an array of its own, contiguous and aligned."""
    array, before = arrays[name], list(arrays.values())[: list(arrays).index(name)]
    misaligned = bool(array.ndim and array.size) and array.__array_interface__["data"][0] % 16 != 0
    return not array.flags.c_contiguous or misaligned or any(array is other for other in before)
