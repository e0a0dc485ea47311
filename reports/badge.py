"""`badge.json`: a run in one line, for the endpoint badge of shields.io (https://shields.io/badges/endpoint-badge)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from reports.read import Run


def render_badge(run: Run, records: Sequence[dict[str, Any]]) -> str:
    """The badge's JSON.

    Red if a check failed, nothing was computed or the session failed for another reason; grey if results are missing.
    """
    counts = Counter(record["verdict"] for record in records)
    parts = [f"{counts[verdict]} {verdict}" for verdict in ("fail", "error") if counts[verdict]]
    if not run.facts["complete"]:
        parts.append("incomplete")
    if is_empty := counts.total() == counts["unsupported"]:
        parts.append("nothing computed")
    is_red = counts["fail"] or counts["error"] or run.facts["exit_status"] or (is_empty and run.facts["complete"])
    colour = "red" if is_red else "brightgreen" if run.facts["complete"] else "lightgrey"
    message = ", ".join([*parts, f"{counts['pass']} pass"])
    content = {"schemaVersion": 1, "label": "conformance", "message": message, "color": colour, "isError": bool(is_red)}
    return json.dumps(content, indent=1) + "\n"
