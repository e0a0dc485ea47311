"""One small matrix product, or another case, judged on a backend that is a function of its operands."""

from pathlib import Path
from typing import Any

import numpy as np

from specs.arithmetic.formats import Array
from specs.case.case import Case, Config
from specs.case.einsum import EinsumConfig
from specs.verdict.check import Check
from specs.verdict.record import Record
from specs.verdict.verdict import judge
from tests.support.fake_backend import Fake


def product(a: Array, b: Array) -> Array:
    wide = np.complex128 if a.dtype.kind == "c" else np.float64
    return (a.astype(wide) @ b.astype(wide)).astype(a.dtype)


RIGHT = Fake(product)
FIELDS: dict[str, Any] = {"equation": "ij,jk->ik", "shapes": [[3, 8], [8, 3]], "data": "uniform"}  # one run, one result


def make_config(**fields: Any) -> EinsumConfig:
    return EinsumConfig.model_validate(FIELDS | fields)


def judge_product(
    backend: Fake,
    case_config: Config | None = None,
    dtype: str = "float32",
    entries: list[Any] = (),
    work: Path | None = None,
) -> Record:  # type: ignore[assignment]
    case = Case("einsum/t::c", "c", Path("t.yaml"), 3, case_config or make_config())
    check = Check(case, "fake", "cpu", "einsum", "eager", dtype)
    return judge(check, backend, "t.yaml::c[x]", "t.yaml", entries, work)
