"""The effective precision of a run: what its probes observed, beside what is declared, in one table.

Checks that observe the same on one backend, device and dtype share a row, whatever their implementations and modes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from specs.arithmetic.precision import Precision
from specs.verdict.effective import PROPERTIES, bits, declared, held

Status = Literal["fail", "deviation", "as declared", "finer", "not observed"]


@dataclass(frozen=True)
class Cell:
    """One property: what is declared, and all that was observed of it, the coarsest first.

    status  fail or deviation where some of it is coarser than declared; finer where all of it is
    """

    declared: str = ""
    observed: tuple[str, ...] = ()
    status: Status = "not observed"

    def __str__(self) -> str:
        told = " and ".join(self.observed)
        return told if self.status in ("as declared", "not observed") else f"{told} (declared {self.declared})"


@dataclass(frozen=True)
class Row:
    """`where` lists implementations, with their modes where not all of them are alike."""

    backend: str
    device: str
    kind: str
    dtype: str
    where: str
    cells: Mapping[str, Cell]

    @property
    def names(self) -> tuple[str, str, str, str, str]:
        return self.backend, self.device, self.kind, self.dtype, self.where


def rows(records: Iterable[Mapping[str, Any]]) -> list[Row]:
    """One for each backend, device, kind, dtype and arithmetic observed there; none of a run without probes."""
    probed: dict[tuple[str, ...], dict[tuple[str, str], list[Mapping[str, Any]]]] = {}
    for record in records:
        if record.get("observed"):
            place = tuple(record[name] for name in ("backend", "device", "kind", "dtype"))
            way = record["implementation"], record["mode"]
            probed.setdefault(place, {}).setdefault(way, []).append(record)
    found = []
    for (backend, device, kind, dtype), ways in probed.items():
        alike: list[tuple[dict[str, Cell], list[tuple[str, str]]]] = []
        for way, observing in ways.items():
            cells = {name: _cell(name, observing) for name in PROPERTIES}
            same = next((members for known, members in alike if known == cells), None)
            if same is None:
                alike.append((cells, same := []))
            same.append(way)
        found += [Row(backend, device, kind, dtype, _told(members, [*ways]), cells) for cells, members in alike]
    return found


def _cell(property: str, records: Sequence[Mapping[str, Any]]) -> Cell:
    """Of the probes of one implementation and mode."""
    probing = [record for record in records if property in record["observed"]]
    if not probing:
        return Cell()
    said = declared(Precision.from_json(probing[0]["bound"]["precision"]))[property]
    words = {record["observed"][property] for record in probing}
    compared = {word: held(word, said) for word in words}
    worse = {record["verdict"] for record in probing if compared[record["observed"][property]] == "coarser"}
    status: Status = "as declared"
    if worse:
        status = "deviation" if worse == {"deviation"} else "fail"
    elif set(compared.values()) == {"finer"}:
        status = "finer"
    return Cell(said, tuple(sorted(words, key=lambda word: (bits(word) or 0, word))), status)


def _told(members: Sequence[tuple[str, str]], ways: Sequence[tuple[str, str]]) -> str:
    """Implementations, each with its modes if it behaves otherwise in some."""
    told = []
    for name in dict.fromkeys(name for name, _ in members):
        modes = [mode for other, mode in members if other == name]
        whole = len(modes) == sum(other == name for other, _ in ways)
        told.append(name if whole else f"{name} ({', '.join(modes)})")
    return ", ".join(told)
