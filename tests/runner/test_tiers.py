"""Standard leaves out no value of a case, no pair of values of a file, and nothing that must run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from runner.covering import Item, kinds, pairs, values
from runner.tiers import SMOKE_CASES, by_case, smoke, standard
from specs.case.case import Case
from specs.verdict.check import Check
from specs.verdict.deviation import Deviation, DeviationEntry
from specs.verdict.place import Place, iter_checks
from tests.support.sample_cases import attention_case, einsum_case

PLACE = Place(
    backend="fake",
    device="cpu",
    implementations={"einsum": ("einsum", "other"), "attention": ("einsum", "matmul", "fused")},
    modes=("eager", "jit"),
    directions=("forward", "grad"),
    usual=lambda check: check.mode == "jit",
    cost=lambda check: 800.0 if (check.mode, check.direction) == ("eager", "grad") else 100.0,
    handwritten=lambda check: check.case.kind == "attention" and check.implementation != "fused",
)
FILE = [attention_case(f"attention/file::case_{index}", name=f"case_{index}") for index in range(12)]


def supported(check: Check) -> bool:
    """No gradient of the fused operation, and none in float16."""
    return check.direction == "forward" or (check.implementation != "fused" and check.dtype != "float16")


def select(cases: Sequence[Case], place: Place = PLACE, deviations: Sequence[DeviationEntry] = ()) -> list[Check]:
    return list(standard([cases], place, supported, deviations))


def candidates(cases: Sequence[Case]) -> Iterator[Check]:
    return (check for case in cases for check in iter_checks(case, [PLACE]) if supported(check))


def test_standard_is_a_part_without_repetition() -> None:
    chosen = select(FILE)
    assert len(chosen) == len(set(chosen)) < 0.5 * len(list(candidates(FILE)))


def test_an_own_operation_runs_forward_in_every_dtype_in_the_usual_mode() -> None:
    own = [check for check in candidates(FILE) if (check.implementation, check.mode, check.direction) == OWN]
    assert own
    assert set(own) <= set(select(FILE))


OWN = ("fused", "jit", "forward")


def shown(check: Check) -> frozenset[Item]:
    return values(check, PLACE.handwritten(check))


def test_every_case_has_each_own_implementation_mode_and_direction() -> None:
    for case in FILE:
        chosen = [check for check in select(FILE) if check.case is case and supported(check)]
        needed = by_case(list(candidates([case])), PLACE)
        assert {check.implementation for check in needed} == {"fused"}
        assert set().union(*map(shown, chosen)) >= set().union(*map(shown, needed))


def test_what_is_written_by_hand_runs_each_case_where_it_is_cheap() -> None:
    cheap = replace(PLACE, cost=lambda check: 40.0 if check.mode == "eager" else 100.0)
    assert {check.implementation for check in by_case(list(candidates(FILE[:1])), cheap)} == {
        "einsum",
        "matmul",
        "fused",
    }


def test_cases_without_an_own_operation_take_turns_with_what_is_written_by_hand() -> None:
    by_hand = replace(PLACE, directions=("forward",), implementations={"attention": ("einsum", "matmul")})
    file = select(FILE, by_hand)
    assert {check.implementation for check in file} == {"einsum", "matmul"}
    assert {check.case for check in file} == set(FILE)
    implementations = [{check.implementation for check in file if check.case is case} for case in FILE]
    assert {frozenset(names) for names in implementations} >= {frozenset({"einsum"}), frozenset({"matmul"})}


def test_a_case_need_not_show_what_is_dear() -> None:
    dear = replace(PLACE, cost=lambda check: 800.0 if check.direction == "grad" else 100.0)
    with_gradient = {check.case for check in select(FILE, dear) if check.direction == "grad"}
    assert 0 < len(with_gradient) < len(FILE)


def test_every_file_has_each_pair() -> None:
    chosen = filter(supported, select(FILE))
    assert set().union(*map(pairs, chosen)) == set().union(*map(pairs, candidates(FILE)))


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_the_suite_has_each_combination_of_all_four_values(dtype: str) -> None:
    """Also of a dtype that a single case has, in a file in which every pair was met before."""
    last = attention_case("attention/file::last", name="last", dtypes=[dtype])
    files = [FILE, [*FILE[:2], last]]
    chosen = set(standard(files, PLACE, supported, ()))
    possible = [check for cases in files for check in candidates(cases)]
    assert set().union(*map(kinds, filter(supported, chosen))) == set().union(*map(kinds, possible))


def test_a_feature_is_shown_by_each_implementation_in_each_mode_that_is_not_dear() -> None:
    capped = attention_case("attention/file::capped", name="capped", softcap=2.0)
    chosen = [check for check in standard([FILE, [*FILE, capped]], PLACE, supported, ()) if check.case is capped]
    shown = {(check.implementation, check.mode, check.direction) for check in filter(supported, chosen)}
    assert shown == {
        (check.implementation, check.mode, check.direction)
        for check in candidates([capped])
        if (check.mode, check.direction) != ("eager", "grad")
    }


def test_what_is_unsupported_covers_nothing() -> None:
    """Where the fused operation has no gradient, that of another implementation is chosen."""
    one = [check for check in select(FILE[:1]) if check.direction == "grad"]
    assert one
    assert all(map(supported, one))


@pytest.mark.parametrize("length", range(1, len(FILE)))
def test_appending_a_case_changes_no_other_s_checks(length: int) -> None:
    before = select(FILE[:length])
    assert select(FILE)[: len(before)] == before


def test_where_checks_are_cheap_all_run() -> None:
    cheap = replace(PLACE, cheap_modes=frozenset({"eager"}), cost=lambda check: 3.0 if check.mode == "eager" else 100.0)
    assert {check for case in FILE for check in iter_checks(case, [PLACE]) if check.mode == "eager"} <= set(
        select(FILE, cheap)
    )


def test_an_operation_that_costs_more_in_a_cheap_mode_is_shown_by_each_case_and_not_in_each_dtype() -> None:
    """As one that people compile, and that computes score by score where it is not compiled."""
    cheap = replace(
        PLACE,
        modes=("eager",),
        cheap_modes=frozenset({"eager"}),
        cost=lambda check: 35.0 if check.implementation == "fused" else 3.0,
    )
    fused = [check for check in select(FILE, cheap) if check.implementation == "fused" and supported(check)]
    able = [check for check in candidates(FILE) if (check.implementation, check.mode) == ("fused", "eager")]
    assert {check.case for check in fused} == set(FILE)
    assert {check.dtype for check in fused} == {check.dtype for check in able}
    assert len(fused) < len(able)


def test_a_covering_is_made_within_what_is_narrowed() -> None:
    narrowed = replace(PLACE, modes=("eager",), dtypes=("float32",))
    chosen = select(FILE, narrowed)
    assert {(check.mode, check.dtype) for check in chosen} == {("eager", "float32")}
    assert {check.implementation for check in chosen if check.case is FILE[0]} == {"einsum", "matmul", "fused"}


def test_probes_run_in_full() -> None:
    case = einsum_case("precision/probe::one", probe="accumulate", gradient=False)
    assert select([case]) == list(iter_checks(case, [PLACE]))


def recorded(**match: str) -> DeviationEntry:
    deviation = Deviation.model_validate(
        {
            "match": {"case": "attention/file::case_3", **match},
            "observed": {"value": "nan"},
            "grade": "bug",
            "reason": "It returns NaN there.",
        }
    )
    return DeviationEntry(deviation, Path("fake.yaml"), 1)


def test_what_a_deviation_is_recorded_for_always_runs() -> None:
    matched = {check for check in candidates([FILE[3]]) if (check.mode, check.direction) == ("eager", "grad")}
    assert not matched <= set(select(FILE))
    assert matched <= set(select(FILE, deviations=[recorded(mode="eager", direction="grad")]))


def test_what_a_deviation_is_recorded_for_in_every_mode_runs_in_one() -> None:
    gradients = [check for check in candidates([FILE[3]]) if check.direction == "grad"]
    chosen = set(select(FILE, deviations=[recorded(direction="grad")])).intersection(gradients)
    kept = {(check.implementation, check.dtype) for check in chosen}
    assert kept == {(check.implementation, check.dtype) for check in gradients}
    assert len(chosen) < len(gradients)


def test_what_is_recorded_for_every_topic_is_shown_once_by_a_file() -> None:
    gradients = [check for check in candidates(FILE) if check.direction == "grad"]
    chosen = set(select(FILE, deviations=[recorded(case="*", direction="grad", dtype="float64")]))
    shown = [check for check in gradients if check in chosen and check.dtype == "float64"]
    assert {check.implementation for check in shown} == {check.implementation for check in gradients}
    assert len(shown) < len(FILE)


def test_smoke_runs_a_handful_of_each_implementation() -> None:
    files = [[einsum_case(f"einsum/{name}::case"), attention_case(f"attention/{name}::case")] for name in "abcdefg"]
    chosen = list(smoke(files, PLACE, supported))
    for kind, names in PLACE.implementations.items():
        for name in names:
            own = [check for check in chosen if (check.case.kind, check.implementation) == (kind, name)]
            assert len({check.case.id for check in own}) == SMOKE_CASES
            assert {check.mode for check in own} == {"jit"}
            assert {check.dtype for check in own} == {"float32"}
            assert ("grad" in {check.direction for check in own}) == (name != "fused")


def test_smoke_tries_no_refusal() -> None:
    refusal = einsum_case(
        "einsum/a::case", equation="ij,jk->iq", shapes=[[2, 3], [3, 4]], expect={"error": "unknown_label"}
    )
    assert list(smoke([[refusal]], PLACE, supported)) == []
