"""The answer to "is it safe?", as data: what differs between two runs, and what could not be compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from reports.compare.change import Change
from reports.compare.shift import Bits, Shift, Speed


@dataclass(frozen=True)
class Side:
    """One of the two runs.

    name        displayed to people, e.g. its folder
    facts       the contents of its `run.json`
    records     of all its checks, by id
    statements  what each case computes, by the case's id
    warnings    why it does not cover everything that was requested
    """

    name: str
    facts: dict[str, Any]
    records: dict[str, dict[str, Any]]
    statements: dict[str, Any]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Difference:
    """A version, a setting, a device or a part of the suite that differs between the runs; None if a run lacks it."""

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

    compared       how many checks ran on both sides, without those that were an error in the old run
    differences    versions, settings, devices and parts of the suite that differ between the runs
    lost           backends that ran before and cannot be used in the new run, with the reason
    edited         cases whose statement has changed: their checks are not compared
    changes        of single checks, the worst first
    errors         groups whose errors grew as a whole
    bits           groups in which results have different bits
    speed          groups that became slower or faster
    only_old, only_new   what ran on one side only
    still_failing  how many checks fail or are errors in both runs
    not_judged     how many checks were an error in the old run
    unused         patterns of `--allow` that matched nothing
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
        """Whether anything became worse; grown errors of a group always count: no pattern of ids can allow them."""
        return bool(self.regressions or self.errors or self.lost)

    @property
    def is_conclusive(self) -> bool:
        """Whether the runs suffice for an answer."""
        return bool(self.compared) and not self.new.warnings
