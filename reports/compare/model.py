"""The answer to "is it safe?", as data: what differs between two runs, and what could not be compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from reports.compare.change import Change
from reports.compare.shift import Bits, Shift, Speed


@dataclass(frozen=True)
class Side:
    """One of the two runs.

    name       how people recognise it, e.g. its folder
    facts      what its `run.json` says
    records    of all its checks, by id
    warnings   why it is not the whole of what was asked for
    """

    name: str
    facts: dict[str, Any]
    records: dict[str, dict[str, Any]]
    statements: dict[str, Any]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Difference:
    """A version, a setting, a device or a part of the suite that differs between the runs; None: it is not there."""

    name: str
    old: Any
    new: Any


@dataclass(frozen=True)
class OneSided:
    """Checks that ran on one side only, because `what` did not run on the other."""

    what: str
    checks: int


@dataclass(frozen=True)
class Comparison:
    """What changed from `old` to `new`.

    compared       how many checks ran on both sides and were judged
    lost           backends that ran before and cannot be used in the new run, with the reason
    edited         cases that state something else than before: their checks are not compared
    changes        of single checks, the worst first
    errors         groups whose errors grew as a whole
    only_old, only_new   what ran on one side only
    still_failing  how many checks are not right in either run
    not_judged     how many checks are an error on both sides, or were one before
    unused         patterns of what is allowed that allowed nothing
    """

    old: Side
    new: Side
    compared: int
    differences: tuple[Difference, ...]
    lost: dict[str, str]
    edited: tuple[str, ...]
    changes: tuple[Change, ...]
    errors: tuple[Shift, ...]
    bits: tuple[Bits, ...]
    speed: Speed
    only_old: tuple[OneSided, ...]
    only_new: tuple[OneSided, ...]
    still_failing: int
    not_judged: int
    unused: tuple[str, ...]

    @property
    def regressions(self) -> list[Change]:
        return [change for change in self.changes if change.worse and not change.allowed]

    @property
    def regressed(self) -> bool:
        """Whether anything became worse; a group whose errors grew counts, since no pattern of ids can allow it."""
        return bool(self.regressions or self.errors or self.lost)

    @property
    def known(self) -> bool:
        """Whether the runs are enough for an answer."""
        return bool(self.compared) and not self.new.warnings
