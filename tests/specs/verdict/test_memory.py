"""What a check needs is estimated before anything is allocated; beyond the limit it is unsupported."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from backends.discovery import registry
from specs.case.attention import AttentionConfig
from specs.case.case import Case, Config
from specs.case.einsum import EinsumConfig
from specs.case.loading import discover, load
from specs.reference import cache
from specs.verdict.check import Check
from specs.verdict.memory import GIB, estimate
from specs.verdict.verdict import judge
from tests.support import ROOT
from tests.support.checks import case_of, check_of


def einsum(equation: str, *shapes: list[int]) -> EinsumConfig:
    return EinsumConfig(equation=equation, shapes=list(shapes))


@pytest.mark.parametrize(
    "config",
    [
        einsum("ij,jk->ik", [10**9, 10**9], [10**9, 1]),
        einsum("i,j->ij", [200_000], [200_000]),
        einsum("i,j,k->", [10**12], [1], [1]),
        einsum("i" * 32 + "->i", [2**40] * 32),
        AttentionConfig(q_len=10**6, head_dim=8),
        AttentionConfig(q_len=1, head_dim=2**40),
        AttentionConfig(q_len=1, kv_len=2, head_dim=1, batch=2**40, num_heads=2**40),
    ],
    ids=str,
)
@pytest.mark.parametrize("direction", ["forward", "grad"])
def test_what_no_machine_can_hold_is_unsupported_and_never_allocated(config: Config, direction: str) -> None:
    check = check_of(case_of(config), "einsum", dtype="float32", direction=direction)
    tracemalloc.start()
    record = judge(check, registry.get("numpy"), "id", "file", max_memory=4.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert record.verdict == "unsupported"
    assert record.reason.startswith("needs ")
    assert record.reason.endswith(" GiB, and --max-memory is 4 GiB")
    assert peak < 2**20


@pytest.mark.parametrize(
    ("config", "dtype"),
    [
        (einsum("ij,jk->ik", [200, 200], [200, 200]), "float64"),
        (einsum("i,j->ij", [300], [300]), "float32"),
        (einsum("i,i->", [100_000], [100_000]), "complex128"),
        (einsum("ij,jk,kl->il", [30, 30], [30, 30], [30, 30]), "float16"),
        (einsum("bij,bjk->bik", [20, 50, 50], [20, 50, 50]), "int32"),
        (AttentionConfig(batch=2, num_heads=2, q_len=100, head_dim=16), "float64"),
        (AttentionConfig(q_len=1, kv_len=20_000, head_dim=8), "float32"),
    ],
    ids=str,
)
def test_the_estimate_is_near_what_is_needed(config: Config, dtype: str) -> None:
    case = Case(f"memory::{config.kind}", "memory", Path("m.yaml"), 1, config.model_copy(update={"dtypes": [dtype]}))
    implementation = "einsum" if config.kind == "einsum" else "matmul"
    check = Check(case, "numpy", "cpu", implementation, "eager", dtype)
    cache.clear()
    tracemalloc.start()
    record = judge(check, registry.get("numpy"), "id", "file")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert record.verdict == "pass"
    assert 0.3 * peak < estimate(check) < 6 * peak


def test_every_case_of_the_project_fits_into_a_gibibyte() -> None:
    cases = [case for file in discover([], ROOT) for case in load(file, ROOT)]
    checks = [check_of(case, dtype=dtype) for case in cases for dtype in case.config.dtypes]
    assert max(map(estimate, checks)) < GIB
