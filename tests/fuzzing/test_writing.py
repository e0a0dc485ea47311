"""A config is written as a case file, and reading that gives the same case."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fuzzing import search, writing
from fuzzing.examples import make_example
from specs.case.attention import AttentionConfig
from specs.case.case import Config
from specs.case.einsum import EinsumConfig
from specs.case.loading import load
from specs.inputs import inputs


def reread(config: Config, path: Path, about: str = "") -> Config:
    path.write_text(writing.format_case(config, about), encoding="utf-8")
    (case,) = load(path, path.parent)
    assert (case.name, case.line) == (writing.case_name(config), writing.make_case(config, path).line)
    return case.config


def test_every_example_survives_being_written(tmp_path: Path) -> None:
    for index in range(300):
        config = make_example(3, index, search.weighted_dtypes([]))
        assert reread(config, tmp_path / "x.yaml") == config


@pytest.mark.parametrize("fill", [float("-inf"), -1e-7, "lowest"])
def test_numbers_and_strings_are_written_as_valid_yaml(tmp_path: Path, fill: float | str) -> None:
    config = AttentionConfig(q_len=2, head_dim=1, mask={"type": "additive", "fill": fill}, dtypes=["float32"])
    assert reread(config, tmp_path / "x.yaml") == config


def test_an_about_is_cut_to_one_line_of_a_valid_length(tmp_path: Path) -> None:
    config = EinsumConfig(equation="i", shapes=[[1]])
    assert reread(config, tmp_path / "x.yaml", 'raised "this": \\ … ' + "x" * 400).about
    assert writing.case_name(config) == writing.case_name(config.model_copy(update={"about": "Another sentence."}))


def test_a_case_with_a_seed_has_the_same_inputs_wherever_it_is_pasted(tmp_path: Path) -> None:
    config = EinsumConfig(equation="ij", shapes=[[3, 4]], seed=5, dtypes=["float32"])
    path = tmp_path / "cases" / "pasted" / "x.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(writing.format_case(config).replace(writing.case_name(config), "renamed"), encoding="utf-8")
    (pasted,) = load(path, tmp_path)
    assert pasted.id == "pasted/x::renamed"
    generated = inputs.operands(writing.make_case(config, tmp_path), "float32")["operand_0"]
    np.testing.assert_array_equal(inputs.operands(pasted, "float32")["operand_0"], generated)
    other = inputs.operands(writing.make_case(config.model_copy(update={"seed": 6}), tmp_path), "float32")["operand_0"]
    assert not np.array_equal(other, generated)
