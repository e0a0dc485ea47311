"""What a record says that its framework did, apart from what is thought of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from specs.verdict.deviation import in_words
from specs.verdict.record import ACCEPTED, RAISED, REFUSED, STALE

Record = dict[str, Any]
Status = Literal["right", "deviates", "wrong", "unsupported", "not judged"]
Act = Literal["computes", "refuses", "none"]

STATUSES: dict[str, Status] = {
    "pass": "right",
    "deviation": "deviates",
    "unsupported": "unsupported",
    "fail": "wrong",
    "error": "not judged",
}


@dataclass(frozen=True)
class Outcome:
    """Of one check.

    status     right: also where a recorded deviation is gone, which fails as stale; not judged: an error
    act        whether the framework computed or refused; none where it was not asked or nothing came back
    exception  type of the exception with which it refused, where the record tells
    observed   of a deviation: what is recorded to be observed
    result     dtype, shape, and how many numbers are NaN and infinite, of the result that was measured
    of         whose result that is: one of several gradients, or that of designed inputs, else None
    arithmetic what a probe shows of it: property and word
    """

    status: Status
    act: Act
    exception: str | None
    observed: str | None
    result: tuple[Any, ...]
    of: str | None
    arithmetic: tuple[tuple[str, str], ...]


def outcome(record: Record) -> Outcome:
    """What happened, read from the verdict, its reason and the measurement."""
    status = STATUSES[record["verdict"]]
    if record["verdict"] == "fail" and record["reason"].startswith(STALE):
        status = "right"
    observed = (record["deviation"] or {}).get("observed")
    measured = record["output_dtype"] is not None
    refused = _refused(record, observed or {}, measured)
    return Outcome(
        status=status,
        act="refuses" if refused else "computes" if measured or _accepted(record, observed or {}) else "none",
        exception=_exception(record["reason"]),
        observed=in_words(observed) if status == "deviates" and observed else None,
        result=tuple(
            tuple(value) if isinstance(value, list) else value
            for value in (record.get(name) for name in ("output_dtype", "output_shape", "nan", "infinite"))
        ),
        of=subject(record),
        arithmetic=tuple((record.get("observed") or {}).items()),
    )


def subject(record: Record) -> str | None:
    """Which of a check's results was measured: the gradient of an operand, that of designed inputs, or None."""
    bound: dict[str, Any] = record["bound"]
    return bound.get("gradient_of") or bound.get("data")


def _refused(record: Record, observed: dict[str, Any], measured: bool) -> bool:
    reason = record["reason"]
    # A case that must be refused, and is although its refusal is not recorded, has no measurement either
    stale = reason.startswith(STALE) and not measured
    return reason.startswith((REFUSED, RAISED)) or bool(observed.get("error")) or stale


def _accepted(record: Record, observed: dict[str, Any]) -> bool:
    return record["reason"].startswith(ACCEPTED) or bool(observed.get("accepts"))


def _exception(reason: str) -> str | None:
    for said in (REFUSED, RAISED):
        if reason.startswith(said):
            return reason.removeprefix(said).partition(":")[0].split(";")[0].strip()
    return None
