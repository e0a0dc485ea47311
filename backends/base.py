"""The contract between the suite and a framework.

A backend is one class in one file.  Its class attributes say what it offers and are readable without the framework;
an instance is the framework, imported.  Everything a backend computes goes through three steps that tests and modes
vary independently: operands become tensors, a computation is built (and compiled if the mode asks), its result
becomes an array again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from importlib.metadata import PackageNotFoundError, version
from typing import Any, ClassVar

from specs.case import AttentionConfig, Case, Config, EinsumConfig
from specs.formats import DTYPES, Array
from specs.precision import Precision, declared

Tensor = Any
Computation = Callable[[Mapping[str, Tensor]], Tensor]  # operands by name → result


@dataclass(frozen=True)
class Declaration:
    """One row of a backend's precision table: where it applies (glob patterns) and what differs from `declared`."""

    formats: Mapping[str, str | bool]
    kind: str = "*"
    device: str = "*"
    implementation: str = "*"
    mode: str = "*"
    dtype: str = "*"
    reason: str = field(default="", kw_only=True)

    def applies(self, **where: str) -> bool:
        return all(fnmatchcase(value, getattr(self, name)) for name, value in where.items())


class Backend(ABC):
    """One framework.  Instantiating it imports the framework and raises ImportError where that is impossible.

    name             how people ask for it; also the file's name
    distribution     the package whose version is reported
    implementations  for each kind, the ways this backend offers to compute a case, in order
    modes            how a computation can be executed; the first `default_modes` are run unless others are asked for
    declarations     precision table: rows that apply are merged in order over what the dtype promises
    """

    name: ClassVar[str]
    distribution: ClassVar[str]
    implementations: ClassVar[Mapping[str, tuple[str, ...]]]
    modes: ClassVar[tuple[str, ...]] = ("eager",)
    default_modes: ClassVar[tuple[str, ...]] = ("eager",)
    declarations: ClassVar[tuple[Declaration, ...]] = ()

    @classmethod
    def version(cls) -> str:
        """Installed version, read without importing; "unknown" where the distribution has no metadata."""
        try:
            return version(cls.distribution)
        except PackageNotFoundError:
            return "unknown"

    # What it can do -----------------------------------------------------------------------------------------------

    @abstractmethod
    def devices(self) -> list[str]:
        """Every place this framework can compute on here: `cpu`, `cuda:0`, `mps`, `tpu:0`."""

    @abstractmethod
    def dtypes(self, device: str) -> frozenset[str]:
        """Names of the element types that a tensor on `device` can have."""

    def unsupported(self, config: Config, implementation: str, mode: str, dtype: str, device: str) -> str | None:
        """Why this backend has no such computation, or None.  Declared knowledge: nothing is tried."""
        if dtype not in self.dtypes(device):
            return f"{self.name} has no {dtype} on {device}"
        return None

    def precision(self, kind: str, implementation: str, mode: str, dtype: str, device: str) -> Precision:
        """The precision declared for a floating or complex dtype."""
        where = {"kind": kind, "implementation": implementation, "mode": mode, "dtype": dtype, "device": device}
        merged: dict[str, str | bool] = {}
        for row in self.declarations:
            if row.applies(**where):
                merged |= row.formats
        return declared(DTYPES[dtype], **merged)

    def settings(self) -> dict[str, Any]:
        """Settings of the framework that change numerics, as plain JSON values."""
        return {}

    # Tensors ------------------------------------------------------------------------------------------------------

    @abstractmethod
    def from_numpy(self, array: Array, device: str) -> Tensor:
        """The same bits as a tensor of the framework on `device`, bfloat16 and subnormals included."""

    @abstractmethod
    def to_numpy(self, tensor: Tensor) -> Array:
        """The same bits as a NumPy array (bfloat16 as ml_dtypes.bfloat16); waits until they are computed."""

    # Computation --------------------------------------------------------------------------------------------------

    @abstractmethod
    def einsum(self, config: EinsumConfig, implementation: str) -> Computation:
        """The contraction as a function of the operands, taken in their order."""

    @abstractmethod
    def attention(self, config: AttentionConfig, implementation: str) -> Computation:
        """Attention as a function of the operands by name (`specs.attention.operand_shapes` lists them)."""

    def compiled(self, computation: Computation, mode: str) -> Computation:
        """The computation as `mode` executes it."""
        if mode == "eager":
            return computation
        raise NotImplementedError(f"{self.name} has no mode {mode}")

    def computation(self, config: Config, implementation: str) -> Computation:
        if isinstance(config, EinsumConfig):
            return self.einsum(config, implementation)
        return self.attention(config, implementation)

    def run(self, case: Case, implementation: str, mode: str, operands: Mapping[str, Array], device: str) -> Array:
        """The case's result as an array.  Whatever the framework raises, it raises."""
        tensors = {name: self.from_numpy(array, device) for name, array in operands.items()}
        compute = self.compiled(self.computation(case.config, implementation), mode)
        return self.to_numpy(compute(tensors))
