"""One self-contained HTML file: style, script and data inside it, nothing fetched, nothing run but our own script.

The text of a case file or of an exception can be anything.  A template escapes what it shows, data are compressed into
letters that end no block, scripts make elements and never markup, and the page's own policy lets no other script run.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

HERE = Path(__file__).resolve().parent

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
    """The page that a template makes of these assets, by name, and of `data`, which the scripts unpack.

    The scripts are one function, and what follows an `await` in one of them waits for it, in all that come after too.
    """
    style, script = _joined(styles), f'"use strict";\n(async () => {{\n{_joined(scripts)}}})();\n'
    policy = f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; img-src data:"
    inside = {"style": Markup(style), "script": Markup(script), "data": packed(data), "policy": policy}
    return ENVIRONMENT.get_template(template).render(**inside, glyphs=GLYPHS, **values)


def packed(data: Any) -> str:
    """JSON, compressed, in base64: the same letters for the same data, none of which ends a block or begins another."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def _joined(names: Iterable[str]) -> str:
    return "".join((HERE / "assets" / name).read_text(encoding="utf-8") for name in names)


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
