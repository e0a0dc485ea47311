"""The table of reach knows which features meet, and the case files leave no gap in it."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import Field

from specs.__main__ import main
from specs.case.attention import AttentionConfig
from specs.case.case import Case
from specs.case.einsum import EinsumConfig
from specs.case.loading import CONFIGS, discover, load
from specs.case.problems import CaseFileError, Problem
from specs.reach import text
from specs.reach.fields import FEATURES, REASONS, missing_rows, names_of_fields
from specs.reach.impossible import ANY, IMPOSSIBLE
from specs.reach.reach import VIEWS, Reach, features_of, gaps, reach_of, view_of, why_impossible
from specs.verdict.properties import PROPERTIES
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
        (attention(memory={"query": "strided", "key": "broadcast"}), {"memory strided", "memory broadcast"}),
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


@pytest.mark.parametrize(
    ("config", "absent"),
    [
        (attention(q_len=1, kv_len=9, causal="bottom_right"), "causal bottom_right"),  # sees every key
        (attention(kv_len=5, causal="bottom_right"), "causal bottom_right"),  # as aligned at the top left
        (attention(causal="top_left", window={"right": 0}), "causal top_left"),  # the window hides as much
        (attention(window={"left": 4, "right": 4}), "window"),
        (attention(batch=2, kv_lengths=[5, 5]), "kv_lengths"),
        (attention(mask={"type": "bool", "shape": "q1"}), "bool mask"),  # the only key of the mask is never hidden
        (attention(mask={"type": "additive", "fill": -1.0}), "additive mask that hides"),
        (attention(batch=2, mask={"type": "bool", "shape": "b11k", "pattern": "padding"}), "mask by batch item"),
        (
            attention(batch=2, mask={"type": "bool", "shape": "bhqk"}, memory={"mask": "broadcast"}),
            "mask by batch item",
        ),
        (attention(mask={"type": "additive", "pattern": "masked_row"}), "query without keys"),
        (attention(mask={"type": "additive", "fill": -1e4, "pattern": "masked_row"}), "query without keys"),
        (attention(scale=0.5), "scale"),  # the default of four features
        (attention(scale=1.0, scale_at="weights"), "scale at weights"),
        (attention(scale=0.5, scale_at="weights", bias="random", bias_at="products"), "bias at products"),
        (attention(q_len=3, kv_len=1, softcap=2.0), "softcap"),  # one key has all weight
        (attention(past=0), "cache"),
        (attention(rotary={"dims": 2}), "rotary by halves"),  # one pair
        (attention(q_len=1, kv_len=9, past=9, rotary={}), "rotary by halves"),  # the first position is not rotated
        (attention(batch=2, memory="broadcast"), "batch"),
        (attention(batch=0, bias="random"), "bias random"),
        (attention(q_len=5, layout="sbhd", memory={"value": "broadcast"}, bias="random"), "bias random"),
        (attention(memory={"cotangent": "strided"}), "memory strided"),
        (attention(memory={"query": "strided"}, gradient=False), "memory of the cotangent"),
        (einsum(",i", [], [3], memory="transposed"), "memory transposed"),
        (einsum("ii,ij->ji", [1, 1], [1, 3]), "diagonal"),
        (einsum("ij->ji", [1, 3]), "permuted result"),
        (einsum("ij->j", [1, 3]), "sum over an axis of one operand"),
        (einsum("i...->i", [2]), "ellipsis"),  # of no axis
        (einsum("i", [2], dtypes=["float32"], asks_for_dtype=True), "dtype asked for"),
    ],
)
def test_what_has_no_effect_is_not_counted(config: AttentionConfig | EinsumConfig, absent: str) -> None:
    assert absent in {feature.name for feature in FEATURES[config.kind]}
    assert absent not in features_of(config) | features_of(config, "grad")


def test_only_a_gradient_has_a_cotangent() -> None:
    reach = reach_of([case_of(attention(kv_len=9, sink=True, memory={"cotangent": "strided"}))])
    sizes = {
        view: reach.size("attention", frozenset({"sink", "memory of the cotangent"}), view)
        for view in VIEWS["attention"]
    }
    assert sizes == {"float32 forward": None, "16 bits forward": None, "float32 grad": 9, "16 bits grad": 9}


def test_a_field_without_a_row_is_an_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class WithSegments(AttentionConfig):
        segments: int | None = Field(default=None)
        causal: Literal["none", "top_left", "bottom_right", "at_lengths"] = "none"

    monkeypatch.setitem(CONFIGS, "attention", WithSegments)
    monkeypatch.setitem(PROPERTIES, "transposed_twice", lambda config: False)
    add = "add a Feature to specs/reach/{0}.py that names it in `fields`, or a reason to specs/reach/fields.py"
    assert list(missing_rows()) == [
        f"attention: the field causal=at_lengths has no row: {add.format('attention')}",
        f"attention: the field segments has no row: {add.format('attention')}",
        f"the property transposed_twice has no row: {add.format('einsum')}",
    ]
    assert main(["reach"]) == 1
    assert "the field segments has no row" in capsys.readouterr().out


def test_rows_and_reasons_name_fields_and_properties() -> None:
    known = {*PROPERTIES, *(name for config in CONFIGS.values() for name in names_of_fields(config))}
    known |= {name.partition("=")[0] for name in known}
    rows = {name for features in FEATURES.values() for feature in features for name in feature.fields}
    assert (rows | REASONS.keys()) - known == set()
    assert rows & REASONS.keys() == set()


def test_a_file_that_cannot_be_read_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(path: Path, root: Path) -> list[Case]:
        raise CaseFileError([Problem(path, 3, 1, "a mistake")])

    monkeypatch.setattr("specs.__main__.load", load)
    assert main(["reach"]) == 1
    assert capsys.readouterr().out.endswith(".yaml:3:1: a mistake\n")


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
