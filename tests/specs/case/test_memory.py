"""A memory layout that changes nothing is refused where it is written, unless another case there has a use for it."""

import pytest

from specs.case.attention import AttentionConfig
from specs.case.einsum import EinsumConfig
from specs.case.memory import effective_layouts
from tests.support.case_texts import einsum_file

ATTENTION = {"q_len": 5, "kv_len": 9, "head_dim": 4, "batch": 2}


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (
            '{equation: ",i", shapes: [[], [3]], memory: {operand_0: strided}}',
            "3:64: memory strided changes nothing: operand_0 has no axis longer than one",
        ),
        (
            '{equation: ",i", shapes: [[], [3]], memory: {operand_1: transposed}}',
            "3:64: memory transposed changes nothing: operand_1 has fewer than two axes longer than one",
        ),
        (
            '{equation: ",i", shapes: [[], [3]], memory: {operand_0: unaligned}}',
            "3:64: memory unaligned changes nothing: operand_0 is a scalar",
        ),
        (
            '{equation: "i,j", shapes: [[0], [3]], memory: {operand_0: reversed, operand_1: reversed}}',
            "3:66: memory reversed changes nothing: operand_0 has no elements",
        ),
        (
            '{equation: "ij,jk", shapes: [[2, 3], [3, 4]], memory: shared, gradient: false}',
            "3:62: memory shared changes nothing: operand_1 has the shape and dtype of no operand before it",
        ),
        (
            '{equation: "ij,jk", shapes: [[3, 3], [3, 3]], memory: {operand_0: shared}, gradient: false}',
            "3:74: memory shared changes nothing: operand_0 has the shape and dtype of no operand before it",
        ),
        (
            '{equation: "ij->ij", shapes: [[2, 3]], memory: {cotangent: strided}, gradient: false}',
            "3:67: memory strided changes nothing: cotangent is not there without a gradient",
        ),
        (
            '{equation: "ij->", shapes: [[2, 3]], memory: {cotangent: strided}}',
            "3:65: memory strided changes nothing: cotangent has no axis longer than one",
        ),
        (
            '{equation: "i->", memory: transposed, sweep: {shapes: [[[3]], [[4]]]}}',
            "3:34: memory transposed changes nothing: operand_0 has fewer than two axes longer than one",
        ),
    ],
)
def test_a_layout_that_changes_nothing_is_refused(problems_of, entry: str, problem: str) -> None:
    assert problems_of(einsum_file(entry)) == [problem]


@pytest.mark.parametrize(
    "entry",
    [
        '{equation: "ij->", memory: transposed, sweep: {shapes: [[[3, 3]], [[3, 1]]]}}',
        '{equation: ",ij", shapes: [[], [3, 2]], memory: transposed}',
        '{equation: "i->", shapes: [[1]], memory: {operand_0: contiguous}}',
        '{equation: "ij,jk", shapes: [[1, 3], [2, 2]], memory: transposed, gradient: false, '
        "expect: {error: size_mismatch}}",
    ],
)
def test_a_layout_may_be_stated_where_it_changes_something_somewhere(cases_of, entry: str) -> None:
    assert cases_of(einsum_file(entry))


def test_defaults_may_have_a_layout_that_not_every_case_can_have(cases_of) -> None:
    assert cases_of("""
        kind: einsum
        defaults: {memory: transposed}
        cases:
          product: {equation: "ij,jk", shapes: [[2, 3], [3, 4]]}
          scalar: {equation: "->", shapes: [[]]}
        """)


@pytest.mark.parametrize(
    ("config", "layouts"),
    [
        (EinsumConfig(equation="i,j", shapes=[[3], [3]], memory="shared", gradient=False), {"operand_1": "shared"}),
        (
            EinsumConfig(
                equation="i,j",
                shapes=[[3], [3]],
                operand_dtypes=["float16", "float32"],
                dtypes=["float32"],
                memory="shared",
                gradient=False,
            ),
            {},
        ),
        (AttentionConfig(**ATTENTION, memory="shared", gradient=False), {"value": "shared"}),
        (
            AttentionConfig(**ATTENTION, bias="alibi", memory="broadcast"),
            {"query": "broadcast", "key": "broadcast", "value": "broadcast", "cotangent": "broadcast"},
        ),
    ],
)
def test_layouts_of_operands_that_change_something(config, layouts: dict[str, str]) -> None:
    assert effective_layouts(config) == layouts
