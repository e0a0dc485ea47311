"""The tiers' table: a fault behind one implementation and mode of a framework is caught by standard."""

from __future__ import annotations

from dataclasses import replace

import pytest

from specs.verdict.deviation import Match
from tests.faulty import __main__ as command
from tests.faulty.faults import FAULTS
from tests.faulty.planting import Planting, make_planting
from tests.faulty.plantings import PLANTINGS
from tests.faulty.tier_detection import affected_checks, detect
from tests.support.checks import framework

FAULT = {fault.name: fault for fault in FAULTS}
FEW = [
    ("bfloat16_behind_float32", "jax einsum eager float32 forward"),
    ("softmax_over_queries", "jax matmul jit bfloat16 grad"),
    ("causal_hides_own_key", "tensorflow einsum jit * forward"),
    ("gradient_of_mask_missing", "tensorflow matmul eager * grad"),
    ("window_one_too_wide", "torch flex eager * forward"),
    ("softmax_over_queries", "torch matmul jit * grad"),
    ("scale_missing", "torch matmul-tensor-scale jit * forward"),
    ("softmax_over_queries", "torch matmul export * grad"),
    ("term_dropped_from_sum", "tensorflow einsum dynamic * grad"),
    ("scale_missing", "jax dot-product-attention constant * forward"),
    ("scale_missing", "numpy * * * *"),
]


@pytest.mark.parametrize(("name", "place"), FEW)
def test_standard_catches_a_planted_fault(name: str, place: str) -> None:
    planting = make_planting(FAULT[name], place)
    framework(planting.backend)
    found = detect(planting, "standard")
    assert found.caught_by
    assert not found.missed
    assert set(found.caught_by) <= set(affected_checks(planting, planting.right, "standard"))


def test_a_fault_affects_the_checks_of_its_place_alone() -> None:
    planting = make_planting(FAULT["scale_missing"], "jax matmul jit * grad")
    affected = affected_checks(planting, framework("jax"), "standard")
    assert {(check.implementation, check.mode, check.direction) for check in affected} == {("matmul", "jit", "grad")}


def test_faults_of_every_kind_are_planted_behind_every_framework() -> None:
    assert len({planting.fault.name for planting in PLANTINGS}) >= 30
    assert {planting.backend for planting in PLANTINGS} == {"torch", "jax", "tensorflow"}
    for backend in ("jax", "tensorflow"):
        modes = {planting.place.mode for planting in PLANTINGS if planting.backend == backend}
        assert modes > {"eager", "jit"}
    assert {planting.place.direction for planting in PLANTINGS} == {"forward", "grad"}


def test_what_computes_on_numpy_arrays_is_planted_nowhere_else() -> None:
    planting = make_planting(FAULT["nan_replaced_by_zero"], "jax einsum eager * forward")
    with pytest.raises(LookupError, match="cannot be planted behind jax"):
        _ = planting.wrong


def test_the_command_fails_where_a_tier_misses_what_full_catches(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Smoke has no mask in float64."""
    fault = FAULT["mask_inverted"]
    planting = Planting(fault, "numpy", Match(case="attention/masks::*", dtype="float64"))
    monkeypatch.setattr(command, "make_planting", lambda *_: planting)
    monkeypatch.setattr(command, "PLANTINGS", [])
    assert command.main(["--tier", "smoke", fault.name]) == 1
    assert "MISSED" in capsys.readouterr().out
    assert command.main(["--all", fault.name]) == 0
    assert "caught" in capsys.readouterr().out


def test_a_fault_that_changes_nothing_is_not_missed() -> None:
    harmless = replace(FAULT["scale_missing"], backend=type(framework("numpy")), step=None)
    planting = Planting(harmless, "numpy", Match(case="attention/scale::default"))
    assert not detect(planting, "smoke").missed
