"""The formulas on a page, written as text."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from reports.formula import build_formula
from reports.trees import Tree
from specs.case.attention import AttentionConfig
from specs.case.attention_fields import Mask, Projections, Relative, Rotary, Window
from specs.case.common import RECIPES, Expect
from specs.case.einsum import EinsumConfig
from specs.verdict.statement import make_statement
from tests.support.runs import case


def to_text(tree: Tree) -> str:
    """A tree as text: indices after _, in braces if there are several."""
    if isinstance(tree, str):
        return tree
    tag, *children = tree
    parts = [to_text(child) for child in children]
    match tag:
        case "mrow":
            return "".join(parts)
        case "msub":
            return f"{parts[0]}_{parts[1]}" if len(parts[1]) == 1 else f"{parts[0]}_{{{parts[1]}}}"
        case "msup":
            return f"{parts[0]}^{{{parts[1]}}}"
        case "msubsup":
            return f"{parts[0]}^{parts[2]}_{{{parts[1]}}}"
        case "munder":
            return f"{parts[0]}_{{{parts[1]}}} "
        case "mfrac":
            return f"({parts[0]})/({parts[1]})"
        case "msqrt":
            return f"√{parts[0]}"
    return parts[0].replace("\N{NO-BREAK SPACE}", " ")


def lines(config: EinsumConfig | AttentionConfig) -> list[str]:
    formula = build_formula(make_statement(case(config=config)))
    assert formula
    return [to_text(line) for line in formula.lines]


@pytest.mark.parametrize(
    ("equation", "shapes", "expected"),
    [
        ("ij,jk->ik", [[2, 3], [3, 4]], "Y_{ik}=∑_{j} A_{ij}B_{jk}"),
        ("ij,jk", [[2, 3], [3, 4]], "Y_{ik}=∑_{j} A_{ij}B_{jk}"),
        ("ba", [[2, 3]], "Y_{ab}=A_{ba}"),
        ("ii->", [[3, 3]], "Y=∑_{i} A_{ii}"),
        ("->", [[]], "Y=A"),
        ("ij,ij->ij", [[2, 3], [1, 3]], "Y_{ij}=A_{ij}B_{0,j}"),
        ("...i,i->...", [[5, 2, 3], [3]], "Y_{…_1,…_0}=∑_{i} A_{…_1,…_0,i}B_i"),
        (",".join("i" * 12), [[2]] * 12, "Y=∑_{i} " + "".join(f"{name}_i" for name in "ABCDEFGHIJKL")),
    ],
)  # fmt: skip
def test_an_einsum_is_its_sum_in_index_notation(equation: str, shapes: list[list[int]], expected: str) -> None:
    assert lines(EinsumConfig(equation=equation, shapes=shapes)) == [expected]


def test_plain_attention_has_three_lines() -> None:
    assert lines(AttentionConfig(q_len=4, head_dim=16)) == [
        "S_{ij}=(1)/(√16)∑_{d} Q_{id}K_{jd}",
        "W_{ij}=(e^{S_{ij}})/(∑_{j} e^{S_{ij}})",
        "O_{id}=∑_{j} W_{ij}V_{jd}",
    ]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"num_heads": 4, "num_kv_heads": 2}, "S_{hij}=(1)/(√16)∑_{d} Q_{hid}K_{⌊h/2⌋,j,d}"),
        ({"scale": 0.5}, "S_{ij}=0.5∑_{d} Q_{id}K_{jd}"),
        ({"scale": 0.5, "scale_at": "weights"}, "O_{id}=0.5∑_{j} W_{ij}V_{jd}"),
        ({"bias": "random", "bias_at": "products"}, "S_{ij}=(1)/(√16)(∑_{d} Q_{id}K_{jd}+B_{ij})"),
        ({"sink": True}, "W_{ij}=(e^{S_{ij}})/(∑_{j} e^{S_{ij}}+e^{s})"),
        ({"sink": True, "num_heads": 2}, "W_{hij}=(e^{S_{hij}})/(∑_{j} e^{S_{hij}}+e^{s_h})"),
        ({"past": 3}, "K←concat(K_{past},K)"),
        ({"past": 3}, "V←concat(V_{past},V)"),
        ({"rotary": Rotary()}, "Q_i←R_iQ_i"),
        ({"rotary": Rotary(), "past": 3}, "K_j←R_{j+3}K_j"),
        ({"rotary": Rotary(), "causal": "bottom_right", "kv_len": 9}, "Q_i←R_{i+5}Q_i"),
        ({"bias": "alibi"}, "S_{ij}=(1)/(√16)∑_{d} Q_{id}K_{jd}+B_{ij}"),
        ({"softcap": 30.0}, "S_{ij}←30tanh((S_{ij})/(30))"),
        ({"mask": Mask(type="additive", shape="1k")}, "S_{ij}←S_{ij}+M_j"),
        ({"mask": Mask(type="bool", shape="bhqk")}, "S_{ij}←−∞ unless M_{bhij}"),
        ({"causal": "top_left"}, "S_{ij}←−∞ unless j≤i"),
        ({"causal": "bottom_right", "kv_len": 9}, "S_{ij}←−∞ unless j≤i+5"),
        ({"window": Window(left=2, right=1)}, "S_{ij}←−∞ unless j≥i−2 and j≤i+1"),
        ({"kv_lengths": [3]}, "S_{ij}←−∞ unless j<n_b"),
        ({"relative": Relative()}, "S_{ij}=(1)/(√16)∑_{d} Q_{id}(K_{jd}+R^K_{ijd})"),
        ({"relative": Relative(values=False)}, "S_{ij}=(1)/(√16)∑_{d} Q_{id}(K_{jd}+R^K_{ijd})"),
        ({"relative": Relative(keys=False)}, "O_{id}=∑_{j} W_{ij}(V_{jd}+R^V_{ijd})"),
        ({"layout": "bsd", "projections": Projections(kind="linear", bias=True)}, "Q=X_QW^T_{Q}+b_Q"),
        ({"layout": "ds", "projections": Projections(kind="linear")}, "K=W_KX_K"),
        ({"projections": Projections(kind="per_head", shared=True)}, "V_h=X_V_hW_V"),
        ({"layout": "bsd", "projections": Projections(kind="linear", output=True)}, "Y=concat(O)W^T_{O}+b_O"),
    ],
    ids=str,
)
def test_attention_has_the_terms_that_its_configuration_enables(fields: dict, expected: str) -> None:
    plain = lines(AttentionConfig(q_len=4, head_dim=16))
    with_fields = lines(AttentionConfig(q_len=4, head_dim=16, **fields))
    assert expected in with_fields
    assert expected not in plain


def test_a_note_says_what_a_row_without_keys_yields() -> None:
    formula = build_formula(
        make_statement(case(config=AttentionConfig(q_len=4, head_dim=16, batch=2, fully_masked="nan")))
    )
    assert formula
    assert list(formula.notes) == ["For each batch item b.", "A query without any key yields NaN."]


@pytest.mark.parametrize(
    "config",
    [
        EinsumConfig(equation="ij,jk->ik", shapes=[[2, 3], [4, 5]], expect=Expect(error="size_mismatch")),
        EinsumConfig(equation="i<script>", shapes=[[2]]),
        EinsumConfig(equation="ij->", sizes={"i": 2}),
        AttentionConfig(q_len=4, head_dim=16, num_heads=4, num_kv_heads=3, expect=Expect(error="head_mismatch")),
    ],
    ids=str,
)
def test_an_invalid_case_has_no_formula(config: EinsumConfig | AttentionConfig) -> None:
    assert build_formula(make_statement(case(config=config))) is None


# Every field of a case: another value that changes the formula, or why none does

ALTERNATIVES: dict[str, dict[str, Any]] = {
    "batch": {"batch": 2},
    "num_heads": {"num_heads": 2},
    "num_kv_heads": {"num_heads": 4, "num_kv_heads": 2},
    "head_dim": {"head_dim": 8},
    "q_len": {"q_len": 5, "causal": "bottom_right"},
    "kv_len": {"kv_len": 7, "causal": "bottom_right"},
    "layout": {"layout": "ds", "projections": Projections(kind="linear")},
    "scale": {"scale": 0.5},
    "scale_at": {"scale": 0.5, "scale_at": "weights"},
    "causal": {"causal": "top_left"},
    "window": {"window": Window(left=1)},
    "mask": {"mask": Mask(type="bool")},
    "kv_lengths": {"kv_lengths": [3]},
    "bias": {"bias": "random"},
    "bias_at": {"bias": "random", "bias_at": "products"},
    "softcap": {"softcap": 2.0},
    "sink": {"sink": True},
    "past": {"past": 2},
    "rotary": {"rotary": Rotary()},
    "relative": {"relative": Relative()},
    "projections": {"projections": Projections(kind="per_head")},
    "self_attention": {"layout": "bsd", "q_len": 6, "projections": Projections(kind="linear"), "self_attention": True},
    "fully_masked": {"fully_masked": "mean"},
    "unseen": {"unseen": "nan"},
    "masked_values": {"masked_values": "spread"},
    "expect": {"expect": Expect(error="head_mismatch")},
}
PREREQUISITES = {  # other fields that the alternative needs, for both sides of the comparison
    "num_kv_heads": {"num_heads": 4},
    "q_len": {"causal": "bottom_right"},
    "kv_len": {"causal": "bottom_right"},
    "layout": {"layout": "bsd", "projections": Projections(kind="linear")},
    "scale_at": {"scale": 0.5},
    "bias_at": {"bias": "random"},
    "self_attention": {"layout": "bsd", "q_len": 6, "projections": Projections(kind="linear")},
}
PARTS = {  # values of fields with several parts, each with another formula
    "mask": [Mask(type="bool"), Mask(type="additive"), Mask(type="bool", shape="k")],
    "window": [Window(left=1), Window(right=1), Window(left=2)],
    "relative": [Relative(), Relative(keys=False), Relative(values=False)],
    "rotary": [Rotary(), Rotary(pairing="interleaved"), Rotary(dims=4), Rotary(base=100.0)],
    "projections": [Projections(kind="per_head", **fields) for fields in ({}, {"shared": True}, {"bias": True})],
}
NOT_IN_FORMULA = {
    **dict.fromkeys(("about", "source", "weak", "dtypes", "gradient"), "does not affect the computation"),
    **dict.fromkeys(("modes", "implementations"), "selects what runs"),
    **dict.fromkeys(("data", "seed", "query", "key", "value", "probe", "memory", "operands"), "describes the inputs"),
    "value_dim": "is in the table of shapes",
}


def formula_text(config: EinsumConfig | AttentionConfig) -> tuple[list[str], list[str]] | None:
    formula = build_formula(make_statement(case(config=config)))
    return formula and ([to_text(line) for line in formula.lines], list(formula.notes))


@pytest.mark.parametrize("field", AttentionConfig.model_fields)
def test_every_field_of_attention_changes_the_formula_or_is_exempt(field: str) -> None:
    assert (field in ALTERNATIVES) != (field in NOT_IN_FORMULA)
    if field in ALTERNATIVES:
        fields = {"q_len": 4, "kv_len": 6, "head_dim": 16}
        before = AttentionConfig(**fields | PREREQUISITES.get(field, {}))
        assert formula_text(AttentionConfig(**fields | ALTERNATIVES[field])) != formula_text(before)


@pytest.mark.parametrize("field", PARTS)
def test_every_part_of_a_field_changes_the_formula(field: str) -> None:
    texts = [formula_text(AttentionConfig(q_len=4, kv_len=6, head_dim=16, **{field: value})) for value in PARTS[field]]
    assert all(one != other for at, one in enumerate(texts) for other in texts[at + 1 :])


@pytest.mark.parametrize("field", EinsumConfig.model_fields)
def test_every_field_of_an_einsum_changes_the_formula_or_is_exempt(field: str) -> None:
    plain: dict[str, Any] = {"equation": "ij,jk->ik", "shapes": [[2, 3], [3, 4]], "dtypes": ["float32"]}
    alternatives: dict[str, dict[str, Any]] = {
        "equation": {"equation": "ij,jk->ki"},
        "shapes": {"shapes": [[2, 5], [5, 4]]},
        "sizes": {"shapes": None, "sizes": {"i": 2, "j": 5, "k": 4}},
        "operand_dtypes": {"operand_dtypes": ["float16", "float32"]},
        "asks_for_dtype": {"asks_for_dtype": True},
        "expect": {"expect": Expect(error="size_mismatch")},
    }
    assert (field in alternatives) != (field in NOT_IN_FORMULA)
    if field in alternatives:
        assert formula_text(EinsumConfig(**plain | alternatives[field])) != formula_text(EinsumConfig(**plain))


def test_every_recipe_has_a_description() -> None:
    names = {
        name for config in (EinsumConfig, AttentionConfig) for name in literals(config.model_fields["data"].annotation)
    }
    assert set(RECIPES) == names


def literals(annotation: Any) -> set[str]:
    return {name for part in get_args(annotation) for name in (literals(part) if get_args(part) else {part})}
