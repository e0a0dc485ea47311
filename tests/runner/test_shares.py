"""A share of a costly mode shows what it must, stays within its budget, and depends on the set of cases alone."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from backends.discovery import registry
from runner.selection import select
from runner.shares import choose
from specs.case.case import Case
from specs.verdict.check import Check
from specs.verdict.deviation import Deviation, DeviationEntry
from specs.verdict.place import Place, Share, iter_checks
from tests.support.sample_cases import attention_case

BUDGET = 100.0
SHARE = Share({"standard": BUDGET, "full": 10 * BUDGET}, {"standard": 5.0, "full": 50.0}, lambda check: 1.0)
PLACE = Place(
    backend="fake",
    device="cpu",
    implementations={"attention": ("matmul", "fused")},
    modes=("eager",),
    directions=("forward", "grad"),
    shares={"jit": SHARE},
)
CASES = [
    *(attention_case(f"attention/file::case_{index}", name=f"case_{index}") for index in range(38)),
    attention_case("attention/file::capped", name="capped", softcap=2.0),
    attention_case("attention/file::no_keys", name="no_keys", kv_len=0),
]


def supported(check: Check) -> bool:
    return check.implementation == "matmul" or "softcap" not in check.case.name


def shared(cases: list[Case], place: Place = PLACE, tier: str = "standard") -> list[Check]:
    return list(choose(tier, cases, place, supported, ()))


def possible(cases: list[Case]) -> list[Check]:
    return [check for case in cases for check in iter_checks(case, [replace(PLACE, modes=("jit",))])]


def test_every_implementation_is_shown_in_every_dtype_and_direction_and_each_feature_once() -> None:
    chosen = shared(CASES)

    def axes(checks: list[Check]) -> set[tuple[str, str, str]]:
        return {(check.implementation, check.dtype, check.direction) for check in checks}

    assert axes(chosen) == axes(possible(CASES))
    assert {"capped", "no_keys"} <= {check.case.name for check in chosen}
    assert {check.implementation for check in chosen if check.case.name == "no_keys"} == {"matmul", "fused"}
    assert {check.mode for check in chosen} == {"jit"}
    assert len(chosen) < 0.1 * len(possible(CASES))


def test_the_order_of_cases_changes_nothing() -> None:
    chosen = set(shared(CASES))
    for seed in range(5):
        assert set(shared(random.Random(seed).sample(CASES, len(CASES)))) == chosen


@pytest.mark.parametrize("seconds", [3.0, 30.0])
def test_a_share_stays_within_its_budget(seconds: float) -> None:
    dear = replace(PLACE, shares={"jit": replace(SHARE, seconds=lambda check: seconds)})
    assert len(shared(CASES, dear)) * seconds <= BUDGET


def test_a_session_of_few_cases_spends_little() -> None:
    assert len(shared(CASES[:1])) == 5
    assert len(shared(CASES[:1])) < len(possible(CASES[:1]))


def entry(**match: str | list[str]) -> DeviationEntry:
    """Something that is recorded for one case."""
    facts = {
        "match": {"case": "*case_3", **match},
        "observed": {"value": "nan"},
        "grade": "bug",
        "reason": "It returns NaN there.",
    }
    return DeviationEntry(Deviation.model_validate(facts), Path("fake.yaml"), 1)


def test_what_is_recorded_for_the_mode_alone_runs_whatever_the_budget_is() -> None:
    nothing = replace(PLACE, shares={"jit": replace(SHARE, budgets={"standard": 0.0})})
    chosen = list(choose("standard", CASES, nothing, supported, [entry(mode="jit")]))
    assert {check.implementation for check in chosen} == {"matmul", "fused"}
    assert {check.case.name for check in chosen} == {"case_3"}
    assert not list(choose("standard", CASES, nothing, supported, [entry()]))


def test_what_is_recorded_for_two_modes_is_shown_in_the_first() -> None:
    nothing = replace(SHARE, budgets={"standard": 0.0})
    place = replace(PLACE, shares={"jit": nothing, "dynamic": nothing})
    both, second = entry(mode=["jit", "dynamic"]), entry(mode="dynamic")
    for entries, modes in (([both], {"jit"}), ([second], {"dynamic"}), ([both, second], {"jit", "dynamic"})):
        assert {check.mode for check in choose("standard", CASES, place, supported, entries)} == modes


def test_full_has_all_of_the_other_modes_and_a_share_of_this_one() -> None:
    selection = select("full", {"file.yaml": CASES}, [PLACE], supported, lambda backend: ())
    chosen = [check for case in CASES for check in selection.of(case, "file.yaml", [PLACE])]
    assert [check for check in chosen if check.mode == "eager"] == [
        check for case in CASES for check in iter_checks(case, [PLACE])
    ]
    shown = {check for check in chosen if check.mode == "jit"}
    assert set(shared(CASES)) != shown
    assert 0 < len(shown) < len(possible(CASES))


def test_smoke_has_none() -> None:
    assert not shared(CASES, tier="smoke")


@pytest.mark.parametrize("name", ["torch", "tensorflow", "jax"])
def test_a_mode_that_runs_as_a_share_runs_by_default_in_no_other_way(name: str) -> None:
    backend = registry.load_class(name)
    assert backend.shares
    assert set(backend.shares) <= set(backend.modes) - set(backend.default_modes)
