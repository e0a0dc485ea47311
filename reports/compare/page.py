"""The answer as one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Sequence

from reports.compare.sections import Section
from reports.html import render

OPEN = 40  # a longer table is folded
TONES = {"good": "pass", "bad": "fail", "plain": ""}


def text(sections: Sequence[Section]) -> str:
    return render("compare.html", ["style.css"], [], {}, sections=sections, tones=TONES, open=OPEN)
