"""The contract between the suite and a framework.

A backend is one class in one file.  Its class attributes say what it offers and are readable without the framework;
an instance is the framework, imported.  Everything a backend computes goes through three steps that tests and modes
vary independently: operands become tensors, a computation is built (and compiled if the mode asks), its result
becomes an array again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np

from backends.attention.base import Attention
from backends.parts.contraction import Contraction
from backends.parts.framework import INSTALLED, Framework
from backends.parts.primitives import Operands, Primitives, Tensor
from specs.arithmetic.formats import DTYPES, Array
from specs.arithmetic.precision import Precision, declared_precision
from specs.case.attention import AttentionConfig
from specs.case.case import Config
from specs.case.einsum import EinsumConfig
from specs.inputs.inputs import differentiable
from specs.verdict.check import Check
from specs.verdict.direction import DIRECTIONS
from specs.verdict.place import Place

Computation = Callable[[Operands], Tensor]  # operands by name → result
# operands, cotangent → gradients by the operand's name, None where the framework sees no connection
Pullback = Callable[[Operands, Tensor], Mapping[str, Tensor | None]]
AnyComputation = TypeVar("AnyComputation", bound=Callable[..., Any])


PLACE = ("device", "implementation", "mode", "dtype")  # of a check, what a declaration can depend on beside its kind


@dataclass(frozen=True)
class Declaration:
    """One row of a backend's precision table: where it applies (glob patterns) and what differs from the default."""

    formats: Mapping[str, str | bool]
    kind: str = "*"
    device: str = "*"
    implementation: str = "*"
    mode: str = "*"
    dtype: str = "*"
    reason: str = field(default="", kw_only=True)

    def applies(self, check: Check) -> bool:
        where = {"kind": check.case.kind, **{name: getattr(check, name) for name in PLACE}}
        return all(fnmatchcase(value, getattr(self, name)) for name, value in where.items())


def copied(array: Array) -> Array:
    """A writable copy that lies in memory alike: aligned alike, with the same strides as long as they are positive."""
    if not array.size or any(stride <= 0 for stride in array.strides):
        return np.array(array, order="C")
    last = sum((size - 1) * stride for size, stride in zip(array.shape, array.strides, strict=True))
    buffer = np.zeros(last + array.itemsize + 64, np.uint8)
    offset = (array.ctypes.data - buffer.ctypes.data) % 64
    # An axis of one element has any stride for NumPy, but a framework may look at it
    strides = None if array.flags.c_contiguous else array.strides
    own: Array = np.ndarray(array.shape, array.dtype, buffer, offset, strides)
    own[...] = array
    return own


class Backend(ABC):
    """One framework.  Instantiating it imports the framework and raises ImportError where that is impossible.

    Its modules are taken of the `framework` that it is made with, and of nothing else.

    name             how people ask for it; also the file's name
    distribution     the package whose version is reported
    related          other packages whose versions can change results
    implementations  for each kind, the ways this backend offers to compute a case, in order
    on_request       of these, implementations that run only where a case or the command line names them
    formulations     the class of each attention implementation
    modes            how a computation can be executed; of these `default_modes` are run unless others are asked for
    declarations     precision table: rows that apply are merged in order over what the dtype promises
    differentiates   whether it can take gradients; if so, `pullback` is overridden
    variables        environment variables without which an implementation is not offered, and their values
    conjugates       whether a gradient of complex numbers is that of steepest descent, conjugate to the transpose of
                     the derivative which the project holds (`specs.reference.einsum_gradient`)
    quiet            whether a framework's chatter while it starts is kept from stderr
    framework        of an instance: the modules that it computes with
    primitives       of an instance: what the formulations need of the framework
    """

    name: ClassVar[str]
    distribution: ClassVar[str]
    related: ClassVar[tuple[str, ...]] = ()
    implementations: ClassVar[Mapping[str, tuple[str, ...]]]
    on_request: ClassVar[frozenset[str]] = frozenset()
    formulations: ClassVar[Mapping[str, type[Attention]]] = {}
    modes: ClassVar[tuple[str, ...]] = ("eager",)
    default_modes: ClassVar[tuple[str, ...]] = ("eager",)
    declarations: ClassVar[tuple[Declaration, ...]] = ()
    differentiates: ClassVar[bool] = False
    conjugates: ClassVar[bool] = False
    variables: ClassVar[Mapping[str, Mapping[str, str]]] = {}

    quiet: ClassVar[bool] = True

    framework: Framework = INSTALLED
    primitives: Primitives
    _built: Mapping[object, Computation] = {}  # the last computation, for a check runs one on several inputs

    def __init__(self, framework: Framework = INSTALLED) -> None:
        self.framework = framework

    @classmethod
    def version(cls) -> str:
        """Installed version, read without importing; "unknown" where the distribution has no metadata."""
        try:
            return version(cls.distribution)
        except PackageNotFoundError:
            return "unknown"

    @classmethod
    def distinct(cls, config: Config, implementation: str, device: str) -> bool:
        """Whether an implementation computes `config` in a way of its own.

        Where another one is by construction the same there is nothing to learn from it, and no check is made.
        """
        if isinstance(config, EinsumConfig):
            return cls.distinct_einsums(config, device).get(implementation, True)
        return implementation not in cls.formulations or cls.formulations[implementation].distinct(config)

    @classmethod
    def distinct_einsums(cls, config: EinsumConfig, device: str) -> Mapping[str, bool]:
        """The implementations of einsum that are distinct for some equations only, and whether they are for this."""
        return {}

    # What it can do -----------------------------------------------------------------------------------------------

    @classmethod
    def offered(cls, kind: str, device: str) -> tuple[str, ...]:
        """The implementations for a kind of case that exist on a device."""
        names = cls.implementations[kind]
        if kind != "attention":
            return names
        return tuple(name for name in names if any(fnmatchcase(device, at) for at in cls._devices_of(name)))

    @classmethod
    def place(cls, device: str) -> Place:
        """What is computed on a device unless something else is asked for."""
        return Place(
            backend=cls.name,
            device=device,
            implementations={kind: cls.offered(kind, device) for kind in cls.implementations},
            modes=cls.default_modes,
            directions=tuple(DIRECTIONS) if cls.differentiates else ("forward",),
            on_request=cls.on_request,
            distinct=cls.distinct,
        )

    @classmethod
    def _devices_of(cls, implementation: str) -> tuple[str, ...]:
        return cls.formulations[implementation].devices if implementation in cls.formulations else ("*",)

    @abstractmethod
    def devices(self) -> list[str]:
        """Every place this framework can compute on here: `cpu`, `cuda:0`, `mps`, `tpu:0`."""

    @abstractmethod
    def dtypes(self, device: str) -> frozenset[str]:
        """Names of the element types that a tensor on `device` can have."""

    def unsupported(self, check: Check) -> str | None:
        """Why this backend has no such computation, or None.  Declared knowledge: nothing is tried."""
        config = check.case.config
        given = getattr(config, "operand_dtypes", None) or ()
        if lacking := [name for name in (check.dtype, *given) if name not in self.dtypes(check.device)]:
            return f"{self.name} has no {lacking[0]} on {check.device}"
        if isinstance(config, AttentionConfig) and check.implementation in self.formulations:
            return self.formulations[check.implementation].unsupported(config, check)
        return None

    @classmethod
    def rows(cls) -> tuple[Declaration, ...]:
        """The precision table as it holds on this machine, read without importing."""
        return cls.declarations

    def precision(self, check: Check) -> Precision:
        """The precision declared for a check of a floating or complex dtype."""
        merged: dict[str, str | bool] = {}
        for row in self.rows():
            if row.applies(check):
                merged |= row.formats
        return declared_precision(DTYPES[check.dtype], **merged)

    def settings(self) -> dict[str, Any]:
        """Settings of the framework that change numerics, as plain JSON values."""
        return {}

    def keep_compiled(self, folder: Path) -> None:  # noqa: B027 - most have nothing to keep
        """Keep what is compiled in `folder`, for other processes and later sessions, where the framework can."""

    # Tensors ------------------------------------------------------------------------------------------------------

    @abstractmethod
    def from_numpy(self, array: Array, device: str) -> Tensor:
        """The same bits as a tensor of the framework on `device`, bfloat16 and subnormals included.

        Where the framework's tensors have strides they are the array's.
        """

    @abstractmethod
    def to_numpy(self, tensor: Tensor) -> Array:
        """The same bits as a NumPy array (bfloat16 as ml_dtypes.bfloat16); waits until they are computed."""

    # Computation --------------------------------------------------------------------------------------------------

    def on(self, device: str) -> AbstractContextManager[object]:
        """Where a framework chooses the device itself, `device` for everything within."""
        return nullcontext()

    def einsum(self, config: EinsumConfig, implementation: str) -> Computation:
        """The contraction as a function of the operands, taken in their order."""
        return Contraction(self.primitives.einsum, config.equation)

    def attention(self, config: AttentionConfig, implementation: str) -> Computation:
        """Attention as a function of the operands by name (`specs.case.shapes.attention_shapes` lists them)."""
        return self.formulations[implementation](self.primitives, config)

    def compiled(self, computation: AnyComputation, check: Check) -> AnyComputation:
        """The computation as the check's mode executes it."""
        if check.mode == "eager":
            return computation
        raise NotImplementedError(f"{self.name} has no mode {check.mode}")

    def computation(self, config: Config, implementation: str) -> Computation:
        if isinstance(config, EinsumConfig):
            return self.einsum(config, implementation)
        return self.attention(config, implementation)

    def run(self, check: Check, operands: Mapping[str, Array]) -> Array:
        """The result of a check's case on these operands, as an array.  Whatever the framework raises, it raises."""
        tensors = {name: self.from_numpy(array, check.device) for name, array in operands.items()}
        built = (check.case, check.implementation, check.mode)
        if built not in self._built:
            self._built = {built: self.compiled(self.computation(check.case.config, check.implementation), check)}
        with self.on(check.device):
            return self.to_numpy(self._built[built](tensors))

    def pullback(self, computation: Computation, variables: Sequence[str], check: Check) -> Pullback:
        """The vector-Jacobian product of `computation` by `variables`, as the check's mode executes it."""
        raise NotImplementedError(f"{self.name} does not differentiate")

    def gradient(self, check: Check, operands: Mapping[str, Array], cotangent: Array) -> dict[str, Array]:
        """Gradient of sum(cotangent * result) for each floating or complex operand, in the project's convention.

        Operands that the framework sees no connection to are left out.  Whatever the framework raises, it raises.
        """
        variables = differentiable(operands)
        tensors = {name: self.from_numpy(array, check.device) for name, array in operands.items()}
        pulled = self.pullback(self.computation(check.case.config, check.implementation), variables, check)
        with self.on(check.device):
            found = pulled(tensors, self.from_numpy(self.own_convention(cotangent), check.device))
            return {
                name: self.own_convention(self.to_numpy(gradient))
                for name, gradient in found.items()
                if gradient is not None
            }

    def own_convention(self, values: Array) -> Array:
        """Between the project's gradients of complex numbers and this framework's, either way."""
        return np.asarray(np.conj(values)) if self.conjugates and np.iscomplexobj(values) else values
