"""The contract between the suite and a framework.

A backend is one class in one file.  Its class attributes state what it offers and can be read without the framework;
creating an instance imports the framework.  Every result takes three steps, which tests and modes vary independently:
operands are converted to tensors, a computation is built (and compiled if the mode says so), and its result is
converted back to an array.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from backends.attention.base import Attention
from backends.parts.contraction import Contraction
from backends.parts.dialect import Dialect
from backends.parts.framework import INSTALLED, Framework
from backends.parts.primitives import Operands, Primitives, Tensor
from specs.arithmetic.formats import DTYPES, Array
from specs.arithmetic.precision import Precision, declared_precision
from specs.case.attention import AttentionConfig
from specs.case.case import Config
from specs.case.common import RESULT
from specs.case.einsum import EinsumConfig
from specs.inputs import memory
from specs.inputs.inputs import differentiable
from specs.verdict.check import Check
from specs.verdict.direction import COTANGENT
from specs.verdict.execution import SideEffectError, describe_views
from specs.verdict.place import Place

Computation = Callable[[Operands], Tensor]  # operands by name → result, or a mapping of outputs by label
# operands, cotangent → gradients by operand name; None for an operand that is not connected to the result
Pullback = Callable[[Operands, Tensor], Mapping[str, Tensor | None]]
AnyComputation = Callable[..., Any]  # a computation or a pullback


# The fields of a check on which a declaration can depend, besides the kind of its case
PLACE_FIELDS = ("device", "implementation", "mode", "dtype")


@dataclass(frozen=True)
class Declaration:
    """One row of a backend's precision table: what differs from the default, and where it applies (glob patterns)."""

    formats: Mapping[str, str | bool]
    kind: str = "*"
    device: str = "*"
    implementation: str = "*"
    mode: str = "*"
    dtype: str = "*"
    direction: str = field(default="*", kw_only=True)
    reason: str = field(default="", kw_only=True)

    def applies(self, check: Check) -> bool:
        patterns = {name: getattr(self, name) for name in ("kind", *PLACE_FIELDS, "direction")}
        return all(
            pattern == "*" or fnmatchcase(check.case.kind if name == "kind" else getattr(check, name), pattern)
            for name, pattern in patterns.items()
        )


def copy_array(array: Array) -> Array:
    """A writable copy with the array's alignment (modulo 64 bytes) and, if all are positive, the same strides."""
    if not array.size or any(stride <= 0 for stride in array.strides):
        return np.array(array, order="C")
    return memory.copy(array)


class Backend(ABC):
    """One framework.  Instantiating it imports the framework, and raises ImportError where that is impossible.

    It takes its modules from the `framework` that it is created with, and from nowhere else.

    name             the name used on the command line; also the file's name
    distribution     the package whose version is reported
    related          other packages whose versions can change results
    implementations  for each kind of case the names of its implementations, in order
    on_request       those implementations that run only where a case or the command line names them
    formulations     the class of each attention implementation
    modes            how a computation can be executed; `default_modes` run unless others are requested
    usual_mode       the mode in which people run the framework
    cheap_modes      modes in which a check costs little more than its comparison: standard runs all of them
    costs            of a check by mode and direction, relative to the cheapest; measured (docs/performance.md)
    declarations     precision table: the rows that apply override, in order, what the dtype promises
    varying          rows, without formats, of the checks whose results may have other bits each time, with the reason
    directions       what it can compute (`specs.verdict.direction`); with `grad`, `pullback` is overridden
    variables        for an implementation the environment variables that it needs, with their values
    conjugates       whether its gradient of complex numbers is that for steepest descent, the conjugate of what the
                     project uses, the transpose of the derivative (`specs.reference.einsum_gradient`)
    dialect          how stand-alone programs make and read its tensors; None: it has no such programs
    quiet            whether what the framework logs while it starts is kept from stderr
    framework        instance attribute: the modules that it computes with
    primitives       instance attribute: the functions that attention formulations need from the framework
    """

    name: ClassVar[str]
    distribution: ClassVar[str]
    related: ClassVar[tuple[str, ...]] = ()
    implementations: ClassVar[Mapping[str, tuple[str, ...]]]
    on_request: ClassVar[frozenset[str]] = frozenset()
    formulations: ClassVar[Mapping[str, type[Attention]]] = {}
    modes: ClassVar[tuple[str, ...]] = ("eager",)
    default_modes: ClassVar[tuple[str, ...]] = ("eager",)
    usual_mode: ClassVar[str] = "eager"
    cheap_modes: ClassVar[frozenset[str]] = frozenset({"eager"})
    costs: ClassVar[Mapping[tuple[str, str], float]] = {}
    declarations: ClassVar[tuple[Declaration, ...]] = ()
    varying: ClassVar[tuple[Declaration, ...]] = ()
    directions: ClassVar[tuple[str, ...]] = ("forward",)
    conjugates: ClassVar[bool] = False
    variables: ClassVar[Mapping[str, Mapping[str, str]]] = {}
    dialect: ClassVar[Dialect | None] = None
    quiet: ClassVar[bool] = True

    framework: Framework = INSTALLED
    primitives: Primitives
    _last_built: Mapping[object, AnyComputation] = {}  # by its key; a check runs one computation several times

    def __init__(self, framework: Framework = INSTALLED) -> None:
        self.framework = framework

    @classmethod
    def version(cls) -> str:
        """The installed version, read without importing; "unknown" where the distribution has no metadata."""
        try:
            return version(cls.distribution)
        except PackageNotFoundError:
            return "unknown"

    @classmethod
    def is_distinct(cls, config: Config, implementation: str, device: str) -> bool:
        """Whether an implementation computes `config` differently from all others.

        One that is the same as another by construction shows nothing new, so it gets no check.
        """
        if isinstance(config, EinsumConfig):
            return cls.distinct_einsums(config, device).get(implementation, True)
        return implementation not in cls.formulations or cls.formulations[implementation].is_distinct(config)

    @classmethod
    def distinct_einsums(cls, config: EinsumConfig, device: str) -> Mapping[str, bool]:
        """For implementations of einsum that are distinct for some equations only: whether they are for this one."""
        return {}

    # Capabilities -------------------------------------------------------------------------------------------------

    @classmethod
    def implementations_on(cls, kind: str, device: str) -> tuple[str, ...]:
        """The implementations of a kind of case that exist on a device."""
        names = cls.implementations[kind]
        if kind != "attention":
            return names
        return tuple(
            name for name in names if any(fnmatchcase(device, pattern) for pattern in cls._device_patterns(name))
        )

    @classmethod
    def place(cls, device: str) -> Place:
        """What is computed on a device by default."""
        return Place(
            backend=cls.name,
            device=device,
            implementations={kind: cls.implementations_on(kind, device) for kind in cls.implementations},
            modes=cls.default_modes,
            directions=cls.directions,
            on_request=cls.on_request,
            distinct=cls.is_distinct,
            usual_mode=cls.usual_mode,
            cheap_modes=cls.cheap_modes,
            cost=cls.cost,
            handwritten=cls.is_handwritten,
        )

    @classmethod
    def cost(cls, check: Check) -> float:
        """What a check costs, relative to the cheapest; by default what `costs` says of its mode and direction."""
        return cls.costs.get((check.mode, check.direction), 1.0)

    @classmethod
    def is_handwritten(cls, check: Check) -> bool:
        """Whether its implementation is attention written out in the framework's operations, not one of its own."""
        formulation = cls.formulations.get(check.implementation) if check.case.kind == "attention" else None
        return formulation is not None and formulation.handwritten

    @classmethod
    def _device_patterns(cls, implementation: str) -> tuple[str, ...]:
        return cls.formulations[implementation].devices if implementation in cls.formulations else ("*",)

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
            return self.formulations[check.implementation].unsupported(config, check)
        return None

    @classmethod
    def rows(cls) -> tuple[Declaration, ...]:
        """The precision table for this machine, read without importing."""
        return cls.declarations

    def precision(self, check: Check) -> Precision:
        """The precision declared for a check of a floating-point or complex dtype."""
        merged: dict[str, str | bool] = {}
        for row in self.rows():
            if row.applies(check):
                merged |= row.formats
        return declared_precision(DTYPES[check.dtype], **merged)

    def varies(self, check: Check) -> str | None:
        """Why the result of a check may have other bits each time it is computed; None: it must have the same."""
        return next((row.reason for row in self.varying if row.applies(check)), None)

    def returns_view(self, check: Check) -> bool:
        """Whether the result of a check may be a view of an operand, or a gradient one of the cotangent: it then
        changes when that does.
        """
        return False

    def settings(self) -> dict[str, Any]:
        """Settings of the framework that change numerics, as plain JSON values."""
        return {}

    def keep_compiled(self, folder: Path) -> None:  # noqa: B027 - most frameworks cannot do this
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
        if check.mode == "eager":
            return computation
        raise NotImplementedError(f"{self.name} has no mode {check.mode}")

    def computation(self, config: Config, implementation: str) -> Computation:
        if isinstance(config, EinsumConfig):
            return self.einsum(config, implementation)
        return self.attention(config, implementation)

    def run(self, check: Check, operands: Mapping[str, Array]) -> Array:
        """The result of a check's case on these operands, as an array.  Exceptions of the framework are passed on."""
        return self.outputs(check, operands)[RESULT]

    def outputs(self, check: Check, operands: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs of a check's case on these operands, by label; exceptions of the framework are passed on.

        Raises SideEffectError where it did more than return a result (`inspect`).
        """
        tensors = {name: self.from_numpy(array, check.device) for name, array in operands.items()}
        compute = self._build(
            check, lambda: self.compile(self.computation(check.case.config, check.implementation), check)
        )
        with self.on(check.device):
            before = self.read(tensors)
            computed = compute(dict(tensors))
            outputs = computed if isinstance(computed, Mapping) else {RESULT: computed}
            results = {label: self.to_numpy(tensor) for label, tensor in outputs.items()}
            self.inspect(check, before, tensors, results)
        return results

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

    def pullback(self, computation: Computation, variables: Sequence[str], check: Check) -> Pullback:
        """The vector-Jacobian product of `computation` with respect to `variables`, as the check's mode executes it."""
        raise NotImplementedError(f"{self.name} does not differentiate")

    def gradient(self, check: Check, operands: Mapping[str, Array], cotangent: Array) -> dict[str, Array]:
        """Gradient of sum(cotangent * result) for each floating or complex operand, in the project's convention.

        Operands that are not connected to the result are left out.  Exceptions are those of `outputs`.
        """
        arrays = {**operands, COTANGENT: self.convert_convention(cotangent)}
        tensors = {name: self.from_numpy(array, check.device) for name, array in arrays.items()}
        pull_back = self._build(check, lambda: self._build_pullback(check, differentiable(operands)))
        with self.on(check.device):
            before, given = self.read(tensors), dict(tensors)
            gradients = pull_back(given, given.pop(COTANGENT))
            results = {
                name: self.convert_convention(self.to_numpy(gradient))
                for name, gradient in gradients.items()
                if gradient is not None
            }
            self.inspect(check, before, tensors, results)
        return results

    def _build_pullback(self, check: Check, variables: Sequence[str]) -> Pullback:
        return self.pullback(self.computation(check.case.config, check.implementation), variables, check)

    def convert_convention(self, values: Array) -> Array:
        """Convert complex gradients between the project's convention and the framework's, in either direction."""
        return np.asarray(np.conj(values)) if self.conjugates and np.iscomplexobj(values) else values
