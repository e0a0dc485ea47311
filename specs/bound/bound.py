"""The reference of a case with its bound, for one dtype and declared precision: whichever kind and direction it has.

It is computed once and shared by all backends of a worker; one that was dear is kept on disk (`specs.reference.cache`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from specs.arithmetic.double_double import to_float64
from specs.arithmetic.formats import DTYPES, Array, DType, components
from specs.arithmetic.precision import Precision, declared_precision
from specs.bound import attention, attention_gradient, einsum, einsum_gradient
from specs.case.attention import AttentionConfig
from specs.case.case import Case
from specs.case.einsum import EinsumConfig
from specs.case.error import CaseError
from specs.inputs import inputs
from specs.reference import cache
from specs.reference.reference import Reference

DEAR_SECONDS = 0.05  # cheaper references are computed again rather than read from a file


def reference(
    case: Case,
    dtype_name: str,
    operands: Mapping[str, Array],
    precision: Precision | None,
    folder: Path | None = None,
    gradient_of: str | None = None,
) -> Reference:
    """What the case's result must be for these operands, and how far it may be off; or the gradient of one of them.

    `folder` keeps dear references between runs.  Raises CaseError where the case has no meaning, or where its literal
    expectation contradicts the formula.
    """
    dtype = DTYPES[dtype_name]
    if (found := cache.find(cache.key(case, dtype, precision, gradient_of), folder)) is not None:
        return found
    started = time.perf_counter()
    made: dict[str | None, Reference]
    if gradient_of is None:
        made = {None: _evaluate(case, dtype, operands, precision)}
        if case.config.expect is not None and case.config.expect.value is not None:
            _check_literal(case, dtype, made[None])
    else:  # a check asks for all of them
        assert precision is not None
        made = dict(_gradients(case, dtype, operands, precision).items())
    dear = time.perf_counter() - started > DEAR_SECONDS
    for name, each in made.items():
        cache.keep(cache.key(case, dtype, precision, name), each, folder if dear else None)
    return made[gradient_of]


def _evaluate(case: Case, dtype: DType, operands: Mapping[str, Array], precision: Precision | None) -> Reference:
    random = inputs.random_terms(case)
    if isinstance(case.config, EinsumConfig):
        return einsum.reference(case.config, dtype, list(operands.values()), precision, random)
    assert isinstance(case.config, AttentionConfig)
    if precision is None:
        raise CaseError("dtype", f"attention is not defined for {dtype.name}")
    return attention.reference(case.config, dtype, operands, precision, random)


def _gradients(case: Case, dtype: DType, operands: Mapping[str, Array], precision: Precision) -> dict[str, Reference]:
    """Of every operand that has one."""
    cotangent, random = inputs.cotangent(case, dtype.name), inputs.random_terms(case)
    if isinstance(case.config, AttentionConfig):
        return attention_gradient.references(case.config, dtype, operands, cotangent, precision, random)
    arrays, names = list(operands.values()), list(operands)
    return {
        name: einsum_gradient.reference(case.config, dtype, arrays, cotangent, names.index(name), precision, random)
        for name in inputs.differentiable(operands)
    }


def _check_literal(case: Case, dtype: DType, computed: Reference) -> None:
    """A stated value must be what the formula gives: exactly for integers, to float64's accuracy for others.

    Literals are decimal, so for inexact dtypes they are held against the formula on float64 operands; the backends are
    held against the formula on the operands that they really receive.
    """
    assert case.config.expect is not None
    # Integers as such, for not every one of 64 bits fits a float
    stated = np.array(case.config.expect.value, dtype.widest.numpy if dtype.inexact else object)
    if dtype.inexact:
        if dtype != dtype.widest:
            wide = inputs.operands(case, dtype.widest.name)
            computed = _evaluate(case, dtype.widest, wide, declared_precision(dtype.widest))
        stated, value = components(stated), to_float64(computed.value)
    else:
        value = np.asarray(computed.value).astype(object)
    if stated.shape != value.shape:
        raise CaseError("shape_mismatch", f"expect.value has shape {stated.shape}, the result has {value.shape}")
    if computed.error is None:
        wrong = np.asarray(stated != value)
    else:
        with np.errstate(invalid="ignore"):
            far = np.abs(stated - value) > computed.error + 2.0**-52 * np.abs(stated)
        same = (stated == value) | (np.isnan(stated) & np.isnan(value))
        wrong = np.where(np.isfinite(stated) & np.isfinite(value), far, ~same)
    if np.any(wrong):
        index = tuple(int(i) for i in np.unravel_index(np.argmax(wrong), wrong.shape))
        message = f"expect.value at {list(index)} is {stated[index]}, but the formula gives {value[index]}"
        raise CaseError("syntax", message)
