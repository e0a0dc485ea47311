"""One self-contained HTML file: style, script and data inside it, nothing fetched, nothing run but our own script.

The text of a case file or of an exception can be anything.  A template escapes what it shows, data are a block that no
browser runs, scripts make elements and never markup, and the page's own policy lets no other script run.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

HERE = Path(__file__).resolve().parent
# `<` ends a block and `&` begins an entity; the separators end a line in JavaScript
DANGEROUS = {character: f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}

# A verdict is never told by its colour alone
GLYPHS = {"pass": "✓", "deviation": "≠", "unsupported": "○", "fail": "✕", "error": "!"}

ENVIRONMENT = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(template: str, styles: Iterable[str], scripts: Iterable[str], data: Any, **values: Any) -> str:
    """The page that a template makes of these assets, by name, and of `data`, which the scripts find as JSON."""
    style, script = _joined(styles), f'"use strict";\n(() => {{\n{_joined(scripts)}}})();\n'
    policy = f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; img-src data:"
    inside = {"style": Markup(style), "script": Markup(script), "data": embedded(data), "policy": policy}
    return ENVIRONMENT.get_template(template).render(**inside, glyphs=GLYPHS, **values)


def embedded(data: Any) -> Markup:
    """JSON that can stand inside a `<script type="application/json">`, whatever the texts in it hold."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character, escape in DANGEROUS.items():  # outside a string none of them occurs
        text = text.replace(character, escape)
    return Markup(text)


def _joined(names: Iterable[str]) -> str:
    return "".join((HERE / "assets" / name).read_text(encoding="utf-8") for name in names)


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
