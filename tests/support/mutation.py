"""Random edits of YAML files: of their text, as a slip of the hand or a broken editor makes them, and of their content.

Every edit is drawn from the generator that it is given, so the same seed gives the same files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

from specs.case import yaml12

DEEP = 100_000
TOKENS = {
    "numbers": """
        0 -1 1.5 1e9 1000000000 99999999999999999999 1e999 1e-999 -.inf .nan .nan+0j 0x1p-1080 0o17 1_000 12:30 1-2j
        1e400j
    """,
    "words": """
        einsum attention float32 int8 bool xla sdpa true null ~ no '' ' " *a kind cases sweep defaults operands expect
        value error sizes shapes equation ... -> ij,jk->ik a,b,c,d é
    """,
    "scraps": "\0 \ufeff \x1b[31m \x7f \U0001f600 # : - ? { ] &a *a | > !!python/object:os.system !!int %YAML --- ...",
}
NUMBERS = [*TOKENS["numbers"].split(), "9" * 5000, "0x" + "f" * 5000, "0o" + "7" * 20_000]
WORDS = [*TOKENS["words"].split(), "\u202e", "\u2028", "i" * 100 + "->", ",".join(["i"] * 999) + "->"]
BLANKS = ("\t", "\r", "\x85", "\u2028", "\n\n", " ", ": ", "- ", "? ", "&a ", "<<: *a", "%YAML 1.1\n", "---\n")
SCRAPS = [*TOKENS["scraps"].split(), *BLANKS]
VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 1000, 2**63, 2**64, 10**300, 1.5, float("nan"), float("inf"), "", "x", "float32", "->", "…"),
    *([], {}, [[]], [[1], [2, 3]], [1] * 100, [[1] * 40] * 3, {"a": 1}, {"value": [1, [2]]}, {"sizes": [{"i": 1}]}),
    *(["float32", "float32"], ["int8"], [10**9, 10**9], [[10**9, 10**9], [10**9]], {"i": 10**12}),
    {"equation": ["i->"] * 1001},
    {"seed": list(range(40)), "memory": ["strided"] * 40},
)

Edit = Callable[[str, Random], str]


def excerpt(file: Path, random: Random, count: int = 2) -> str:
    """A file with only a few of its entries: cases, or deviations."""
    text = file.read_text(encoding="utf-8")
    lines, document = text.splitlines(keepends=True), yaml12.parse(text.encode())
    if isinstance(document.data, list):
        starts = [document.positions[index,].line - 1 for index in range(len(document.data))]
    else:
        starts = [document.key_positions["cases", name].line - 1 for name in document.data["cases"]]
    chosen = random.sample(range(len(starts)), min(count, len(starts)))
    ends = [*starts[1:], len(lines)]
    return "".join([*lines[: starts[0]], *(line for index in chosen for line in lines[starts[index] : ends[index]])])


def mutate(text: str, random: Random) -> bytes:
    """The text after one to three edits; half of the files stay YAML, so that what they say is read."""
    edits = EDITS if random.random() < 0.5 else (_edit_content,)
    for _ in range(random.randint(1, 3)):
        text = random.choice(edits)(text, random)
    content = text.encode("utf-8", "surrogatepass")
    if random.random() < 0.03:  # not UTF-8 at all
        at = random.randint(0, len(content))
        content = content[:at] + random.choice([b"\xff", b"\xc3", b"\xed\xa0\x80", b"\x00"]) + content[at:]
    return content


# Of the text ----------------------------------------------------------------------------------------------------------


def _slice(text: str, random: Random, longest: int = 40) -> tuple[int, int]:
    start = random.randint(0, len(text))
    return start, min(len(text), start + random.randint(1, longest))


def _delete(text: str, random: Random) -> str:
    start, end = _slice(text, random)
    return text[:start] + text[end:]


def _repeat(text: str, random: Random) -> str:
    start, end = _slice(text, random, 400)
    return text[:end] + text[start:end] + text[end:]


def _move_line(text: str, random: Random) -> str:
    lines = text.splitlines(keepends=True)
    if lines:
        line = lines.pop(random.randrange(len(lines)))
        lines.insert(random.randint(0, len(lines)), line)
    return "".join(lines)


def _insert(text: str, random: Random) -> str:
    at = random.randint(0, len(text))
    return text[:at] + random.choice(SCRAPS) + text[at:]


def _replace(pattern: str, words: Sequence[str]) -> Edit:
    def edit(text: str, random: Random) -> str:
        places = list(re.finditer(pattern, text))
        if not places:
            return text
        place = random.choice(places)
        return text[: place.start()] + random.choice(words) + text[place.end() :]

    return edit


def _reindent(text: str, random: Random) -> str:
    lines = text.splitlines(keepends=True)
    if lines:
        index = random.randrange(len(lines))
        lines[index] = random.choice([" ", "   ", "\t"]) + lines[index].lstrip(" " if random.random() < 0.5 else "")
    return "".join(lines)


def _nest(text: str, random: Random) -> str:
    at = random.choice([0, len(text), random.randint(0, len(text))])
    piece = random.choice(["[", "{", "- ", "? ", "{a: ", "[[", "a: &a [*a, "])
    return text[:at] + piece * random.choice([3, 70, 1000, DEEP // len(piece)]) + text[at:]


def _alias_bomb(text: str, random: Random) -> str:
    levels = ["x0: &x0 [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    levels += [f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 9)}]" for i in range(1, 12)]
    return random.choice(["", text]) + "\n".join(levels) + "\n" + random.choice(["", text])


def _line_ends(text: str, random: Random) -> str:
    return text.replace("\n", random.choice(["\r\n", "\r", "\n\r", "\u2028", "\x85"]))


# Of the content -------------------------------------------------------------------------------------------------------


def _edit_content(text: str, random: Random) -> str:
    """Replace, remove, rename, move or wrap a value of the file; unchanged where the text is no YAML any more."""
    try:
        data = yaml12.parse(text.encode("utf-8", "surrogatepass")).data
    except yaml12.YamlError:
        return text
    holders = list(_containers(data))
    if not holders:
        return text
    for _ in range(random.randint(1, 3)):
        holder = random.choice(holders)
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        if not keys:
            continue
        key, other = random.choice(keys), random.choice(holders)
        kind = random.randrange(8)
        if kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder, dict):
            holder[random.choice([*WORDS, f"{key}s", key.upper(), key[::-1]])] = holder.pop(key)
        elif kind == 2 and isinstance(other, dict) and holder is not other:
            other[str(key)] = json.loads(json.dumps(holder[key], default=str))
        elif kind == 3:
            holder[key] = _wrapped(holder[key], random)
        elif kind == 4 and isinstance(holder[key], int | float):
            holder[key] = random.choice([0, 1, -1, 2, 3, 7, 300, 10**9, 2**40, 2**63, 1e300, float("nan"), True])
        elif kind == 5 and isinstance(holder[key], str):
            holder[key] = _misspelt(holder[key], random)
        else:
            holder[key] = random.choice(VALUES)
    written = json.dumps(data, default=lambda number: str(number).strip("()"), ensure_ascii=False)
    return re.sub(r"(?<![\w\"])(-?)(?:(NaN)|Infinity)", lambda m: ".nan" if m[2] else f"{m[1]}.inf", written)


def _misspelt(text: str, random: Random) -> str:
    """A text with two of its characters exchanged, or one of them replaced."""
    characters = list(text or "x")
    at, to = (random.randrange(len(characters)) for _ in range(2))
    characters[at], characters[to] = characters[to], random.choice([characters[at], *"aAé .,-*1"])
    return "".join(characters)


def _containers(data: Any) -> list[Any]:
    found, remaining = [], [data]
    while remaining:
        item = remaining.pop()
        if isinstance(item, dict | list) and item:
            found.append(item)
            remaining += item.values() if isinstance(item, dict) else item
    return found


def _wrapped(value: Any, random: Random) -> Any:
    for _ in range(random.choice([1, 2, 40, 70])):
        value = [value] if random.random() < 0.9 else {"value": value}
    return value


EDITS: tuple[Edit, ...] = (
    *(_delete, _repeat, _move_line, _insert, _insert, _reindent, _nest, _alias_bomb, _line_ends),
    *(_replace(r"(?<![\w.])-?\d[\w.]*", NUMBERS),) * 3,
    *(_replace(r"[\w.>,-]{2,}", WORDS),) * 3,
    _edit_content,
)
