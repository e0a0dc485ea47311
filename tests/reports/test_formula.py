"""The formulas that a page shows, spelled out as text."""

from __future__ import annotations

import pytest

from reports.formula import Tree, formula
from specs.case.attention import AttentionConfig
from specs.case.attention_fields import Mask, Projections, Relative, Window
from specs.case.common import Expect
from specs.case.einsum import EinsumConfig
from specs.verdict.statement import statement
from tests.support.runs import case

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXZ"  # Y is the output


def spelled(tree: Tree) -> str:
    """A tree as text: indices after _, in braces where there are several."""
    if isinstance(tree, str):
        return tree
    tag, *children = tree
    parts = [spelled(child) for child in children]
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
    found = formula(statement(case(config=config)))
    assert found
    return [spelled(line) for line in found.lines]


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
        (",".join("i" * 26), [[2]] * 26, "Y=∑_{i} " + "".join(f"{name}_i" for name in [*LETTERS, "A25"])),
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
        ({"bias": "alibi"}, "S_{ij}=(1)/(√16)∑_{d} Q_{id}K_{jd}+B_{ij}"),
        ({"softcap": 30.0}, "S_{ij}←30tanh((S_{ij})/(30))"),
        ({"mask": Mask(type="additive", shape="1k")}, "S_{ij}←S_{ij}+M_j"),
        ({"mask": Mask(type="bool", shape="bhqk")}, "S_{ij}←−∞ unless M_{bhij}"),
        ({"causal": "top_left"}, "S_{ij}←−∞ unless j≤i"),
        ({"causal": "bottom_right", "kv_len": 9}, "S_{ij}←−∞ unless j≤i+5"),
        ({"window": Window(left=2, right=1)}, "S_{ij}←−∞ unless j≥i−2 and j≤i+1"),
        ({"kv_lengths": [3]}, "S_{ij}←−∞ unless j<n_b"),
        ({"relative": Relative(values=False)}, "S_{ij}=(1)/(√16)∑_{d} Q_{id}(K_{jd}+R^K_{ijd})"),
        ({"relative": Relative(keys=False)}, "O_{id}=∑_{j} W_{ij}(V_{jd}+R^V_{ijd})"),
        ({"layout": "bsd", "projections": Projections(kind="linear", bias=True)}, "Q=X_QW^T_{Q}+b_Q"),
        ({"layout": "ds", "projections": Projections(kind="linear")}, "K=W_KX_K"),
        ({"projections": Projections(kind="per_head", shared=True)}, "V_h=X_V_hW_V"),
        ({"layout": "bsd", "projections": Projections(kind="linear", output=True)}, "Y=concat(O)W^T_{O}+b_O"),
    ],
    ids=str,
)
def test_attention_has_the_terms_that_its_configuration_asks_for(fields: dict, expected: str) -> None:
    plain = lines(AttentionConfig(q_len=4, head_dim=16))
    asked = lines(AttentionConfig(q_len=4, head_dim=16, **fields))
    assert expected in asked
    assert expected not in plain


def test_what_a_row_without_keys_yields_is_said() -> None:
    found = formula(statement(case(config=AttentionConfig(q_len=4, head_dim=16, batch=2, fully_masked="nan"))))
    assert found
    assert list(found.notes) == ["For each batch item b.", "A query without any key yields NaN."]


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
def test_what_has_no_meaning_has_no_formula(config: EinsumConfig | AttentionConfig) -> None:
    assert formula(statement(case(config=config))) is None
