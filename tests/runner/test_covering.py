"""A covering leaves out no value and no pair of values that a check could have shown, with few checks."""

from __future__ import annotations

import itertools

import pytest

from runner.covering import Items, cover, pairs, values
from specs.verdict.check import Check
from tests.support.sample_cases import einsum_case

CASE = einsum_case()
AXES = ("backend", "device", "implementation", "mode", "dtype", "direction")
IMPLEMENTATIONS, MODES = ("a", "b", "c"), ("eager", "jit")
DTYPES, DIRECTIONS = ("float64", "float32", "bfloat16", "float16"), ("forward", "grad")
PRODUCT = [Check(CASE, "fake", "cpu", *axes) for axes in itertools.product(IMPLEMENTATIONS, MODES, DTYPES, DIRECTIONS)]


def same(check: Check) -> float:
    return 1.0


@pytest.mark.parametrize("items", [values, pairs])
def test_everything_that_the_candidates_have_is_covered(items: Items) -> None:
    chosen = cover(PRODUCT, items, (), same)
    assert set().union(*map(items, chosen)) == set().union(*map(items, PRODUCT))


def test_few_checks_are_chosen() -> None:
    assert len(cover(PRODUCT, values, (), same)) == len(IMPLEMENTATIONS)
    assert len(cover(PRODUCT, pairs, (), same)) <= 1.5 * len(IMPLEMENTATIONS) * len(DTYPES)


def test_what_is_covered_already_is_not_covered_again() -> None:
    first = cover(PRODUCT, pairs, (), same)
    assert cover(PRODUCT, pairs, set().union(*map(pairs, first)), same) == []
    assert cover([], pairs, (), same) == []


def test_only_what_candidates_have_can_be_missing() -> None:
    without_gradients = [check for check in PRODUCT if (check.mode, check.direction) != ("jit", "grad")]
    chosen = cover(without_gradients, pairs, (), same)
    assert set(chosen) <= set(without_gradients)
    assert ("mode", "eager", "direction", "grad") in set().union(*map(pairs, chosen))


def test_dear_checks_are_avoided() -> None:
    def cost(check: Check) -> float:
        return 8.0 if (check.mode, check.direction) == ("eager", "grad") else 1.0

    chosen = cover(PRODUCT, values, (), cost)
    assert {"eager", "jit"} == {check.mode for check in chosen}
    assert max(map(cost, chosen)) == 1.0


def test_the_order_of_candidates_does_not_matter() -> None:
    assert cover(PRODUCT, pairs, (), same) == cover(PRODUCT[::-1], pairs, (), same)


def test_cases_that_look_alike_choose_differently() -> None:
    chosen = set()
    for name in "abcdefgh":
        case = einsum_case(f"file::{name}")
        product = [Check(case, *(getattr(check, axis) for axis in AXES)) for check in PRODUCT]
        chosen.add(tuple((check.implementation, check.mode) for check in cover(product, values, (), same)))
    assert len(chosen) > 1
