"""The suite's probes of arithmetic, judged on a backend whose arithmetic is simulated."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from specs.arithmetic.formats import DTYPES, Array, cast
from specs.arithmetic.precision import Precision, declared_precision
from specs.case.einsum import EinsumConfig
from specs.case.loading import load
from specs.verdict.check import Check
from specs.verdict.deviation import DeviationEntry
from specs.verdict.record import Record
from specs.verdict.verdict import judge
from tests.support import ROOT
from tests.support.fake_backend import Plain
from tests.support.narrow_arithmetic import Simulated

CASES = {case.id.removeprefix("precision/"): case for case in load(ROOT / "cases/precision/einsum.yaml", ROOT)}
CASES |= {case.id.removeprefix("precision/"): case for case in load(ROOT / "cases/precision/attention.yaml", ROOT)}
FACTORS = ["factors_of_matrices", "factors_of_batches", "factors_of_dot_products"]
SUMS = ["sums", "sums_across_rows", "sums_of_matrices", "sums_of_batches", "sums_of_dot_products"]
SUBNORMALS = ["subnormals_of_matrices", "subnormals_of_dot_products", "subnormals_of_sums"]


@dataclass
class Arithmetic(Plain):
    """A backend that computes in the formats of `real` (or with `compute`) and declares those of `formats`."""

    real: Mapping[str, str | bool] = field(default_factory=dict)
    formats: Mapping[str, str | bool] = field(default_factory=dict)
    order: str = "sequential"
    compute: Callable[..., Array] | None = None

    def unsupported(self, *_: Any) -> None:
        return None

    def precision(self, check: Check) -> Precision:
        return declared_precision(DTYPES[check.dtype], **self.formats)

    def run(self, check: Check, operands: Mapping[str, Array]) -> Array:
        case = check.case
        dtype = next(name for name in case.config.dtypes if DTYPES[name].numpy == operands[min(operands)].dtype)
        if self.compute:
            return self.compute(*operands.values())
        assert isinstance(case.config, EinsumConfig)
        simulated = Simulated(declared_precision(DTYPES[dtype], **self.real), self.order)
        wide_operands = [operand.astype(np.float64) for operand in operands.values()]
        return cast(simulated(case.config.equation, wide_operands), DTYPES[dtype])

    def gradient(self, *_: Any) -> Mapping[str, Array]:
        raise NotImplementedError


def probe(name: str, dtype: str, backend: Arithmetic, entries: list[DeviationEntry] = []) -> Record:  # noqa: B006
    case = CASES[name if "::" in name else f"einsum::{name}"]
    check = Check(case, "simulated", "cpu", "einsum", "eager", dtype)
    return judge(check, backend, "t.yaml::c[x]", "t.yaml", entries)


def read_probe(name: str, dtype: str, backend: Arithmetic) -> dict[str, str]:
    observed = probe(name, dtype, backend).observed
    assert observed is not None
    return observed
