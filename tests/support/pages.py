"""Pages of made-up runs with planted failures, and what a reader sees of them."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

from playwright.sync_api import Page

from reports import views
from specs.case.case import Case
from specs.case.einsum import EinsumConfig
from specs.verdict.record import Record
from tests.support.runs import MASKED, case, record, write_run

FAILURE = "15 of 15 values are outside the error bound; consistent with operands rounded to bfloat16"
DEVIATION = {
    "reason": "A query without any key yields zeros.",
    "observed": {"fully_masked": "zeros"},
    "grade": "choice",
    "link": "https://example.org/thread/1",
    "place": "torch.yaml:7",
}
ODD_IDS = (
    "plain",
    "cases/einsum/products.yaml::product[numpy-cpu-einsum-eager-float64]",
    "../else where/my cases.yaml::a[b]['c'][torch-cuda:0-einsum-jit-float32-grad]",
    """../cases/größe.yaml::∑ "sums" it's $HOME `x` \\ \u2028[torch-cpu-einsum-eager-float64]""",
    "pytest cases/x.yaml::python -m runner [x]",
)
PRODUCT = case("einsum/products::product", 5)
DIAGONAL = case("einsum/products::diagonal", 9, EinsumConfig(equation="ii->i", shapes=[[3, 3]]))
ROW = case("attention/masks::causal_row", 4, MASKED)


def make_records() -> list[Record]:
    """A pass of each backend at two dtypes, with a failure, a deviation and something unsupported among them."""
    records = []
    for backend in ("jax", "numpy", "torch"):
        for dtype in ("float64", "bfloat16"):
            for einsum_case in (PRODUCT, DIAGONAL):
                records.append(record(einsum_case, backend, dtype=dtype, ratio=0.25 if einsum_case is PRODUCT else 0.0))
    records[8] = record(PRODUCT, "torch", "fail", 5677.0, reason=FAILURE)
    records[7] = record(DIAGONAL, "numpy", "unsupported", None, dtype="bfloat16", reason="NumPy has no bfloat16")
    for backend, implementation in (("jax", "dot-product-attention"), ("torch", "sdpa")):
        records.append(record(ROW, backend, implementation=implementation, ratio=0.5))
    records[-1] = record(
        ROW, "torch", "deviation", 1e9, implementation="sdpa", reason=DEVIATION["reason"], deviation=DEVIATION
    )
    return records


def make_page(folder: Path, cases: list[Case], records: list[Record], **facts: object) -> Path:
    write_run(folder, cases, records, facts)
    assert views.write(folder) == {}
    return folder


def block(text: str) -> re.Match[str]:
    """The script element with the data of a page, as group `data`."""
    match = re.search(r'<script type="application/gzip" id="data">(?P<data>.*?)</script>', text)
    assert match
    return match


def read_data(folder: Path) -> dict[str, Any]:
    """The data in the page of a run."""
    text = (folder / "index.html").read_text(encoding="utf-8")
    return json.loads(gzip.decompress(base64.b64decode(block(text)["data"])))


Look = Callable[..., Page]  # opens the page of a run's folder, in the state that its address encodes


def state(page: Page) -> dict[str, list[str]]:
    return parse_qs(page.url.partition("#")[2])


def count(page: Page) -> str:
    return page.get_by_role("status").inner_text()


def cells(page: Page) -> list[str]:
    return [cell.get_attribute("aria-label") or "" for cell in page.locator("table.grid .cell").all()]


def check_address(record: Record) -> str:
    return urlencode({"at": record.case, "check": record.id})
