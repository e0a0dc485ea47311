"""When a recorded loss of precision is stale: not if the backend declares it on this machine."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from reports.stale import Stale
from specs.verdict.deviation import Deviation, DeviationEntry
from tests.support.runs import case, record

PRODUCT = case("einsum/products::product", 5)


@pytest.mark.parametrize(
    ("declared", "stale"),
    [({"accumulate": "float32"}, True), ({"accumulate": "bfloat16"}, False), ("exact", True)],
)
def test_a_loss_that_the_backend_declares_here_is_not_stale(declared: object, stale: bool) -> None:
    fields = {"match": {"case": PRODUCT.id}, "observed": {"precision": {"accumulate": "bfloat16"}}}
    entry = Deviation.model_validate({**fields, "grade": "limitation", "reason": "It sums in bfloat16."})
    plugin = Stale({"torch": [DeviationEntry(entry, Path("torch.yaml"), 3)]})
    passing_record = record(PRODUCT, "torch").as_json() | {"bound": {"precision": declared}}
    plugin.pytest_runtest_logreport(SimpleNamespace(conformance=passing_record))  # type: ignore[arg-type]
    assert bool(list(plugin._stale([record(PRODUCT, "torch").case]))) == stale
