"""The attention bound: correct attention stays within it however it is written."""

import pytest

from tests.support.narrow_attention import CONFIGS, PRECISIONS, WRITTEN, made, ratio_of


@pytest.mark.parametrize("name", CONFIGS, ids=lambda n: n.replace(" ", "_"))
@pytest.mark.parametrize("precision", PRECISIONS, ids=lambda n: n.replace(" ", "_"))
def test_correct_attention_stays_within_the_bound_however_it_is_written(name: str, precision: str) -> None:
    dtype, formats = PRECISIONS[precision]
    ratios = {}
    for seed in range(2):
        for how, written in WRITTEN.items():
            ratios[how, seed] = ratio_of(made(name, seed)[1], dtype, formats, written)
    assert max(ratios.values()) <= 1, ratios
