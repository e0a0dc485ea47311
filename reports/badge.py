"""`badge.json`: a run in one line, for shields.io's endpoint badge (https://shields.io/badges/endpoint-badge)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from reports.read import Run


def badge(run: Run, records: Sequence[dict[str, Any]]) -> str:
    """Red where a check failed or a session did for another reason; grey where results are missing."""
    counts = Counter(record["verdict"] for record in records)
    told = [f"{counts[verdict]} {verdict}" for verdict in ("fail", "error") if counts[verdict]]
    if not run.facts["complete"]:
        told.append("incomplete")
    red = counts["fail"] or counts["error"] or run.facts["exit_status"]
    colour = "red" if red else "brightgreen" if run.facts["complete"] else "lightgrey"
    message = ", ".join([*told, f"{counts['pass']} pass"])
    content = {"schemaVersion": 1, "label": "conformance", "message": message, "color": colour, "isError": bool(red)}
    return json.dumps(content, indent=1) + "\n"
