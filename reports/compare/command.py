"""`python -m reports compare OLD NEW`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from reports.compare import markdown, page, text
from reports.compare.runs import compare, side
from reports.compare.sections import build_sections
from reports.folders import refuse_file_of_run
from reports.read import read

DESCRIPTION = """\
Show what changed from one run to another.  Exit status: 0 if nothing became worse, 1 if something did or if the new run
is not whole, 2 for a wrong command line."""


def add(commands: Any) -> None:
    parser = commands.add_parser("compare", help="what changed between two runs", description=DESCRIPTION)
    parser.add_argument("old", type=Path, help="folder of the earlier run")
    parser.add_argument("new", type=Path, help="folder of the later run")
    allow = "list changes for the worse of these checks, but accept them; * and ? are wildcards, brackets are literal"
    parser.add_argument("--allow", action="append", default=[], metavar="PATTERN", help=allow)
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a self-contained page as well")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write Markdown as well")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    for file in filter(None, (options.html, options.markdown)):
        refuse_file_of_run(file)
    comparison = compare(side(read(options.old)), side(read(options.new)), options.allow)
    sections = build_sections(comparison)
    for file, write in ((options.html, page.render_page), (options.markdown, markdown.render_markdown)):
        if file:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(write(sections), encoding="utf-8")
    print(*text.format_lines(sections), sep="\n")
    return 0 if comparison.is_conclusive and not comparison.regressed else 1
