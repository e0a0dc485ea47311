"""The smallest thing that has a verdict."""

from __future__ import annotations

from dataclasses import dataclass

from specs.case.case import Case


@dataclass(frozen=True)
class Check:
    """case x backend x device x implementation x mode x dtype x direction (`specs.verdict.direction`)."""

    case: Case
    backend: str
    device: str
    implementation: str
    mode: str
    dtype: str
    direction: str = "forward"

    @property
    def name(self) -> str:
        """The name in pytest: `attention_scores[torch-cpu-einsum-eager-float32]`; gradients end in `-grad`."""
        parts = [self.backend, self.device, self.implementation, self.mode, self.dtype]
        if self.direction != "forward":
            parts.append(self.direction)
        return f"{self.case.name}[{'-'.join(parts)}]"
