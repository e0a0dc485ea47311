"""The effective precision of a run: a table of what its probes observed, next to what is declared.

Implementations and modes with the same observations on one backend, device and dtype share a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from specs.arithmetic.precision import Precision
from specs.verdict.effective import PROPERTIES, compare_property, declared_properties, significand_bits

Status = Literal["fail", "deviation", "as declared", "finer", "not observed"]


@dataclass(frozen=True)
class Cell:
    """One property: the declared value, and all observed values, the coarsest first.

    status  fail or deviation if any observed value is coarser than declared; finer if all of them are finer
    """

    declared: str = ""
    observed: tuple[str, ...] = ()
    status: Status = "not observed"

    def __str__(self) -> str:
        text = " and ".join(self.observed)
        return text if self.status in ("as declared", "not observed") else f"{text} (declared {self.declared})"


@dataclass(frozen=True)
class Row:
    """`implementations` lists names, with modes where only some modes of an implementation belong to this row."""

    backend: str
    device: str
    kind: str
    dtype: str
    implementations: str
    cells: Mapping[str, Cell]

    @property
    def names(self) -> tuple[str, str, str, str, str]:
        return self.backend, self.device, self.kind, self.dtype, self.implementations


def collect_rows(records: Iterable[Mapping[str, Any]]) -> list[Row]:
    """One row per backend, device, kind, dtype and arithmetic observed there; empty for a run without probes."""
    probed: dict[tuple[str, ...], dict[tuple[str, str], list[Mapping[str, Any]]]] = {}
    for record in records:
        if record.get("observed"):
            place = tuple(record[name] for name in ("backend", "device", "kind", "dtype"))
            variant = record["implementation"], record["mode"]
            probed.setdefault(place, {}).setdefault(variant, []).append(record)
    rows = []
    for (backend, device, kind, dtype), variants in probed.items():
        groups: list[tuple[dict[str, Cell], list[tuple[str, str]]]] = []
        for variant, group_records in variants.items():
            cells = {name: _cell(name, group_records) for name in PROPERTIES}
            members = next((members for other_cells, members in groups if other_cells == cells), None)
            if members is None:
                groups.append((cells, members := []))
            members.append(variant)
        for cells, members in groups:
            rows.append(Row(backend, device, kind, dtype, _describe_variants(members, [*variants]), cells))
    return rows


def _cell(property: str, records: Sequence[Mapping[str, Any]]) -> Cell:
    """One property as observed by the probes of one implementation and mode."""
    probing = [record for record in records if property in record["observed"]]
    if not probing:
        return Cell()
    expected = declared_properties(Precision.from_json(probing[0]["bound"]["precision"]))[property]
    words = {record["observed"][property] for record in probing}
    compared = {word: compare_property(word, expected) for word in words}
    worse = {record["verdict"] for record in probing if compared[record["observed"][property]] == "coarser"}
    status: Status = "as declared"
    if worse:
        status = "deviation" if worse == {"deviation"} else "fail"
    elif set(compared.values()) == {"finer"}:
        status = "finer"
    return Cell(expected, tuple(sorted(words, key=lambda word: (significand_bits(word) or 0, word))), status)


def _describe_variants(members: Sequence[tuple[str, str]], variants: Sequence[tuple[str, str]]) -> str:
    """Names of implementations; modes are added if an implementation behaves differently in other modes."""
    parts = []
    for name in dict.fromkeys(name for name, _ in members):
        modes = [mode for other_name, mode in members if other_name == name]
        is_every_mode = len(modes) == sum(other_name == name for other_name, _ in variants)
        parts.append(name if is_every_mode else f"{name} ({', '.join(modes)})")
    return ", ".join(parts)
