"""What a backend states of itself: what it offers, in which precision, and what that costs."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from importlib.metadata import PackageNotFoundError, version
from typing import ClassVar

from backends.attention.base import Attention
from backends.contract.declaration import Declaration
from backends.parts.dialect import Dialect
from backends.parts.mode import COMPILED, EAGER, Mode
from specs.arithmetic.formats import DTYPES
from specs.arithmetic.precision import Precision, declared_precision
from specs.case.case import Config
from specs.case.einsum import EinsumConfig
from specs.verdict.check import Check
from specs.verdict.direction import DIRECTIONS
from specs.verdict.place import Place, Share

DEFAULT_COST = 3.0  # CPU milliseconds of a check for which nothing is compiled


class DefinedDirections:
    """The directions whose method a class defines."""

    def __get__(self, instance: object, owner: type) -> tuple[str, ...]:
        return tuple(name for name, direction in DIRECTIONS.items() if hasattr(owner, direction.method))


class Capabilities:
    """What a backend states of itself, as class attributes and methods that need no framework.

    name             the name used on the command line; also the file's name
    distribution     the package whose version is reported
    related          other packages whose versions can change results
    implementations  for each kind of case the names of its implementations, in order
    on_request       those implementations that run only where a case or the command line names them
    formulations     the class of each attention implementation
    modes            how a computation can be executed: what each mode is, by its name, or their names alone
    default_modes    those that run unless others are requested
    usual_mode       the mode in which people run the framework
    cheap_modes      modes in which most checks cost little more than their comparison: standard runs all that do
    modes_of         implementations that exist in these modes only
    shares           modes too costly to be chosen case by case: a tier runs what fits into a budget, chosen over all
                     cases by kinds and features (`specs.verdict.place.Share`); with `--mode` all that is asked for runs
    costs            CPU milliseconds of a check by mode and direction, in a first run; measured (docs/performance.md)
    declarations     precision table: the rows that apply override, in order, what the dtype promises
    varying          rows, without formats, of the checks whose results may have other bits each time, with the reason
    directions       what it can compute: the directions whose `method` it defines (`specs.verdict.direction`); a tuple
                     of names only where that is not so
    variables        for an implementation the environment variables that it needs, with their values
    conjugates       whether its gradient of complex numbers is that for steepest descent, the conjugate of what the
                     project uses, the transpose of the derivative (`specs.reference.einsum_gradient`)
    dialect          how stand-alone programs make and read its tensors; None: it has no such programs
    quiet            whether what the framework logs while it starts is kept from stderr
    """

    name: ClassVar[str]
    distribution: ClassVar[str]
    related: ClassVar[tuple[str, ...]] = ()
    implementations: ClassVar[Mapping[str, tuple[str, ...]]]
    on_request: ClassVar[frozenset[str]] = frozenset()
    formulations: ClassVar[Mapping[str, type[Attention]]] = {}
    modes: ClassVar[Mapping[str, Mode] | tuple[str, ...]] = {"eager": EAGER}
    default_modes: ClassVar[tuple[str, ...]] = ("eager",)
    usual_mode: ClassVar[str] = "eager"
    cheap_modes: ClassVar[frozenset[str]] = frozenset({"eager"})
    costs: ClassVar[Mapping[tuple[str, str], float]] = {}
    modes_of: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    shares: ClassVar[Mapping[str, Share]] = {}
    declarations: ClassVar[tuple[Declaration, ...]] = ()
    varying: ClassVar[tuple[Declaration, ...]] = ()
    directions = DefinedDirections()
    conjugates: ClassVar[bool] = False
    variables: ClassVar[Mapping[str, Mapping[str, str]]] = {}
    dialect: ClassVar[Dialect | None] = None
    quiet: ClassVar[bool] = True

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
            usual=cls.is_usual,
            cheap_modes=cls.cheap_modes,
            cost=cls.cost,
            handwritten=cls.is_handwritten,
            shares=cls.shares,
            modes_of=cls.modes_of,
        )

    @classmethod
    def mode_of(cls, check: Check) -> Mode:
        """What the check's mode is.

        A mode that is only named is what a base class declares of that name, or else compiled.
        """
        declarations = (vars(owner).get("modes") for owner in cls.mro())
        known = (modes[check.mode] for modes in declarations if isinstance(modes, Mapping) and check.mode in modes)
        return next(known, COMPILED)

    @classmethod
    def cost(cls, check: Check) -> float:
        """CPU milliseconds of a check; by default what `costs` says of its mode and direction."""
        return cls.costs.get((check.mode, check.direction), DEFAULT_COST)

    @classmethod
    def is_handwritten(cls, check: Check) -> bool:
        """Whether its implementation is attention written out in the framework's operations, not one of its own."""
        formulation = cls._formulation(check)
        return formulation is not None and formulation.handwritten

    @classmethod
    def is_usual(cls, check: Check) -> bool:
        """Whether its mode is the one in which people use its implementation."""
        formulation = cls._formulation(check)
        return check.mode == ((formulation and formulation.usual_mode) or cls.usual_mode)

    @classmethod
    def _formulation(cls, check: Check) -> type[Attention] | None:
        return cls.formulations.get(check.implementation) if check.case.kind == "attention" else None

    @classmethod
    def _device_patterns(cls, implementation: str) -> tuple[str, ...]:
        return cls.formulations[implementation].devices if implementation in cls.formulations else ("*",)

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
