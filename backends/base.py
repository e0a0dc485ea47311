"""The contract between the suite and a framework.

A backend is one class in one file.  Its class attributes state what it offers (`backends.contract.capabilities`) and
can be read without the framework; creating an instance imports the framework.  Every result takes three steps, which
tests and modes vary independently: operands are converted to tensors, a computation is built (and compiled if the mode
says so), and its result is converted back to an array.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from backends.contract.capabilities import Capabilities
from backends.contract.declaration import Declaration
from backends.parts.contraction import Contraction
from backends.parts.framework import INSTALLED, Framework
from backends.parts.primitives import Operands, Primitives, Tensor
from specs.arithmetic.formats import Array
from specs.case.attention import AttentionConfig
from specs.case.case import Config
from specs.case.common import COTANGENT, RESULT
from specs.case.einsum import EinsumConfig
from specs.inputs.inputs import differentiable
from specs.verdict.check import Check
from specs.verdict.direction import DIRECTIONS, Direction
from specs.verdict.execution import SideEffectError, describe_unasked, describe_views

__all__ = ["AnyComputation", "Backend", "Computation", "Contraction", "Declaration", "Pullback"]

Computation = Callable[[Operands], Tensor]  # operands by name → result, or a mapping of outputs by label
# operands, cotangent → gradients by operand name; None for an operand that is not connected to the result
Pullback = Callable[[Operands, Tensor], Mapping[str, Tensor | None]]
AnyComputation = Callable[..., Any]  # a computation or a pullback


class Backend(Capabilities, ABC):
    """One framework.  Instantiating it imports the framework, and raises ImportError where that is impossible.

    It takes its modules from the `framework` that it is created with, and from nowhere else.

    framework   instance attribute: the modules that it computes with
    primitives  instance attribute: the functions that attention formulations need from the framework
    """

    framework: Framework = INSTALLED
    primitives: Primitives
    _last_built: Mapping[object, AnyComputation] = {}  # by its key; a check runs one computation several times

    def __init__(self, framework: Framework = INSTALLED) -> None:
        self.framework = framework

    @abstractmethod
    def devices(self) -> list[str]:
        """Every device of this machine that the framework can use: `cpu`, `cuda:0`, `mps`, `tpu:0`."""

    @abstractmethod
    def dtypes(self, device: str) -> frozenset[str]:
        """Names of the dtypes that a tensor on `device` can have."""

    def unsupported(self, check: Check) -> str | None:
        """Why this backend cannot compute the check; None if it can.  This is declared: nothing is tried."""
        config = check.case.config
        dtypes = (check.dtype, *(getattr(config, "operand_dtypes", None) or ()))
        if missing := [name for name in dtypes if name not in self.dtypes(check.device)]:
            return f"{self.name} has no {missing[0]} on {check.device}"
        if isinstance(config, AttentionConfig) and check.implementation in self.formulations:
            formulation = self.formulations[check.implementation]
            reason = formulation.unsupported(config, check)
            return reason or formulation.mode_limitation(config, check, self.mode_of(check))
        return None

    def settings(self) -> dict[str, Any]:
        """Settings of the framework that change numerics, as plain JSON values."""
        return {}

    def keep_compiled(self, folder: Path) -> None:
        """Cache compiled programs in `folder`, for other processes and later sessions, if the framework can."""

    # Tensors ------------------------------------------------------------------------------------------------------

    @abstractmethod
    def from_numpy(self, array: Array, device: str) -> Tensor:
        """The array as a tensor on `device`, bit for bit, including bfloat16 and subnormal numbers.

        If the framework's tensors have strides, they are those of the array.
        """

    @abstractmethod
    def to_numpy(self, tensor: Tensor) -> Array:
        """The tensor as a NumPy array, bit for bit (bfloat16 as ml_dtypes.bfloat16); waits until it is computed."""

    # Computation --------------------------------------------------------------------------------------------------

    def on(self, device: str) -> AbstractContextManager[object]:
        """A context in which `device` is used, for frameworks that otherwise choose the device themselves."""
        return nullcontext()

    def einsum(self, config: EinsumConfig, implementation: str) -> Computation:
        """The contraction as a function of the operands, which keep their order."""
        return Contraction(self.primitives.einsum, config.equation)

    def attention(self, config: AttentionConfig, implementation: str) -> Computation:
        """Attention as a function of the operands by name (listed by `specs.case.shapes.attention_shapes`)."""
        return self.formulations[implementation](self.primitives, config)

    def compile(self, computation: AnyComputation, check: Check) -> AnyComputation:
        """The computation as the check's mode executes it."""
        if self.mode_of(check).execution == "eager":
            return computation
        raise NotImplementedError(f"{self.name} has no mode {check.mode}")

    def computation(self, config: Config, implementation: str) -> Computation:
        if isinstance(config, EinsumConfig):
            return self.einsum(config, implementation)
        return self.attention(config, implementation)

    def forward(self, computation: Computation, variables: Sequence[str], check: Check) -> Computation:
        """The function of direction `forward`: the computation, as the check's mode executes it."""
        return self.compile(computation, check)

    # A backend that differentiates also defines `pullback`, with these arguments: it returns a `Pullback`, the
    # vector-Jacobian product of `computation` with respect to `variables`, as the check's mode executes it

    def run(self, check: Check, operands: Mapping[str, Array]) -> Array:
        """The result of a check's case on these operands, as an array.  Exceptions of the framework are passed on.

        Raises SideEffectError if there are other outputs.
        """
        outputs = self.outputs(check, operands)
        if others := outputs.keys() - {RESULT}:
            raise SideEffectError(describe_unasked(others), {RESULT: outputs[RESULT]})
        return outputs[RESULT]

    def outputs(self, check: Check, operands: Mapping[str, Array]) -> Mapping[str, Array]:
        """All outputs of a check's case on these operands, by label, as `evaluate` returns them."""
        return self.evaluate(check, operands, {})

    def gradient(self, check: Check, operands: Mapping[str, Array], cotangent: Array) -> Mapping[str, Array]:
        """Gradient of sum(cotangent * result) for each floating or complex operand, in the project's convention.

        Operands that are not connected to the result are left out.
        """
        return self.evaluate(check, operands, {COTANGENT: cotangent})

    def evaluate(self, check: Check, operands: Mapping[str, Array], extra: Mapping[str, Array]) -> Mapping[str, Array]:
        """The outputs of a check's direction, by label; `extra` are its inputs besides the operands.

        Exceptions of the framework are passed on.  Raises SideEffectError where it did more than return a result
        (`inspect`).
        """
        direction = DIRECTIONS[check.direction]
        convert = self.convert_convention if direction.conjugated else lambda values: values
        arrays = {**operands, **{name: convert(array) for name, array in extra.items()}}
        distinct = {id(array): self.from_numpy(array, check.device) for array in arrays.values()}
        tensors = {name: distinct[id(array)] for name, array in arrays.items()}  # what is one array is one tensor
        function = self._build(check, lambda: self._function(direction, check, differentiable(operands)))
        with self.on(check.device):
            before = self.read(tensors)
            given = ({name: tensors[name] for name in names} for names in (operands, extra))
            computed = function(*direction.arguments(*given))
            if isinstance(computed, Mapping):
                outputs = {label: tensor for label, tensor in computed.items() if tensor is not None}
            else:
                outputs = {RESULT: computed}
            results = {label: convert(self.to_numpy(tensor)) for label, tensor in outputs.items()}
            self.inspect(check, before, tensors, results)
        return results

    def _function(self, direction: Direction, check: Check, variables: Sequence[str]) -> AnyComputation:
        make: Callable[..., AnyComputation] | None = getattr(self, direction.method, None)
        if make is None:
            raise NotImplementedError(f"{self.name} has no {check.direction}: it does not define `{direction.method}`")
        computation = self.computation(check.case.config, check.implementation)
        if direction.of_result and check.case.config.output_labels != (RESULT,):
            return make(lambda operands: computation(operands)[RESULT], variables, check)
        return make(computation, variables, check)

    def _build(self, check: Check, build: Callable[[], AnyComputation]) -> AnyComputation:
        """What `build` returns, built once for all runs of a check that follow each other."""
        key = (check.case, check.implementation, check.mode, check.direction)
        if key not in self._last_built:
            self._last_built = {key: build()}
        return self._last_built[key]

    def read(self, tensors: Mapping[str, Tensor]) -> dict[str, bytes]:
        """What tensors hold, by name."""
        return {name: np.asarray(self.to_numpy(tensor)).tobytes() for name, tensor in tensors.items()}

    def inspect(
        self,
        check: Check,
        before: Mapping[str, bytes],
        tensors: Mapping[str, Tensor],
        results: Mapping[str, Array],
    ) -> None:
        """Raise SideEffectError if tensors hold something else than `before`, or if a result is a view of a tensor that
        can be changed although the check declares none.
        """
        after = {name: np.asarray(self.to_numpy(tensors[name])) for name in before}
        effects = [f"{name} was changed in place" for name in before if after[name].tobytes() != before[name]]
        if not self.returns_view(check):
            effects += describe_views(results, {name: array for name, array in after.items() if array.flags.writeable})
        if effects:
            raise SideEffectError("; ".join(effects), results)

    def convert_convention(self, values: Array) -> Array:
        """Convert complex gradients between the project's convention and the framework's, in either direction."""
        return np.asarray(np.conj(values)) if self.conjugates and np.iscomplexobj(values) else values
