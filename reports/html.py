"""One self-contained HTML file with its style, script and data; it fetches nothing and runs only our own script.

The text of a case file or an exception is untrusted.  Templates escape it, data are compressed to base64, which cannot
close a script block, scripts create elements and never markup, and the page's CSP lets no other script run.
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

FOLDER = Path(__file__).resolve().parent

# A verdict is never shown by colour alone
GLYPHS = {"pass": "✓", "deviation": "≠", "unsupported": "○", "fail": "✕", "error": "!"}

ENVIRONMENT = Environment(
    loader=FileSystemLoader(FOLDER / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(template: str, styles: Iterable[str], scripts: Iterable[str], data: Any, **values: Any) -> str:
    """Render a template with the named assets and with `data`, which the scripts unpack.

    All scripts are joined into one async function, so an `await` in one also delays those that follow it.
    """
    style, script = _join_assets(styles), f'"use strict";\n(async () => {{\n{_join_assets(scripts)}}})();\n'
    policy = f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; img-src data:"
    parts = {"style": Markup(style), "script": Markup(script), "data": pack(data), "policy": policy}
    return ENVIRONMENT.get_template(template).render(**parts, glyphs=GLYPHS, **values)


def pack(data: Any) -> str:
    """JSON, compressed, in base64: deterministic, and without any character that could close or open an HTML block."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def _join_assets(names: Iterable[str]) -> str:
    return "".join((FOLDER / "assets" / name).read_text(encoding="utf-8") for name in names)


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
