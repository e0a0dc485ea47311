"""The reference value and error bound of a case, for one dtype and declared precision, of any kind and direction.

A reference is computed once and shared by all backends of a worker; an expensive one is also stored on disk
(`specs.reference.cache`).
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
from specs.case.common import RESULT
from specs.case.einsum import EinsumConfig
from specs.case.error import CaseError
from specs.inputs import inputs
from specs.reference import cache
from specs.reference.reference import Reference


def reference(
    case: Case,
    dtype_name: str,
    operands: Mapping[str, Array],
    precision: Precision | None,
    folder: Path | None = None,
    gradient_of: str | None = None,
    output: str = RESULT,
) -> Reference:
    """The reference of one of the case's outputs for these operands, or of the gradient of the result by one of them.

    `folder` stores expensive references between runs.  Raises CaseError where the case has no meaning, or where its
    literal `expect.value` contradicts the formula.
    """
    dtype = DTYPES[dtype_name]
    if (cached := cache.find(cache.key(case, dtype, precision, gradient_of, output), folder)) is not None:
        return cached
    started = time.perf_counter()
    cotangent = None if gradient_of is None else inputs.cotangent(case, dtype_name)
    references = evaluate(case, dtype_name, operands, cotangent, precision)
    if gradient_of is None and case.config.expect is not None and case.config.expect.value is not None:
        _check_literal(case, dtype, references[None, RESULT])
    by_key = {cache.key(case, dtype, precision, *names): value for names, value in references.items()}
    cache.store(by_key, time.perf_counter() - started, folder)
    return references[gradient_of, output]


def evaluate(
    case: Case,
    dtype_name: str,
    operands: Mapping[str, Array],
    cotangent: Array | None,
    precision: Precision | None,
) -> dict[tuple[str | None, str], Reference]:
    """The references of a case for any operands, which are not cached: of its outputs, by None and label; with a
    cotangent those of all gradients, by operand and `RESULT`.
    """
    dtype = DTYPES[dtype_name]
    if cotangent is None:
        return {(None, label): value for label, value in _evaluate(case, dtype, operands, precision).items()}
    assert precision is not None
    gradients = _gradients(case, dtype, operands, cotangent, precision)
    return {(name, RESULT): value for name, value in gradients.items()}


def _evaluate(
    case: Case, dtype: DType, operands: Mapping[str, Array], precision: Precision | None
) -> dict[str, Reference]:
    """The reference of each output, by its label."""
    random = inputs.has_random_terms(case)
    if isinstance(case.config, EinsumConfig):
        return {RESULT: einsum.reference(case.config, dtype, list(operands.values()), precision, random)}
    assert isinstance(case.config, AttentionConfig)
    if precision is None:
        raise CaseError("dtype", f"attention is not defined for {dtype.name}")
    return attention.references(case.config, dtype, operands, precision, random)


def _gradients(
    case: Case, dtype: DType, operands: Mapping[str, Array], cotangent: Array, precision: Precision
) -> dict[str, Reference]:
    """The reference gradient of each differentiable operand, by name."""
    random = inputs.has_random_terms(case)
    if isinstance(case.config, AttentionConfig):
        return attention_gradient.references(case.config, dtype, operands, cotangent, precision, random)
    arrays, names = list(operands.values()), list(operands)
    return {
        name: einsum_gradient.reference(case.config, dtype, arrays, cotangent, names.index(name), precision, random)
        for name in inputs.differentiable(operands)
    }


def _check_literal(case: Case, dtype: DType, computed: Reference) -> None:
    """Raise CaseError unless `expect.value` equals the formula: exactly for integers, to float64 accuracy for others.

    Literals are decimal, so for inexact dtypes they are compared with the formula on float64 operands; backends are
    compared with the formula on the operands that they receive.
    """
    assert case.config.expect is not None
    # Integers stay integers: not every one of 64 bits fits a float
    stated = np.array(case.config.expect.value, dtype.widest.numpy if dtype.inexact else object)
    if dtype.inexact:
        if dtype != dtype.widest:
            wide = inputs.operands(case, dtype.widest.name)
            computed = _evaluate(case, dtype.widest, wide, declared_precision(dtype.widest))[RESULT]
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
