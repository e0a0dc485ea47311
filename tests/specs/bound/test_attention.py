"""Correct attention is within its error bound, however it is written."""

import pytest

from tests.support.narrow_attention import CONFIGS, FORMULATIONS, PRECISIONS, error_ratio_of, make_case


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
