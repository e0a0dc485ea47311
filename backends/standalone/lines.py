"""A program's lines, and which of them are needed."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Line:
    """One statement.

    text      its first line, without indentation
    assigns   the name that it assigns
    reads     the names that it reads
    needed    whether it has another effect and so stays even if nothing reads the name
    body      the lines within it
    """

    text: str
    assigns: str | None = None
    reads: frozenset[str] = frozenset()
    needed: bool = False
    body: Block | None = None


@dataclass
class Block:
    """Lines in order; `result` is the expression that a function returns, and `reads` the names in it."""

    lines: list[Line] = field(default_factory=list)
    result: str | None = None
    reads: frozenset[str] = frozenset()


def prune(block: Block, names: frozenset[str]) -> tuple[list[str], frozenset[str]]:
    """The text of the lines on which `names` or needed lines depend, and the names that must be defined before them."""
    needed = set(names | block.reads)
    lines: list[str] = [] if block.result is None else [f"return {block.result}"]
    for line in reversed(block.lines):
        if not line.needed and line.assigns not in needed:
            continue
        text, reads = [line.text], set(line.reads)
        if line.body is not None:
            scoped = line.text.startswith("with ")
            body, body_reads = prune(line.body, frozenset(needed) if scoped else frozenset())
            text += [f"    {inner}" for inner in body or ["pass"]]
            reads |= body_reads
            if scoped and line.assigns in body_reads:
                text[0] = f"{line.text[:-1]} as {line.assigns}:"
        needed |= reads
        lines[:0] = text
    return lines, frozenset(needed)
