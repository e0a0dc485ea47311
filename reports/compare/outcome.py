"""What the framework did in a check, independent of the verdict on it, read from the record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from specs.verdict.deviation import format_observation
from specs.verdict.record import ACCEPTED, RAISED, REFUSED, STALE

Record = dict[str, Any]
Status = Literal["right", "deviates", "wrong", "unsupported", "not judged"]
Action = Literal["computes", "refuses", "none"]

STATUSES: dict[str, Status] = {
    "pass": "right",
    "deviation": "deviates",
    "unsupported": "unsupported",
    "fail": "wrong",
    "error": "not judged",
}


@dataclass(frozen=True)
class Outcome:
    """The outcome of one check.

    status     right: also if a recorded deviation is gone, which fails as stale; not judged: an error
    action     whether the framework computed or refused; none if it was not called or returned nothing
    exception  type of the exception with which it refused, if the record has it
    observed   of a deviation: the recorded observation
    result     dtype, shape, number of NaNs and number of infinities of the measured result
    of         which result was measured: a gradient's operand, or a recipe of designed inputs, else None
    arithmetic properties of the arithmetic that a probe observed, and their values
    """

    status: Status
    action: Action
    exception: str | None
    observed: str | None
    result: tuple[Any, ...]
    of: str | None
    arithmetic: tuple[tuple[str, str], ...]


def read_outcome(record: Record) -> Outcome:
    """The outcome, derived from the verdict, its reason and the measurement."""
    status = STATUSES[record["verdict"]]
    if record["verdict"] == "fail" and record["reason"].startswith(STALE):
        status = "right"
    observed = (record["deviation"] or {}).get("observed")
    measured = record["output_dtype"] is not None
    refused = _refused(record, observed or {}, measured)
    return Outcome(
        status=status,
        action="refuses" if refused else "computes" if measured or _accepted(record, observed or {}) else "none",
        exception=_exception(record["reason"]),
        observed=format_observation(observed) if status == "deviates" and observed else None,
        result=tuple(
            tuple(value) if isinstance(value, list) else value
            for value in (record.get(name) for name in ("output_dtype", "output_shape", "nan", "infinite"))
        ),
        of=subject(record),
        arithmetic=tuple((record.get("observed") or {}).items()),
    )


def subject(record: Record) -> str | None:
    """Which of a check's results was measured: the operand of a gradient, the recipe of designed inputs, or None."""
    bound: dict[str, Any] = record["bound"]
    return bound.get("gradient_of") or bound.get("data")


def _refused(record: Record, observed: dict[str, Any], measured: bool) -> bool:
    reason = record["reason"]
    # A stale deviation of a case that must be refused: it is refused now, so there is no measurement either
    stale = reason.startswith(STALE) and not measured
    return reason.startswith((REFUSED, RAISED)) or bool(observed.get("error")) or stale


def _accepted(record: Record, observed: dict[str, Any]) -> bool:
    return record["reason"].startswith(ACCEPTED) or bool(observed.get("accepts"))


def _exception(reason: str) -> str | None:
    for prefix in (REFUSED, RAISED):
        if reason.startswith(prefix):
            return reason.removeprefix(prefix).partition(":")[0].split(";")[0].strip()
    return None
