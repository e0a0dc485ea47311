"""`index.html`: a run in one HTML file, from the grid of all case families down to a single check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from reports.arithmetic import collect_rows
from reports.columns import to_columns
from reports.compare.page import SECTION_OPTIONS
from reports.compare.sections import Section
from reports.html import GLYPHS, render
from reports.notices import collect_notices
from reports.reach import collect_reach
from reports.read import Run
from specs.case.common import RECIPES
from specs.verdict.effective import PROPERTIES
from specs.verdict.record import VERDICTS

STYLES = ("style.css", "page.css")
SCRIPTS = (
    *("theme.js", "dom.js", "data.js", "state.js", "grid.js", "list.js", "margin.js", "check.js", "case.js"),
    *("reach.js", "page.js"),
)


def render_page(run: Run, records: Sequence[dict[str, Any]]) -> str:
    """The whole file; raises RunError if a file is missing from the run's folder."""
    notices = [asdict(notice) for notice in collect_notices(run, {record["backend"] for record in records})]
    data = {
        "versions": {name: finding["version"] for name, finding in run.facts["backends"].items()},
        "verdicts": VERDICTS,
        "glyphs": GLYPHS,
        "recipes": RECIPES,
        "reach": collect_reach(records, run.cases()),
        **to_columns(records, run.cases()),
    }
    changes = run.facts.get("changes")  # a run without --baseline has none
    if changes:
        changes = {"since": changes["since"], "sections": [Section.from_json(entry) for entry in changes["sections"]]}
    values = {"facts": run.facts, "notices": notices, "changes": changes, "count": len(records)}
    arithmetic = collect_rows(records)
    return render(
        "page.html", STYLES, SCRIPTS, data, **values, **SECTION_OPTIONS, arithmetic=arithmetic, properties=PROPERTIES
    )
