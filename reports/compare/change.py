"""Two records of one check: what is different, and whether for the worse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from reports.compare.outcome import Outcome, Record, outcome, subject

Kind = Literal["failing", "behaviour", "error ratio", "mended"]
Found = tuple[Kind, str, bool]  # kind, what, worse

# An error ratio has grown past the limit where it is more than FACTOR times the earlier one and more than FLOOR of the
# bound.  Two correct ways of computing one thing (np.einsum and its optimized path, einsum and matmul, on four
# frameworks) were compared in 1,446 pairs with different bits: none of them is past this limit, and none past the
# factor alone above 0.4 of the bound.
FACTOR, FLOOR = 3.0, 0.5


@dataclass(frozen=True)
class Change:
    """One check that is not as it was.

    where       what identifies the check: id, case, backend, device, implementation, mode, dtype, direction
    what        the kind of change in a few words, by which changes are grouped
    before, after   what was observed
    worse       whether it makes an upgrade unsafe
    same_bits   the result is bit for bit the same: the suite judges otherwise, not the framework
    """

    kind: Kind
    where: dict[str, Any]
    what: str
    before: str
    after: str
    worse: bool
    same_bits: bool = False
    allowed: bool = False


TELLING = (
    *("verdict", "reason", "deviation", "observed", "error_ratio"),
    *("digest", "output_dtype", "output_shape", "nan", "infinite"),
)
IDENTITY = ("id", "case", "backend", "device", "implementation", "mode", "dtype", "direction")


def changes(old: Record, new: Record) -> list[Change]:
    """All that is to be said of one check; of a check that fails, nothing but that."""
    if all(old.get(name) == new.get(name) for name in TELLING):
        return []
    before, after = outcome(old), outcome(new)
    said = _said(old, before), _said(new, after)
    found = _failing(before, after) or _behaviour(before, after)
    both_right = (before.status, after.status) == ("right", "right") and comparable(old, new)
    if found is None and both_right and grown(ratio(old), ratio(new)):
        found = "error ratio", "error grown", True
        said = f"{ratio(old):.3g} of the bound", f"{ratio(new):.3g} of the bound"
    return [_change(found, old, new, *said)] if found else []


def ratio(record: Record) -> float:
    """The error ratio as a number; NaN where there is none."""
    return float("nan") if record["error_ratio"] is None else float(record["error_ratio"])


def comparable(old: Record, new: Record) -> bool:
    """Whether both errors are shares of a bound that is derived alike."""
    if ratio(old) != ratio(old) or ratio(new) != ratio(new):
        return False
    bounds = old["bound"], new["bound"]
    return (
        bounds[0] == bounds[1]
        if subject(old) == subject(new)
        else bounds[0].get("precision") == bounds[1].get("precision")
    )


def grown(old: float, new: float) -> bool:
    return new > FLOOR and new > FACTOR * old


def _change(found: Found, old: Record, new: Record, before: str, after: str) -> Change:
    kind, what, worse = found
    same_bits = old["digest"] is not None and old["digest"] == new["digest"]
    where = {name: new[name] for name in IDENTITY}
    return Change(kind, where, what, before, after, worse, same_bits)


def _failing(before: Outcome, after: Outcome) -> Found | None:
    """From and to results that are wrong, or cannot be judged."""
    bad = ("wrong", "not judged")
    if after.status in bad and before.status not in bad:
        return "failing", "newly failing" if after.status == "wrong" else "newly an error", True
    if (before.status, after.status) == ("wrong", "not judged"):
        return "failing", "fails, and is now an error", True
    if before.status == "wrong" and after.status == "wrong" and _acts_differ(before, after):
        return "behaviour", "fails in another way", False
    if before.status == "wrong" and after.status == "deviates" and not _acts_differ(before, after):
        return "mended", "recorded as a deviation", False
    if before.status == "wrong" and after.status not in bad:
        return "mended", "fails no longer", False
    return None


def _behaviour(before: Outcome, after: Outcome) -> Found | None:
    statuses = before.status, after.status
    if "wrong" in statuses or "not judged" in statuses:
        return None
    match statuses:
        case "unsupported", "unsupported":
            return None
        case _, "unsupported":
            return "behaviour", "supported no longer", True
        case "unsupported", _:
            return "behaviour", "newly supported", False
        case "right", "deviates":
            return "behaviour", f"newly deviates ({after.observed})", True
        case "deviates", "right":
            return "behaviour", f"deviates no longer ({before.observed})", False
    worse = statuses == ("deviates", "deviates")  # of two right results one is as good as the other
    if before.observed != after.observed:
        return "behaviour", f"deviates otherwise ({before.observed} → {after.observed})", worse
    if difference := _difference(before, after):
        return "behaviour", difference, worse
    return None


def _acts_differ(before: Outcome, after: Outcome) -> bool:
    return before.act != after.act or bool(_difference(before, after))


def _difference(before: Outcome, after: Outcome) -> str:
    """Where two outcomes of equal standing differ: in what was done, else in what came out."""
    if before.act != after.act:
        return f"{before.act} → {after.act}"
    if before.exception and after.exception and before.exception != after.exception:
        return f"refuses with another exception ({before.exception} → {after.exception})"
    if before.arithmetic != after.arithmetic:
        one, other = (", ".join(f"{name}: {word}" for name, word in each.arithmetic) for each in (before, after))
        return f"another arithmetic ({one} → {other})"
    if before.of != after.of:  # of several results each side measured another one
        return ""
    for name, one, other in zip(("dtype", "shape", "NaN", "infinite"), before.result, after.result, strict=True):
        if one is not None and other is not None and one != other:
            pattern = name in ("NaN", "infinite")
            return "another pattern of NaN and infinities" if pattern else f"another output {name}"
    return ""


def _said(record: Record, found: Outcome) -> str:
    """What was observed, for a reader who sees only this."""
    if found.status == "deviates":
        said = f"{found.observed} (recorded: {record['reason']})"
    elif found.status == "right" and found.act != "refuses":
        said = "right"
    elif found.status == "right":
        said = record["reason"] if found.exception else "refuses"
    else:
        said = f"{found.status}: {record['reason']}" if record["reason"] else found.status
    dtype, shape, nan, infinite = found.result
    if found.act != "computes" or dtype is None or found.status == "unsupported":
        return said
    nonfinite = ", ".join(f"{count} {word}" for count, word in ((nan, "NaN"), (infinite, "infinite")) if count)
    return f"{said}; {dtype}{list(shape)}" + (f", {nonfinite}" if nonfinite else "")
