"""A program's lines, and which of them are needed."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Line:
    """One statement: the text, the names that it gives values to and that it reads, and the lines within it.

    needed   it does something besides giving a value, so it stays even if nothing reads that
    """

    text: str
    gives: str | None = None
    reads: frozenset[str] = frozenset()
    needed: bool = False
    body: Block | None = None


@dataclass
class Block:
    """Lines in order; `result` is what a function's block returns."""

    lines: list[Line] = field(default_factory=list)
    result: str | None = None
    reads: frozenset[str] = frozenset()


def pruned(block: Block, wanted: frozenset[str]) -> tuple[list[str], frozenset[str]]:
    """The text of the lines that `wanted` names or lines that must stay depend on, and what they read from outside."""
    needed = set(wanted | block.reads)
    kept: list[str] = [] if block.result is None else [f"return {block.result}"]
    for line in reversed(block.lines):
        if not line.needed and line.gives not in needed:
            continue
        text, reads = [line.text], set(line.reads)
        if line.body is not None:
            scoped = line.text.startswith("with ")
            inside, outer = pruned(line.body, frozenset(needed) if scoped else frozenset())
            text += [f"    {each}" for each in inside or ["pass"]]
            reads |= outer
            if scoped and line.gives in outer:
                text[0] = f"{line.text[:-1]} as {line.gives}:"
        needed |= reads
        kept[:0] = text
    return kept, frozenset(needed)
