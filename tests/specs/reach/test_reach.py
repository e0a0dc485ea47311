"""The table of reach knows which features meet, and the case files leave no gap in it."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest

from specs.__main__ import main
from specs.case.attention import AttentionConfig
from specs.case.case import Case
from specs.case.einsum import EinsumConfig
from specs.case.loading import discover, load
from specs.reach import text
from specs.reach.impossible import ANY, IMPOSSIBLE
from specs.reach.reach import FEATURES, VIEWS, Reach, features_of, gaps, reach_of, view_of, why_impossible
from tests.support import ROOT
from tests.support.checks import case_of


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return [case for file in discover([], ROOT) for case in load(file, ROOT)]


@pytest.fixture(scope="module")
def reach(cases: list[Case]) -> Reach:
    return reach_of(cases)


def attention(**fields: Any) -> AttentionConfig:
    return AttentionConfig(**{"q_len": 5, "head_dim": 4, **fields})


def einsum(equation: str, *shapes: list[int], **fields: Any) -> EinsumConfig:
    return EinsumConfig(equation=equation, shapes=list(shapes), **fields)


def test_the_case_files_leave_no_gap(reach: Reach, capsys: pytest.CaptureFixture[str]) -> None:
    assert [str(gap) for gap in gaps(reach)] == []
    assert main(["reach"]) == 0
    assert capsys.readouterr().out.endswith("no gap\n")


def test_what_cannot_meet_does_not(reach: Reach) -> None:
    met = [
        (kind, one.name, other.name, view)
        for kind, features in FEATURES.items()
        for one, other in combinations(features, 2)
        for view in VIEWS[kind]
        if why_impossible(kind, one, other, view) and reach.size(kind, frozenset({one.name, other.name}), view)
    ]
    # What is only not required is no error
    assert [pair for pair in met if "513 keys or more" not in pair] == []


def test_reasons_name_features() -> None:
    for entry in IMPOSSIBLE:
        names = {feature.name for feature in FEATURES[entry.kind]}
        assert entry.some <= names
        assert entry.others == ANY or entry.others <= names
        assert entry.views <= set(VIEWS[entry.kind])


def test_without_a_case_there_is_a_gap(cases: list[Case], monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    few = [case for case in cases if not (case.kind == "attention" and case.config.sink and case.config.softcap)]
    reach = reach_of(few)
    assert any(gap.pair == {"sink", "softcap"} for gap in gaps(reach))
    monkeypatch.setattr("specs.reach.reach.reach_of", lambda cases: reach)
    assert main(["reach"]) == 1
    assert "attention: no case has both sink and softcap" in capsys.readouterr().out


def test_a_pair_has_the_largest_size_of_each_view() -> None:
    reach = reach_of(
        [
            case_of(attention(kv_len=9, sink=True, softcap=1.0, dtypes=["float32", "float16"])),
            case_of(attention(kv_len=70, sink=True, softcap=2.0, dtypes=["bfloat16"], gradient=False)),
        ]
    )
    sizes = {view: reach.size("attention", frozenset({"sink", "softcap"}), view) for view in VIEWS["attention"]}
    assert sizes == {"float32 forward": 9, "16 bits forward": 70, "float32 grad": 9, "16 bits grad": 9}
    assert reach.size("attention", frozenset({"sink", "cache"}), "float32 forward") is None


def test_invalid_cases_and_probes_count_for_nothing() -> None:
    invalid = attention(num_heads=3, num_kv_heads=2, gradient=False, expect={"error": "head_mismatch"})
    probe = einsum("ij,jk->ik", [2, 2], [2, 2], probe="repeatable", gradient=False)
    assert not any(reach_of([case_of(invalid), case_of(probe)]).sizes.values())


@pytest.mark.parametrize(
    ("config", "features"),
    [
        (attention(), set()),
        (attention(q_len=70, kv_len=130, batch=2, num_heads=2), {"beyond the first block"}),
        (attention(q_len=70, kv_len=128, batch=2, num_heads=2), {"fewer queries than keys"}),
        (attention(num_heads=4, num_kv_heads=1), {"one key/value head", "heads"}),
        (attention(memory={"query": "strided", "cotangent": "broadcast"}), {"memory strided", "memory broadcast"}),
        (attention(mask={"type": "additive", "fill": -1e9}), {"additive mask that hides"}),
        (einsum("ij,jk->ki", [2, 3], [3, 4]), {"two operands", "sum over a shared axis", "permuted result"}),
        (einsum("i...->...", [2, 3]), {"one operand", "ellipsis", "sum over an axis of one operand"}),
        (einsum("i...->i", [2, 3]), {"ellipsis summed"}),
        (einsum("ij,ij->ij", [2, 3], [2, 1]), {"nothing summed", "batch axis", "broadcast axis", "axis of size one"}),
        (einsum("ii,i", [2, 2], [2]), {"diagonal", "implicit result", "scalar result"}),
    ],
)
def test_features_of_a_config(config: AttentionConfig | EinsumConfig, features: set[str]) -> None:
    assert features <= features_of(config)


def test_views() -> None:
    assert [view_of(dtype, "grad") for dtype in ("float64", "bfloat16", "complex64", "int8")] == [
        "float64 grad", "16 bits grad", "complex grad", "integer grad",
    ]  # fmt: skip


def test_the_row_of_a_feature_says_why_others_are_not_met(reach: Reach) -> None:
    lines = list(text.describe_feature(reach, "layout ds"))
    assert any(line.startswith("heads ") and line.endswith("neither batch nor heads") for line in lines)


def test_an_unknown_feature_is_told_with_the_nearest_one(reach: Reach, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reach", "softcup"]) == 2
    assert capsys.readouterr().out == "no feature is named 'softcup'; did you mean 'softcap'?\n"
