"""The result of one check, as every report reads it.

A record holds plain Python types only: an xdist worker sends it to the controller, and NumPy scalars cannot be sent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

SCHEMA_VERSION = 1

Verdict = Literal["pass", "deviation", "unsupported", "fail", "error"]
VERDICTS: tuple[Verdict, ...] = ("pass", "deviation", "unsupported", "fail", "error")

# Prefixes of reasons without a measurement, or whose verdict alone does not say whether the result is right
REFUSED, ACCEPTED, RAISED, STALE = "refused: ", "accepted what must be refused ", "raised ", "stale: "


@dataclass(frozen=True)
class WorstElement:
    """The element with the largest error ratio; numbers as text, so that NaN, complex and bfloat16 survive JSON."""

    index: tuple[int, ...]
    expected: str
    got: str
    bound: str


@dataclass(frozen=True)
class Measurement:
    """How one result compares with its reference.

    error_ratio     max over elements of |error| / bound; None where nothing could be compared, inf where a value
                    differs although the bound is zero (JSON has no inf: written as the string "inf")
    max_ulp         largest error in units of the output format's last place; max_abs: largest absolute error
    nan, infinite   count of such numbers in the result (a complex value has two numbers)
    digest          hash of the result's bytes: equal digests mean equal bits
    bound           how the bound was derived: precision formats, contraction length …
    rms             root mean square of error / standard deviation of correct arithmetic: about 1 or less; None where
                    errors are not known to average out, or are too few
    bias            estimated relative error of the result as a whole, or of a scale within the computation; 0.001 is
                    0.1%
    """

    error_ratio: float | None = None
    max_ulp: float | None = None
    max_abs: float | None = None
    worst: WorstElement | None = None
    output_dtype: str | None = None
    output_shape: tuple[int, ...] | None = None
    nan: int | None = None
    infinite: int | None = None
    digest: str | None = None
    bound: dict[str, Any] = field(default_factory=dict)
    rms: float | None = None
    bias: float | None = None


@dataclass(frozen=True)
class Weakness:
    """Why a check proves little (`specs.verdict.weakness`); `mark` is why its case is worth having, if it says so."""

    reason: str
    mark: str | None


@dataclass(frozen=True)
class Record:
    """One check's verdict and the evidence for it; ValueError if the evidence contradicts the verdict.

    observed    for a probe, the observed properties of arithmetic: property → text (`specs.verdict.effective`)
    repeatable  whether another run gave the same bits; None: not tested
    again       the shell command that runs only this check
    """

    id: str
    file: str
    line: int
    case: str
    kind: str
    backend: str
    device: str
    implementation: str
    mode: str
    dtype: str
    direction: str
    verdict: Verdict
    reason: str = ""
    deviation: dict[str, Any] | None = None
    measurement: Measurement = field(default_factory=Measurement)
    observed: dict[str, str] | None = None
    repeatable: bool | None = None
    weak: Weakness | None = None
    seconds: float = 0.0
    again: str = ""

    def __post_init__(self) -> None:
        if contradiction := find_contradiction(self.verdict, self.measurement.error_ratio):
            raise ValueError(contradiction)

    def as_json(self) -> dict[str, Any]:
        """A flat mapping of JSON's types; the fields of the measurement are on the same level as the others."""
        fields = {name: value for name, value in vars(self).items() if name != "measurement"}
        return {"schema": SCHEMA_VERSION, **to_plain(fields | vars(self.measurement))}


def find_contradiction(verdict: str, error_ratio: float | None) -> str | None:
    """Why a check with this ratio cannot have this verdict; None if it can."""
    if verdict != "pass" or error_ratio is None or error_ratio <= 1:
        return None
    return f"a check cannot pass with an error of {error_ratio:.4g} times its bound"


def to_plain(value: Any) -> Any:
    """Convert to JSON's types: tuples become lists, parts of a record mappings, non-finite and complex numbers text.

    All text can be encoded.
    Integers of more than 32 bits become text too: execnet fails on large negative ones, and numbers in JavaScript have
    53 bits.
    """
    if isinstance(value, dict):
        return {make_encodable(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    if isinstance(value, str):
        return make_encodable(value)
    if isinstance(value, float) and value - value != 0:
        return str(value)
    if isinstance(value, complex):
        return str(value).strip("()")
    if isinstance(value, int) and abs(value) >= 2**31:
        return str(value)
    if isinstance(value, (WorstElement, Weakness)):
        return to_plain(vars(value))
    return value


# Characters that would command a terminal, or turn round what is read
CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
CONTROLS |= {code: f"\\u{code:04x}" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}


def make_encodable(text: str) -> str:
    """Text without lone surrogates, which cannot be written or sent, and without characters that command a terminal."""
    if text.isascii() and text.isprintable():
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8").translate(CONTROLS)
