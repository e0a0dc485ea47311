"""The results of a case, on its own inputs and on designed inputs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from specs.arithmetic.double_double import to_float64
from specs.arithmetic.formats import DTYPES, Array, DType, components
from specs.arithmetic.precision import Precision, declared_precision
from specs.bound import attention, einsum
from specs.case.attention import AttentionConfig
from specs.case.case import Case
from specs.case.common import RESULT
from specs.case.einsum import EinsumConfig
from specs.case.error import CaseError
from specs.inputs import designed, inputs
from specs.reference.reference import Reference
from specs.verdict.check import Check
from specs.verdict.direction import BackendProtocol, Direction, Output


class Forward(Direction):
    method = "forward"
    of_result = False

    def exists(self, case: Case, dtype: str) -> bool:
        return True

    def outputs(self, check: Check) -> list[Output]:
        recipes = designed.applicable_recipes(check.case, check.dtype)
        labels = check.case.config.output_labels
        own = [Output(label, check.case) for label in labels]
        designed_cases = {name: designed.with_recipe(check.case, name) for name in recipes}
        return [*own, *(Output(label, case, recipe=name) for name, case in designed_cases.items() for label in labels)]

    def call(
        self, backend: BackendProtocol, check: Check, operands: Mapping[str, Array], extra: Mapping[str, Array]
    ) -> Mapping[str, Array]:
        if check.case.config.output_labels == (RESULT,):
            return {RESULT: backend.run(check, operands)}
        return backend.outputs(check, operands)

    def references(
        self,
        case: Case,
        dtype: str,
        operands: Mapping[str, Array],
        extra: Mapping[str, Array],
        precision: Precision | None,
    ) -> Mapping[str, Reference]:
        """Raises CaseError where the case has no meaning, or its literal `expect.value` contradicts the formula."""
        references = _evaluate(case, DTYPES[dtype], operands, precision)
        if case.config.expect is not None and case.config.expect.value is not None:
            _check_literal(case, DTYPES[dtype], references[RESULT])
        return references


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
