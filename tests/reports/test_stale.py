"""When a recorded deviation is stale, and that a session of the standard tier finds it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from reports.stale import Stale
from specs.verdict.deviation import Deviation, DeviationEntry
from specs.verdict.record import STALE
from tests.support.project import ADAPTER, PRODUCTS, Project
from tests.support.runs import case, record

PRODUCT = case("einsum/products::product", 5)


@pytest.mark.parametrize(
    ("declared", "stale"),
    [({"accumulate": "float32"}, True), ({"accumulate": "bfloat16"}, False), ("exact", True)],
)
def test_a_loss_that_the_backend_declares_here_is_not_stale(declared: object, stale: bool) -> None:
    fields = {"match": {"case": PRODUCT.id}, "observed": {"precision": {"accumulate": "bfloat16"}}}
    entry = Deviation.model_validate({**fields, "grade": "limitation", "reason": "It sums in bfloat16."})
    plugin = Stale({"torch": [DeviationEntry(entry, Path("torch.yaml"), 3)]}, {})
    passing_record = record(PRODUCT, "torch").as_json() | {"bound": {"precision": declared}}
    plugin.pytest_runtest_logreport(SimpleNamespace(conformance=passing_record))  # type: ignore[arg-type]
    assert (False in plugin._silent().values()) == stale


DEAR = (
    ADAPTER.format(name="dear", distribution="numpy", start="pass", body="", devices=["cpu"])
    + """
    default_modes = ("eager", "jit")
    usual_mode = "jit"
    cheap_modes = frozenset()
"""
)
GONE = """\
- match: {case: "products::*", mode: eager}
  observed: {error: no kernel}
  grade: limitation
  reason: There was no such kernel.
"""


def test_standard_runs_what_is_recorded_and_finds_that_it_is_gone(project: Project) -> None:
    """The adapter has nothing cheap, so that standard would leave out most checks of its eager mode."""
    project.write("dear.py", DEAR)
    project.write("cases/products.yaml", PRODUCTS.replace("[float64], implementations: [einsum]", "[float64, float32]"))
    options = ["--adapter=dear.py", "--backend=dear"]
    project.run("", *options)
    assert {record["verdict"] for record in project.records().values()} == {"pass"}
    without = eager(project)
    project.write("deviations/dear.yaml", GONE)
    assert project.run("", *options, "--tier=standard").ret == pytest.ExitCode.TESTS_FAILED
    stale = {id for id, record in project.records().items() if record["reason"].startswith(STALE)}
    assert stale == eager(project)
    assert without < stale
    assert len(stale) == 4 * 2 * 2  # each case, implementation and dtype


def eager(project: Project) -> set[str]:
    return {id for id, record in project.records().items() if record["mode"] == "eager"}
