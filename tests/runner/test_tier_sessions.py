"""What the tier of a session is seen by: what is collected, the first line, and the run's description."""

from __future__ import annotations

import pytest

from tests.support.project import Project, ids

CASES = """\
kind: einsum
defaults: {dtypes: [float64, float32]}
cases:
  product: {equation: "ij,jk->ik", shapes: [[2, 3], [3, 4]]}
  transpose: {equation: "ij->ji", shapes: [[2, 3]]}
  trace: {equation: "ii->", shapes: [[3, 3]]}
"""
DEAR = """
    default_modes = ("eager", "jit")
    cheap_modes = frozenset()
"""


@pytest.fixture
def dear(project: Project) -> Project:
    """A project with a backend of which standard runs a part."""
    text = (project.fakes / "right.py").read_text().replace('name = "right"', 'name = "dear"')
    (project.fakes / "dear.py").write_text(text.replace("    modes =", DEAR + "    modes ="))
    project.write("cases/products.yaml", CASES)
    return project


def test_standard_is_a_part_of_full_and_smoke_a_handful(dear: Project) -> None:
    full = dear.collected("dear", "--tier=full")
    assert len(full) == 3 * 2 * 2 * 2
    standard = dear.collected("dear")
    assert standard == dear.collected("dear", "--tier=standard")
    assert set(standard) < set(full)
    assert {id for id in full if "-eager-" in id} <= set(standard)  # its own operations in the usual mode
    assert {id.partition("[")[0] for id in standard if "-jit-" in id} == {id.partition("[")[0] for id in full}
    assert len(dear.collected("dear", "--tier=smoke")) == 2


def test_what_is_named_runs_in_full(dear: Project) -> None:
    named = [id for id in dear.collected("dear", "--tier=full") if "::product[" in id]
    assert dear.collected("dear", "cases/products.yaml::product") == named
    (jit,) = ids("trace", backend="dear", mode="jit")
    assert dear.collected("dear", jit) == [jit]


def test_a_part_is_chosen_within_what_the_options_leave(dear: Project) -> None:
    chosen = dear.collected("dear", "--mode=jit")
    assert {id.partition("[")[0] for id in chosen} == {id.partition("[")[0] for id in dear.collected("dear")}
    assert {"float64", "float32"} == {id[:-1].rpartition("-")[2] for id in chosen}


def test_workers_run_what_the_controller_chose(dear: Project) -> None:
    dear.run("dear", "-n", "2").assert_outcomes(passed=len(dear.collected("dear")))
    assert sorted(dear.records()) == sorted(dear.collected("dear"))


def test_a_session_and_its_run_say_which_tier_it_is(dear: Project) -> None:
    result = dear.run("dear", "--tier=smoke")
    assert result.outlines[0].startswith("smoke tier: ")
    result.stdout.fnmatch_lines(["*conformance, smoke tier*"])
    assert dear.facts()["tier"] == "smoke"
    assert "The smoke tier" in (dear.folder / "summary.md").read_text()


def test_an_unknown_tier_is_refused(dear: Project) -> None:
    result = dear.run("dear", "--tier=standart")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--tier standart: unknown (did you mean standard?)*"])
