"""The table of detection counts correctly, and right backends of every kind are never refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.faulty import detection
from tests.faulty.correct import CORRECT
from tests.faulty.detection import OURS
from tests.faulty.fault import find_check, judge_backend
from tests.faulty.policies import POLICIES, Evidence, accepts

CHECKS = [
    "einsum/products::larger[einsum-float32]",
    "einsum/products::larger[einsum-float16]",
    "einsum/many_operands::chain_of_five[einsum-optimized-float32]",
    "einsum/quantum_chemistry::coupled_cluster_quadratic[einsum-float64]",
    "attention/lengths::longer_than_a_block[matmul-float16]",
    "attention/masks::boolean[einsum-float32]",
]


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.parametrize("backend_class", CORRECT)
def test_a_right_backend_passes_on_inputs_of_its_own(backend_class: type, name: str) -> None:
    check, backend = find_check(name), backend_class()
    for repetition in range(4):
        fresh = replace(check, case=replace(check.case, id=f"{check.case.id}#{repetition}"))
        for _ in range(2):  # the second verdict reuses what was built for the first
            record = judge_backend(backend, fresh)
            assert record.verdict == "pass", record.reason


def test_right_backends_compute_something_else_than_numpy() -> None:
    """A variant that gave NumPy's own bits everywhere would test nothing."""
    digests = {
        backend_class.__name__: [judge_backend(backend_class(), find_check(name)).measurement.digest for name in CHECKS]
        for backend_class in CORRECT
    }
    numpy_digests = digests.pop("LoopsOfNumpy")
    assert [name for name, backend_digests in digests.items() if backend_digests == numpy_digests] == []


def test_a_fault_is_counted_where_it_changes_the_result_and_only_there() -> None:
    count = detection._count_fault(("bfloat16_behind_float32", False))
    assert count.trials == 7
    assert count.refused[OURS] == 7


def test_gradients_are_counted_as_well() -> None:
    count = detection._count_fault(("gradients_of_key_and_value_exchanged", False))
    assert count.trials == 3
    assert dict(count.refused) == dict.fromkeys((OURS, *POLICIES), 3)


def test_what_must_be_refused_is_no_trial() -> None:
    assert detection._count_fault(("output_labels_overlooked", False)).trials == 0


@pytest.mark.parametrize("policy", POLICIES)
def test_a_policy_accepts_the_reference_and_refuses_another_shape_dtype_or_value(policy: str) -> None:
    expected = np.array([1.0, -2.0, np.nan, np.inf], np.float32)
    accepts_result = POLICIES[policy]
    assert accepts(accepts_result, Evidence(expected.copy(), expected, expected))
    for wrong in (expected[:2], expected.astype(np.float64), expected * 1.1, np.array([1, -2, 0, np.inf], np.float32)):
        assert not accepts(accepts_result, Evidence(wrong, expected, expected))


def test_twice_the_naive_error_is_the_limit() -> None:
    expected, naive = np.array([1.0, 2.0], np.float64), np.array([1.0, 2.0 + 2.0**-20], np.float64)
    assert accepts(POLICIES["2 x naive"], Evidence(expected + 2.0**-20, expected, naive))
    assert not accepts(POLICIES["2 x naive"], Evidence(expected + 2.0**-18, expected, naive))
