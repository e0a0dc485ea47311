"""Kernels are chosen by what a processor has, and so are the differences that are known of them."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from specs.verdict import processor
from specs.verdict.deviation import Deviation

HERE = frozenset({"sse2", "avx2", "avx512_vnni"})


@pytest.fixture(autouse=True)
def this_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "features", lambda: HERE)


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("avx2", True),
        ("amx_tile", False),
        ("amx_tile|avx512_vnni", True),
        ("!amx_tile", True),
        ("!avx512_vnni|amx_tile", False),
    ],
)
def test_a_condition_asks_for_one_of_some_features_or_for_none(condition: str, holds: bool) -> None:
    assert processor.has(condition) is holds
    assert processor.meets(["sse2", condition]) is holds


def entry(*conditions: str) -> Deviation:
    return Deviation.model_validate(
        {
            "match": {"case": "*"},
            "processor": list(conditions),
            "observed": {"error": True},
            "grade": "bug",
            "reason": "It is not known why.",
        }
    )


def test_a_deviation_is_known_on_the_processors_that_it_names() -> None:
    assert entry().known_here
    assert entry("avx2", "!amx_tile").known_here
    assert not entry("!avx2").known_here


@pytest.mark.parametrize("condition", ["", "AVX2", "avx2 or sse2", "!!avx2", "avx2|"])
def test_a_condition_that_is_none_is_refused(condition: str) -> None:
    with pytest.raises(ValidationError):
        entry(condition)


def test_where_linux_says_what_there_is_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    if Path("/proc/cpuinfo").exists():
        assert processor.features()
