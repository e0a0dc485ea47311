"""Deviations of kernels that are chosen by processor features apply only to such processors."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from specs.verdict import processor
from specs.verdict.deviation import Deviation

FEATURES = frozenset({"sse2", "avx2", "avx512_vnni"})


@pytest.fixture(autouse=True)
def this_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "read_features", lambda: FEATURES)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("avx2", True),
        ("amx_tile", False),
        ("amx_tile|avx512_vnni", True),
        ("!amx_tile", True),
        ("!avx512_vnni|amx_tile", False),
    ],
)
def test_a_condition_requires_one_of_several_features_or_none_of_them(condition: str, expected: bool) -> None:
    assert processor.meets(condition) is expected
    assert processor.meets_all(["sse2", condition]) is expected


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


def test_a_deviation_applies_to_the_processors_that_it_names() -> None:
    assert entry().is_known_here
    assert entry("avx2", "!amx_tile").is_known_here
    assert not entry("!avx2").is_known_here


@pytest.mark.parametrize("condition", ["", "AVX2", "avx2 or sse2", "!!avx2", "avx2|"])
def test_an_invalid_condition_is_refused(condition: str) -> None:
    with pytest.raises(ValidationError):
        entry(condition)


def test_the_features_are_read_from_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    if Path("/proc/cpuinfo").exists():
        assert processor.read_features()
