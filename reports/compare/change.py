"""Two records of one check: what differs, and whether for the worse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from reports.compare.outcome import Outcome, Record, read_outcome, subject

Kind = Literal["failing", "behaviour", "error ratio", "fixed"]
Finding = tuple[Kind, str, bool]  # kind, what, worse

# An error ratio has grown past the limit if it is more than FACTOR times the earlier one and more than FLOOR of the
# bound.  Correct implementations of the same computation (np.einsum and its optimized path, einsum and matmul, on four
# frameworks) were compared in 1,446 pairs with different bits: none of them exceeds this limit, and none that exceeds
# the factor alone is above 0.4 of the bound.
FACTOR, FLOOR = 3.0, 0.5


@dataclass(frozen=True)
class Change:
    """One check that has changed.

    where       fields that identify the check: id, case, backend, device, implementation, mode, dtype, direction
    what        the change in a few words, by which changes are grouped
    before, after   what was observed
    worse       whether it makes an upgrade unsafe
    same_bits   the result is bit for bit the same, so the suite's verdict changed, not the framework
    allowed     whether a pattern of `--allow` accepts it
    """

    kind: Kind
    where: dict[str, Any]
    what: str
    before: str
    after: str
    worse: bool
    same_bits: bool = False
    allowed: bool = False


COMPARED_FIELDS = (
    *("verdict", "reason", "deviation", "observed", "error_ratio"),
    *("digest", "output_dtype", "output_shape", "nan", "infinite"),
)
IDENTITY = ("id", "case", "backend", "device", "implementation", "mode", "dtype", "direction")


def find_changes(old: Record, new: Record) -> list[Change]:
    """The change of one check, or none; only the most important one is reported, a failure before all others."""
    if all(old.get(name) == new.get(name) for name in COMPARED_FIELDS):
        return []
    before, after = read_outcome(old), read_outcome(new)
    descriptions = _describe(old, before), _describe(new, after)
    finding = _failing(before, after) or _behaviour(before, after)
    both_right = (before.status, after.status) == ("right", "right") and are_comparable(old, new)
    if finding is None and both_right and has_grown(ratio(old), ratio(new)):
        finding = "error ratio", "error grown", True
        descriptions = f"{ratio(old):.3g} of the bound", f"{ratio(new):.3g} of the bound"
    return [_change(finding, old, new, *descriptions)] if finding else []


def ratio(record: Record) -> float:
    """The error ratio as a number; NaN if there is none."""
    return float("nan") if record["error_ratio"] is None else float(record["error_ratio"])


def are_comparable(old: Record, new: Record) -> bool:
    """Whether both error ratios refer to bounds that were derived in the same way."""
    if ratio(old) != ratio(old) or ratio(new) != ratio(new):
        return False
    bounds = old["bound"], new["bound"]
    return (
        bounds[0] == bounds[1]
        if subject(old) == subject(new)
        else bounds[0].get("precision") == bounds[1].get("precision")
    )


def has_grown(old: float, new: float) -> bool:
    return new > FLOOR and new > FACTOR * old


def _change(finding: Finding, old: Record, new: Record, before: str, after: str) -> Change:
    kind, what, worse = finding
    same_bits = old["digest"] is not None and old["digest"] == new["digest"]
    where = {name: new[name] for name in IDENTITY}
    return Change(kind, where, what, before, after, worse, same_bits)


def _failing(before: Outcome, after: Outcome) -> Finding | None:
    """The change if either result is wrong or could not be judged."""
    bad = ("wrong", "not judged")
    if after.status in bad and before.status not in bad:
        return "failing", "newly failing" if after.status == "wrong" else "newly an error", True
    if (before.status, after.status) == ("wrong", "not judged"):
        return "failing", "fails, and is now an error", True
    if before.status == "wrong" and after.status == "wrong" and _actions_differ(before, after):
        return "behaviour", "fails in another way", False
    if before.status == "wrong" and after.status == "deviates" and not _actions_differ(before, after):
        return "fixed", "recorded as a deviation", False
    if before.status == "wrong" and after.status not in bad:
        return "fixed", "no longer fails", False
    return None


def _behaviour(before: Outcome, after: Outcome) -> Finding | None:
    statuses = before.status, after.status
    if "wrong" in statuses or "not judged" in statuses:
        return None
    match statuses:
        case "unsupported", "unsupported":
            return None
        case _, "unsupported":
            return "behaviour", "no longer supported", True
        case "unsupported", _:
            return "behaviour", "newly supported", False
        case "right", "deviates":
            return "behaviour", f"newly deviates ({after.observed})", True
        case "deviates", "right":
            return "behaviour", f"no longer deviates ({before.observed})", False
    worse = statuses == ("deviates", "deviates")  # two right results are equally good
    if before.observed != after.observed:
        return "behaviour", f"deviates differently ({before.observed} → {after.observed})", worse
    if difference := _difference(before, after):
        return "behaviour", difference, worse
    return None


def _actions_differ(before: Outcome, after: Outcome) -> bool:
    return before.action != after.action or bool(_difference(before, after))


def _difference(before: Outcome, after: Outcome) -> str:
    """How two outcomes of the same status differ: in the action, else in the result; "" if they do not."""
    if before.action != after.action:
        return f"{before.action} → {after.action}"
    if before.exception and after.exception and before.exception != after.exception:
        return f"refuses with another exception ({before.exception} → {after.exception})"
    if before.arithmetic != after.arithmetic:
        one, other = (", ".join(f"{name}: {word}" for name, word in outcome.arithmetic) for outcome in (before, after))
        return f"another arithmetic ({one} → {other})"
    if before.of != after.of:  # the runs measured different ones of several results
        return ""
    for name, one, other in zip(("dtype", "shape", "NaN", "infinite"), before.result, after.result, strict=True):
        if one is not None and other is not None and one != other:
            pattern = name in ("NaN", "infinite")
            return "another pattern of NaN and infinities" if pattern else f"another output {name}"
    return ""


def _describe(record: Record, outcome: Outcome) -> str:
    """What was observed, as a text that is clear on its own."""
    if outcome.status == "deviates":
        text = f"{outcome.observed} (recorded: {record['reason']})"
    elif outcome.status == "right" and outcome.action != "refuses":
        text = "right"
    elif outcome.status == "right":
        text = record["reason"] if outcome.exception else "refuses"
    else:
        text = f"{outcome.status}: {record['reason']}" if record["reason"] else outcome.status
    dtype, shape, nan, infinite = outcome.result
    if outcome.action != "computes" or dtype is None or outcome.status == "unsupported":
        return text
    nonfinite = ", ".join(f"{count} {word}" for count, word in ((nan, "NaN"), (infinite, "infinite")) if count)
    return f"{text}; {dtype}{list(shape)}" + (f", {nonfinite}" if nonfinite else "")
