"""A backend that consists of one function, and deviations recorded for it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from specs.arithmetic.formats import DTYPES, Array
from specs.arithmetic.precision import Precision, declared_precision
from specs.verdict.check import Check
from specs.verdict.deviation import Deviation, DeviationEntry


class Plain:
    """What a backend declares of its results where there is nothing to declare."""

    def returns_view(self, check: Check) -> bool:
        return False

    def varies(self, check: Check) -> str | None:
        return None


@dataclass
class Fake(Plain):
    """A backend that computes with a function of its operands, or raises."""

    compute: Callable[..., Array] | Exception
    missing: str | None = None
    formats: Mapping[str, str | bool] = field(default_factory=dict)

    def unsupported(self, check: Check) -> str | None:
        return self.missing

    def precision(self, check: Check) -> Precision:
        return declared_precision(DTYPES[check.dtype], **self.formats)

    def run(self, check: Check, operands: Mapping[str, Array]) -> Array:
        if isinstance(self.compute, Exception):
            raise self.compute
        return self.compute(*operands.values())


def make_entry(observed: dict[str, Any], line: int = 1, **fields: Any) -> DeviationEntry:
    defaults = {"match": {"case": "*"}, "observed": observed, "grade": "bug", "reason": "It is known to be wrong."}
    return DeviationEntry(Deviation.model_validate(defaults | fields), Path("x.yaml"), line)
