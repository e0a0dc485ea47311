"""`index.html`: a run to look at, from the grid of all case families down to one check, in one file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from reports.arithmetic import rows
from reports.columns import columns
from reports.compare.page import LOOKS
from reports.html import GLYPHS, render
from reports.notices import notices
from reports.read import Run
from specs.case.common import RECIPES
from specs.verdict.effective import PROPERTIES
from specs.verdict.record import VERDICTS

STYLES = ("style.css", "page.css")
SCRIPTS = (
    *("theme.js", "dom.js", "data.js", "state.js", "grid.js", "list.js", "margin.js", "check.js", "case.js"),
    "page.js",
)


def page(run: Run, records: Sequence[dict[str, Any]]) -> str:
    """The whole file; raises RunError where the run's folder lacks what it needs."""
    said = [asdict(notice) for notice in notices(run, {record["backend"] for record in records})]
    data = {
        "versions": {name: finding["version"] for name, finding in run.facts["backends"].items()},
        "verdicts": VERDICTS,
        "glyphs": GLYPHS,
        "recipes": RECIPES,
        **columns(records, run.cases()),
    }
    shown = {"facts": run.facts, "notices": said, "count": len(records)}
    return render("page.html", STYLES, SCRIPTS, data, **shown, **LOOKS, arithmetic=rows(records), properties=PROPERTIES)
