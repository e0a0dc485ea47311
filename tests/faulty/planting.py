"""Faults behind the other frameworks: a framework's own backend, in which every computation makes the same mistake.

A fault is NumPy's backend with one step replaced.  Where that step computes with operators of tensors and with the
primitives alone, it is as wrong in torch, JAX and TensorFlow, and inside what these compile:

    a step of attention      replaces that of a handwritten formulation
    a misread config         is given to any formulation, fused ones too
    a wrong contraction      is made of the framework's own einsum, in equations and in attention
    a wrong gradient         is made of the framework's own: another config, another cotangent, other gradients returned

A place says where the mistake is made.  Only checks of that place are affected, so only these need to run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, ClassVar

from backends.base import Backend, Computation, Pullback
from backends.discovery import registry
from backends.parts.framework import INSTALLED, Framework
from backends.parts.primitives import Operands, Tensor
from specs.case.attention import AttentionConfig
from specs.case.case import Config
from specs.case.einsum import EinsumConfig
from specs.verdict.check import Check
from specs.verdict.deviation import Match, describe
from tests.faulty.backward import Backward, Kernel
from tests.faulty.fault import Fault
from tests.faulty.wrong import CustomEinsum, Misread

FIELDS = ("implementation", "mode", "dtype", "direction")


@dataclass(frozen=True)
class Planting:
    """A fault behind one backend, and the checks that it affects."""

    fault: Fault
    backend: str
    place: Match

    def describe_place(self) -> str:
        return " ".join([self.backend, *(str(getattr(self.place, name)) for name in FIELDS)])

    def affects(self, check: Check) -> bool:
        return self.place.applies(describe(check))

    @property
    def right(self) -> Backend:
        """The backend without the fault; for gradients in NumPy, which has none, one with a way back by hand."""
        if self.backend == "numpy" and issubclass(self.fault.backend, Backward):
            return _by_hand(Kernel if issubclass(self.fault.backend, Kernel) else Backward)
        return registry.get(self.backend)

    @property
    def wrong(self) -> Backend:
        """The backend with the fault; LookupError for one that is written for NumPy's arrays alone."""
        if self.backend == "numpy":
            return self.fault.backend()
        if not is_portable(self.fault):
            raise LookupError(f"{self.fault.name} cannot be planted behind {self.backend}")
        own = type(self.right)
        return type(f"Faulty{own.__name__}", (Planted, own), {"fault": self.fault})()


@cache
def _by_hand(backend: type[Backward]) -> Backward:
    return backend()


def make_planting(fault: Fault, place: str) -> Planting:
    """A fault at a place that is written as `backend implementation mode dtype direction`, each `*` or a pattern."""
    backend, *values = place.split()
    kind = "attention" if fault.step or issubclass(fault.backend, Backward) else "*"
    return Planting(fault, backend, Match(case="*", kind=kind, **dict(zip(FIELDS, values, strict=True))))


def is_portable(fault: Fault) -> bool:
    """Whether a fault has a part that any framework can make; whether that part suffices, running it shows."""
    own = vars(fault.backend)
    if issubclass(fault.backend, Backward):
        return not {"misread", "receive", "finish"}.isdisjoint(own)
    return fault.step is not None or issubclass(fault.backend, CustomEinsum)


class Planted(Backend):
    """A framework's backend, named next among the bases, with the mistake of `fault`."""

    fault: ClassVar[Fault]

    def __init__(self, framework: Framework = INSTALLED) -> None:
        super().__init__(framework)
        self.numpy = self.fault.backend()
        self.primitives = replace(self.primitives, einsum=self.contract_with(self.primitives.einsum))

    def contract_with(self, einsum: Any) -> Any:
        """An einsum that makes the mistake, if contractions have it."""
        return partial(self.numpy.contract, einsum) if isinstance(self.numpy, CustomEinsum) else einsum

    def computation(self, config: Config, implementation: str) -> Computation:
        if isinstance(config, EinsumConfig):
            contraction: Any = super().computation(config, implementation)
            evaluate = partial(contraction.evaluate, **dict(contraction.options))
            return replace(contraction, evaluate=self.contract_with(evaluate), options=())
        formulation, step = self.formulations[implementation], self.fault.step
        if step and formulation.handwritten:
            return type(step.__name__, (step, formulation), {})(self.primitives, config)
        return formulation(self.primitives, config.model_copy(update=self.misread(config)))

    def misread(self, config: AttentionConfig) -> dict[str, Any]:
        if isinstance(self.numpy, Backward):
            return self.numpy.misread(config)
        if self.fault.step and issubclass(self.fault.step, Misread):
            return self.fault.step.misread(config)
        return {}

    def pullback(self, computation: Computation, variables: Sequence[str], check: Check) -> Pullback:
        right = super().pullback(computation, variables, check)
        backward, config = self.numpy, check.case.config
        if not isinstance(backward, Backward) or not isinstance(config, AttentionConfig):
            return right

        def pull_back(operands: Operands, cotangent: Tensor) -> Any:
            return backward.finish(config, dict(right(operands, backward.receive(cotangent))))

        return pull_back
