"""Correct attention is within its error bound, however it is written."""

import pytest

from tests.support.narrow_arithmetic import worst_ratio
from tests.support.narrow_attention import (
    CONFIGS,
    FORMULATIONS,
    PRECISIONS,
    SimulatedAttention,
    declare,
    error_ratio_of,
    make_case,
    operands_of,
    reference_of,
)


@pytest.mark.parametrize("name", CONFIGS, ids=lambda n: n.replace(" ", "_"))
@pytest.mark.parametrize("precision", PRECISIONS, ids=lambda n: n.replace(" ", "_"))
def test_correct_attention_stays_within_the_bound_however_it_is_written(name: str, precision: str) -> None:
    dtype, formats = PRECISIONS[precision]
    ratios = {}
    for seed in range(2):
        case = make_case(name, seed)[1]
        for formulation, options in FORMULATIONS.items():
            ratios[formulation, seed] = error_ratio_of(case, dtype, formats, options)
    assert max(ratios.values()) <= 1, ratios


@pytest.mark.parametrize(("scale", "is_wrong"), [(0.3, True), (0.25, False)])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_query_that_is_scaled_and_stored_must_be_declared_unless_that_rounds_nothing(
    dtype: str, scale: float, is_wrong: bool
) -> None:
    options, formats = {"fused": 3, "prescaled": True}, {"weights": "float32"}
    case, declared = make_case("plain", scale=scale)[1], declare(dtype, formats, options)
    output = SimulatedAttention(declared, **options).attend(case.config, operands_of(case, dtype))
    undeclared = declare(dtype, formats, {"fused": 3})
    assert worst_ratio(output, reference_of(case, declared, dtype)) <= 1
    assert (worst_ratio(output, reference_of(case, undeclared, dtype)) > 1) == is_wrong
