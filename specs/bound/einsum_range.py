"""Where a contraction has no rounding at all, and what it may lose or exceed at the ends of a format's range.

Symbols as in `specs.bound.einsum`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from specs.arithmetic.conversion import flush_threshold, significant_bits
from specs.arithmetic.formats import Array, Bools, Float64, round_to
from specs.bound.einsum_problem import Problem
from specs.case.equation import Contraction
from specs.reference.contraction import contract
from specs.reference.working_precision import U_REFERENCE
from specs.reference.working_precision import uses_double_double as wide_reference


@dataclass(frozen=True)
class Limits(Problem):
    """A contraction where counting roundings is not enough: exact sums, overflow, underflow, infinite operands."""

    def reference_error(self) -> float:
        """The reference's own error over S; none where float64 holds every product of narrower operands."""
        copies = self.n == 1 and wide_reference(self.dtype)
        if self.terms == 1 and (copies or sum(map(significant_bits, self.operands)) <= 53):
            return 0.0
        return (self.terms + 2 * self.n) * U_REFERENCE[wide_reference(self.dtype)]

    # Exactness ----------------------------------------------------------------------------------------------------

    def exact(self, s: Float64) -> Bools | bool:
        """Where no partial result of any order can need rounding, in units of the operands' common quantum."""
        p = self.precision
        if self.terms == 1 and self.n == 1:
            return not p.flushes and self.reference_error() == 0.0
        if not self.finite or any(self.narrowed) or any(np.any(self._vanishing(i)) for i in range(self.n)):
            return False
        if p.u_m and not all(np.array_equal(round_to(m, p.multiply), m) for m in self.magnitudes):
            return False
        quanta = [_quantum_exponent(operand) for operand in self.operands]
        quantum = sum(quanta)
        # A partial product can have fewer of the large factors, and so be a multiple of less
        finest = sum(min(q, 0) for q in quanta) if self.stages else quantum
        passed = (p.accumulate, p.intermediate) if self.stages else (p.accumulate,)
        if finest < max(f.emin if p.flushes else f.emin - f.precision + 1 for f in passed):
            return False
        spread = 2.0 ** (self.n / 2) if self.complex else 1.0
        if self.stages == 0:
            units = np.ldexp(s * spread, -quantum)
            return np.asarray(units <= 2.0**p.accumulate.precision)
        digits = min(p.accumulate.precision, p.intermediate.precision)
        largest = [float(np.max(m)) * 2.0**-q if m.size else 0.0 for m, q in zip(self.magnitudes, quanta, strict=True)]
        return bool(self.terms * spread * math.prod(max(units, 1.0) for units in largest) <= 2.0**digits)

    # The ends of the range ----------------------------------------------------------------------------------------

    def may_overflow(self, largest_sum: Float64) -> Bools | bool:
        """Where a partial sum, or anywhere a stored intermediate, may exceed its format: accuracy has no limit."""
        p = self.precision
        overflows = (largest_sum >= p.accumulate.max) | self._converted_to_infinity()
        ceiling = self.terms * math.prod(max(1.0, float(np.max(m, initial=0.0))) for m in self.magnitudes)
        if self.stages and not ceiling < p.intermediate.max:
            for group, part in self.intermediates():
                stored = contract(part, [self.magnitudes[i] for i in group])
                if np.max(stored, initial=0.0) >= p.intermediate.max:
                    return True
        return overflows

    def _converted_to_infinity(self) -> Bools | bool:
        """Elements that an operand reaches which the result's dtype cannot hold."""
        storage = self.precision.storage
        if not any(self.narrowed):
            return False
        beyond = self._reached([np.isinf(round_to(m, storage)).astype(np.float64) for m in self.magnitudes]) > 0
        return beyond[..., None] if self.complex else beyond

    def _reached(self, special: list[Float64]) -> Float64:
        """How many terms of each element have a factor that is marked by 1."""
        ones = [np.ones(operand.shape) for operand in self.operands]
        parts = (contract(self.contraction, [*ones[:i], one, *ones[i + 1 :]]) for i, one in enumerate(special))
        return sum(parts, np.zeros(self.contraction.output_shape))

    def meets_infinity(self) -> Bools:
        """Elements that an infinite operand reaches, and no NaN: with partial results the order decides their pattern.

        Of inf * b1 * c1 + inf * b2 * c2 the sum of b * c may be taken first, which makes an infinity of inf - inf.
        """
        wide = [operand.astype(np.complex128) for operand in self.operands]
        infinite = self._reached([(np.isinf(x) & ~np.isnan(x)).astype(np.float64) for x in wide])
        nan = self._reached([np.isnan(x).astype(np.float64) for x in wide])
        meets = np.asarray((infinite > 0) & (nan == 0))
        return meets[..., None] if self.complex else meets

    def underflow(self) -> Float64 | float:
        """What gradual underflow, or flushing where it is declared, can take from one element."""
        p = self.precision
        if self.terms == 1 and self.n == 1:
            return self._vanished()
        lost = p.accumulate.tiny if p.flushes else p.accumulate.smallest / 2
        return self.terms * lost + self._vanished() + self._flushed_intermediates()

    def _vanishing(self, i: int) -> Float64:
        """Of an operand's magnitudes, what may be lost as it is read and converted."""
        p, magnitude = self.precision, self.magnitudes[i]
        lost = np.where(magnitude < flush_threshold(self.operands[i], p), magnitude, 0.0)
        if self.narrowed[i]:
            below = np.where(magnitude < p.storage.tiny, p.storage.smallest, 0.0)
            lost = np.maximum(lost, np.minimum(magnitude, below))
        return lost

    def _vanished(self) -> Float64 | float:
        """What is lost of an operand takes its products along."""
        total: Float64 | float = 0.0
        for i in range(self.n):
            lost = self._vanishing(i)
            if np.any(lost):
                total = total + contract(self.contraction, [*self.magnitudes[:i], lost, *self.magnitudes[i + 1 :]])
        return total[..., None] if self.complex and isinstance(total, np.ndarray) else total

    def _flushed_intermediates(self) -> Float64 | float:
        """A stored intermediate may lose half its smallest subnormal (or, flushed, a normal number's worth)."""
        p = self.precision
        lost = p.intermediate.tiny if p.flushes else p.intermediate.smallest / 2
        smallest = math.prod(min(1.0, _smallest_nonzero(m)) for m in self.magnitudes)
        if not self.stages or smallest > p.intermediate.tiny / p.intermediate.unit_roundoff:
            return 0.0
        total: Float64 | float = 0.0
        for group, part in self.intermediates():
            others = [i for i in range(self.n) if i not in group]
            terms = (part.output, *(self.contraction.operands[i] for i in others))
            sizes = self.contraction.sizes
            rest = Contraction(terms, self.contraction.output, sizes)
            total = total + contract(rest, [np.ones(part.output_shape), *(self.magnitudes[i] for i in others)])
        total = lost * total
        return total[..., None] if self.complex and isinstance(total, np.ndarray) else total


def _quantum_exponent(values: Array) -> int:
    """The largest e such that every value (of a complex one, both parts) is a multiple of 2**e; 0 for zeros alone."""
    parts = np.stack([values.real, values.imag]).astype(np.float64)
    fraction, exponent = np.frexp(parts[parts != 0])
    if not fraction.size:
        return 0
    digits = np.ldexp(fraction, 53).astype(np.int64)
    trailing = np.frexp((digits & -digits).astype(np.float64))[1] - 1
    return int(np.min(exponent - 53 + trailing))


def _smallest_nonzero(magnitude: Float64) -> float:
    return float(np.min(magnitude, initial=1.0, where=magnitude > 0))
