"""`pytest --shard I/N`: a stable share of the checks.

A check belongs to the shard that the hash of its id says, so adding a case moves no other check.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Shard:
    """The `index`-th of `count` shares, counted from 1."""

    index: int
    count: int

    def has(self, id: str) -> bool:
        """Whether the check with this id is in it: in exactly one shard of a division each check is."""
        number = int.from_bytes(hashlib.sha256(id.encode()).digest()[:8], "big")
        return number % self.count == self.index - 1

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def parse(text: str) -> Shard:
    """`2/3` → the second of three; raises ValueError with what is wrong."""
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise ValueError(f"{text}: a shard is I/N with I from 1 to N, e.g. 2/3")
    return Shard(int(found[1]), int(found[2]))
