"""The answer as one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Sequence

from reports.compare.sections import Section
from reports.html import render

# A longer table is folded; a tone has the colour of a verdict
LOOKS = {"open": 40, "tones": {"good": "pass", "bad": "fail", "plain": ""}}


def text(sections: Sequence[Section]) -> str:
    return render("compare.html", ["style.css"], [], {}, sections=sections, **LOOKS)
