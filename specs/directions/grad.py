"""The vector-Jacobian product: for a cotangent c, the gradient of sum(c * result) by every differentiable operand."""

from __future__ import annotations

from collections.abc import Mapping

from specs.arithmetic.formats import DTYPES, Array
from specs.arithmetic.precision import Precision
from specs.bound import attention_gradient, einsum_gradient
from specs.case.attention import AttentionConfig
from specs.case.case import Case
from specs.case.common import COTANGENT
from specs.inputs import designed, inputs, pairs
from specs.reference.reference import Reference
from specs.verdict.check import Check
from specs.verdict.direction import BackendProtocol, Direction, Output


class Gradient(Direction):
    method = "pullback"
    conjugated = True

    def exists(self, case: Case, dtype: str) -> bool:
        """For inexact dtypes, in a valid case that does not turn gradients off.

        Attention whose case expects NaN, for queries without keys or under a mask, has no derivative there.
        """
        config = case.config
        requested = dtype in config.gradient if isinstance(config.gradient, list) else config.gradient
        if not requested or config.expected_error:
            return False
        if isinstance(config, AttentionConfig) and (config.fully_masked == "nan" or config.masked_values == "spread"):
            return False
        operands = getattr(config, "operand_dtypes", None) or [dtype]
        return DTYPES[dtype].inexact and any(DTYPES[name].inexact for name in operands)

    def extra_inputs(self, case: Case, dtype: str) -> dict[str, Array]:
        return {COTANGENT: inputs.cotangent(case, dtype)}

    def outputs(self, check: Check) -> list[Output]:
        names = inputs.differentiable(inputs.operands(check.case, check.dtype))
        own = [Output(name, check.case, role="gradient of") for name in names]
        if not pairs.applies(check.case, check.dtype):
            return own
        designed_case = designed.with_recipe(check.case, "pairs")
        return [*own, *(Output(name, designed_case, role="gradient of", recipe="pairs") for name in names)]

    def call(
        self, backend: BackendProtocol, check: Check, operands: Mapping[str, Array], extra: Mapping[str, Array]
    ) -> Mapping[str, Array]:
        return backend.gradient(check, operands, extra[COTANGENT])

    def references(
        self,
        case: Case,
        dtype: str,
        operands: Mapping[str, Array],
        extra: Mapping[str, Array],
        precision: Precision | None,
    ) -> Mapping[str, Reference]:
        assert precision is not None
        config, cotangent, random = case.config, extra[COTANGENT], inputs.has_random_terms(case)
        if isinstance(config, AttentionConfig):
            return attention_gradient.references(config, DTYPES[dtype], operands, cotangent, precision, random)
        arrays, names = list(operands.values()), list(operands)
        return {
            name: einsum_gradient.reference(
                config, DTYPES[dtype], arrays, cotangent, names.index(name), precision, random
            )
            for name in inputs.differentiable(operands)
        }
