"""A config becomes text, and the text becomes the same case."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fuzzing import search, writing
from fuzzing.examples import example
from specs.case.attention import AttentionConfig
from specs.case.case import Config
from specs.case.einsum import EinsumConfig
from specs.case.loading import load
from specs.inputs import inputs


def reread(config: Config, path: Path, about: str = "") -> Config:
    path.write_text(writing.text(config, about), encoding="utf-8")
    (found,) = load(path, path.parent)
    assert (found.name, found.line) == (writing.name(config), writing.case(config, path).line)
    return found.config


def test_every_example_survives_being_written(tmp_path: Path) -> None:
    for index in range(300):
        config = example(3, index, search.dtypes([]))
        assert reread(config, tmp_path / "x.yaml") == config


@pytest.mark.parametrize("fill", [float("-inf"), -1e-7, "lowest"])
def test_numbers_and_words_are_written_as_yaml_has_them(tmp_path: Path, fill: float | str) -> None:
    config = AttentionConfig(q_len=2, head_dim=1, mask={"type": "additive", "fill": fill}, dtypes=["float32"])
    assert reread(config, tmp_path / "x.yaml") == config


def test_what_was_found_is_told_in_one_line_of_a_length_that_is_valid(tmp_path: Path) -> None:
    config = EinsumConfig(equation="i", shapes=[[1]])
    assert reread(config, tmp_path / "x.yaml", 'raised "this": \\ … ' + "x" * 400).about
    assert writing.name(config) == writing.name(config.model_copy(update={"about": "Another sentence."}))


def test_a_case_with_a_seed_has_the_same_inputs_wherever_it_is_pasted(tmp_path: Path) -> None:
    config = EinsumConfig(equation="ij", shapes=[[3, 4]], seed=5, dtypes=["float32"])
    path = tmp_path / "cases" / "pasted" / "x.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(writing.text(config).replace(writing.name(config), "renamed"), encoding="utf-8")
    (pasted,) = load(path, tmp_path)
    assert pasted.id == "pasted/x::renamed"
    generated = inputs.operands(writing.case(config, tmp_path), "float32")["operand_0"]
    np.testing.assert_array_equal(inputs.operands(pasted, "float32")["operand_0"], generated)
    other = inputs.operands(writing.case(config.model_copy(update={"seed": 6}), tmp_path), "float32")["operand_0"]
    assert not np.array_equal(other, generated)
