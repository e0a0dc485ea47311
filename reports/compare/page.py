"""A comparison as one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Sequence

from reports.compare.sections import Section
from reports.html import render

# Tables with more than `open` rows are folded; each tone has the colour of a verdict
SECTION_OPTIONS = {"open": 40, "tones": {"good": "pass", "bad": "fail", "plain": ""}}


def render_page(sections: Sequence[Section]) -> str:
    return render("compare.html", ["style.css"], [], {}, sections=sections, **SECTION_OPTIONS)
