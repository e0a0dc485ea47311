"""A program accepts the same numbers as the suite, and reports a single wrong one."""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterator
from math import inf, nan
from typing import Any

import numpy as np
import pytest

from backends.discovery import registry
from backends.parts.dialect import NUMPY
from backends.standalone.comparison import comparison_lines
from backends.standalone.expectation import Expected, expected_result
from reports.script import find_check
from specs.arithmetic.formats import DTYPES, Array, Bools, components
from specs.inputs import inputs
from specs.reference.reference import Reference
from specs.verdict.check import Check
from specs.verdict.comparison import error_ratio, opposite_zeros
from specs.verdict.direction import DIRECTIONS
from tests.support import ROOT

COLUMNS, ROW = "cases/seeds/seed_002_columns.yaml::moderate_logits", "cases/attention/masks.yaml::fully_masked_row"
PRODUCT, COMPLEX = "cases/einsum/products.yaml::matrix_product", "cases/einsum/complex_numbers.yaml::matrix_product"
TRUNCATED = "cases/attention/causal.yaml::grouped"


def run_comparison(result: Array, expected: Expected) -> tuple[int, Bools]:
    """The exit status of a program for a result, and which of its numbers fit."""
    scope: dict[str, Any] = {"np": np, "sys": sys, "base64": base64, "inf": inf, "nan": nan}
    scope["results"] = {"result": result}
    with pytest.raises(SystemExit) as exit_info:
        exec(comparison_lines({"result": expected}, NUMPY), scope)
    return int(exit_info.value.code or 0), scope["fits"]


def load(id: str) -> tuple[Check, Reference, Expected]:
    check = find_check(id, ROOT)
    backend = registry.get(check.backend)
    operands = inputs.operands(check.case, check.dtype)
    precision = backend.precision(check) if DTYPES[check.dtype].inexact else None
    expected = DIRECTIONS[check.direction].reference(check.case, check.dtype, operands, precision)
    return check, expected, expected_result(check, backend)


def trial_results(right: Expected) -> Iterator[Array]:
    """Results at both ends of what fits, just outside, and far away; parts of complex numbers in a last axis."""
    kind = DTYPES[right.dtype].numpy
    part = np.zeros(0, kind).real.dtype
    with np.errstate(all="ignore"):
        nearest = right.right.astype(part)
        low, high = right.lowest.astype(part), right.highest.astype(part)
        below, above = (np.nextafter(end, part.type(to)) for end, to in ((low, -inf), (high, inf)))
        yield from (nearest, low, high, below, above, -nearest, nearest + part.type(1))
        for number in (0.0, -0.0, 1e-40, nan, inf, -inf):
            yield np.full(nearest.shape, number).astype(part)


@pytest.mark.parametrize(
    "id",
    [
        f"{PRODUCT}[numpy-cpu-einsum-eager-float64]",
        f"{COLUMNS}[numpy-cpu-einsum-eager-float32]",
        f"{ROW}[numpy-cpu-matmul-eager-float16]",  # NaN in some rows
        f"{COMPLEX}[numpy-cpu-einsum-eager-complex64]",
        f"{COMPLEX}[numpy-cpu-einsum-eager-complex128]",
        f"{PRODUCT}[jax-cpu-einsum-eager-bfloat16]",
        "cases/einsum/signed_zeros.yaml::copied[numpy-cpu-einsum-eager-float64]",
        "cases/einsum/signed_zeros.yaml::complex_copied[numpy-cpu-einsum-eager-complex64]",
        "cases/einsum/special_values.yaml::infinity_summed_beforehand[numpy-cpu-einsum-eager-float32]",
        "cases/einsum/overflow.yaml::twice_the_largest[numpy-cpu-einsum-eager-float32]",
        "cases/einsum/subnormals.yaml::copied[jax-cpu-einsum-eager-float32]",  # flushed
        "cases/einsum/subnormals.yaml::product_of_normals[jax-cpu-einsum-eager-float32]",
        "cases/einsum/subnormals.yaml::complex_product[jax-cpu-einsum-eager-complex64]",
        f"{TRUNCATED}[tensorflow-cpu-matmul-eager-bfloat16]",
    ],
)
def test_a_program_accepts_what_the_suite_accepts(id: str) -> None:
    _, right, accepted = load(id)
    assert right.error is not None
    assert right.precision is not None
    statuses = set()
    for values in trial_results(accepted):
        result = values
        if right.dtype.kind == "complex":
            result = np.ascontiguousarray(values).view(right.dtype.numpy)[..., 0]
        got = components(result)
        ratio = error_ratio(got, right.value, np.broadcast_to(right.error, got.shape), right.precision)
        wrong = (ratio > 1) | opposite_zeros(got, right)
        status, fits = run_comparison(result, accepted)
        np.testing.assert_array_equal(fits, ~wrong)
        assert status == bool(wrong.any())
        statuses.add(status)
    assert statuses == ({0} if np.isinf(right.error).all() else {0, 1})


@pytest.mark.parametrize(
    ("id", "place", "change"),
    [
        (f"{COLUMNS}[numpy-cpu-einsum-eager-float32]", (7, 3), 1.01),
        (f"{PRODUCT}[numpy-cpu-einsum-eager-float64]", (1, 1), 1.000001),
        ("cases/einsum/integers.yaml::matrix_product[numpy-cpu-einsum-eager-int32]", (1, 1), 2),
    ],
)
def test_one_wrong_number_is_reported(
    id: str, place: tuple[int, int], change: float, capsys: pytest.CaptureFixture[str]
) -> None:
    check, _, accepted = load(id)
    result = registry.get(check.backend).run(check, inputs.operands(check.case, check.dtype)).copy()
    assert run_comparison(result, accepted)[0] == 0
    assert f"result: 0 of {result.size} numbers are wrong" in capsys.readouterr().out
    result[place] *= change
    assert run_comparison(result, accepted)[0] == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith(f"  {list(place)} expected ")
    assert f"got {result[place].item()!r}, OUTSIDE " in lines[1]
    assert f"result: 1 of {result.size} numbers are wrong" in lines


def test_a_wrong_dtype_or_shape_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    _, right, accepted = load(f"{PRODUCT}[numpy-cpu-einsum-eager-float32]")
    value = np.asarray(right.value).astype(np.float32)
    for result in (value.astype(np.float64), value[None]):
        with pytest.raises(SystemExit, match="1"):
            exec(
                comparison_lines({"result": accepted}, NUMPY),
                {"np": np, "sys": sys, "inf": inf, "nan": nan, "base64": base64, "results": {"result": result}},
            )
        assert f"result: {result.dtype}, shape {result.shape}; expected float32, " in capsys.readouterr().out


def test_without_a_bound_every_number_fits() -> None:
    none = Expected("float32", np.ones(3), np.full(3, nan, np.float32), np.full(3, nan, np.float32))
    assert run_comparison(np.array([nan, inf, 5.0], np.float32), none)[0] == 0


def test_copied_zeros_keep_their_sign() -> None:
    copied = Expected("float32", np.array([0.0, -0.0]), *[np.zeros(2, np.float32)] * 2, signed=True)
    assert run_comparison(np.array([0.0, -0.0], np.float32), copied)[0] == 0
    assert run_comparison(np.array([0.0, 0.0], np.float32), copied)[0] == 1


def test_flushed_numbers_fit_outside_the_interval() -> None:
    ends = [np.array([2e-38], np.float32), np.array([3e-38], np.float32)]
    flushed = Expected("float32", np.array([2.5e-38]), *ends, zeros=np.array([True]))
    for number, status in ((2.5e-38, 0), (0.0, 0), (1.5e-38, 1)):
        assert run_comparison(np.array([number], np.float32), flushed)[0] == status
