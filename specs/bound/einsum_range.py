"""Contractions without any rounding, and those with overflow, underflow or infinite operands.

Symbols as in `specs.bound.einsum`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from specs.arithmetic.conversion import flush_threshold, significant_bits
from specs.arithmetic.formats import Array, Bools, Float64, components, round_to
from specs.bound.einsum_problem import Problem
from specs.case.equation import Contraction
from specs.reference.contraction import contract
from specs.reference.working_precision import U_REFERENCE, uses_double_double


@dataclass(frozen=True)
class Limits(Problem):
    """What counting roundings does not cover: exact sums, overflow, underflow, infinite operands."""

    def reference_error(self) -> float:
        """The reference's own error relative to S; 0 where float64 holds every product of narrower operands exactly."""
        copies = self.n == 1 and uses_double_double(self.dtype)
        if self.terms == 1 and (copies or sum(map(significant_bits, self.operands)) <= 53):
            return 0.0
        return (self.terms + 2 * self.n) * U_REFERENCE[uses_double_double(self.dtype)]

    # Exactness ----------------------------------------------------------------------------------------------------

    def is_exact(self, s: Float64) -> Bools | bool:
        """Where no partial result of any order needs rounding, counted in units of the operands' common quantum."""
        p = self.precision
        if self.terms == 1 and self.n == 1:
            return not p.flushes and self.reference_error() == 0.0
        if not self.is_finite or any(self.is_rounded_on_entry):
            return False
        if any(np.any(self._input_loss(i)) for i in range(self.n)):
            return False
        if p.u_m and not all(np.array_equal(round_to(m, p.multiply), m) for m in self.magnitudes):
            return False
        quanta = [_quantum_exponent(operand) for operand in self.operands]
        quantum = sum(quanta)
        # A partial product may lack some of the factors, and so have a smaller quantum
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
        """Where a partial sum may overflow; everywhere, if a stored intermediate may.  There is no bound there."""
        p = self.precision
        overflows = (largest_sum >= p.accumulate.max) | self._overflows_on_entry()
        ceiling = self.terms * math.prod(max(1.0, float(np.max(m, initial=0.0))) for m in self.magnitudes)
        if self.stages and not ceiling < p.intermediate.max:
            return overflows | any(self._largest(*stored) >= p.intermediate.max for stored in self.intermediates())
        return overflows

    def _largest(self, group: Sequence[int], part: Contraction) -> float:
        """The largest element of a group's contraction; of factors that share no label it is their outer product."""
        largest = 1.0
        for component in part.components():
            factor = part.factor(component)
            largest *= float(np.max(contract(factor, [self.magnitudes[group[i]] for i in component]), initial=0.0))
        return largest

    def _overflows_on_entry(self) -> Bools | bool:
        """Elements that use a value which overflows when it is converted to the result's dtype."""
        storage = self.precision.storage
        if not any(self.is_rounded_on_entry):
            return False
        overflows = [np.isinf(round_to(m, storage)).astype(np.float64) for m in self.magnitudes]
        beyond = self._count_marked_terms(overflows) > 0
        return beyond[..., None] if self.complex else beyond

    def _count_marked_terms(self, marks: list[Float64]) -> Float64:
        """The number of terms of each element that have a factor marked by 1."""
        ones = [np.ones(operand.shape) for operand in self.operands]
        parts = (contract(self.contraction, [*ones[:i], mark, *ones[i + 1 :]]) for i, mark in enumerate(marks))
        return sum(parts, np.zeros(self.contraction.output_shape))

    def depends_on_order(self) -> Bools:
        """Elements that use an infinite operand and no NaN: with intermediates, the order decides between inf and NaN.

        In inf * b1 * c1 + inf * b2 * c2 the sum of b * c may come first, which gives an infinity instead of inf - inf.
        """
        wide = [operand.astype(np.complex128) for operand in self.operands]
        infinite = self._count_marked_terms([(np.isinf(x) & ~np.isnan(x)).astype(np.float64) for x in wide])
        nan = self._count_marked_terms([np.isnan(x).astype(np.float64) for x in wide])
        meets = np.asarray((infinite > 0) & (nan == 0))
        return meets[..., None] if self.complex else meets

    def underflow(self) -> Float64 | float:
        """Absolute error of one element from gradual underflow, or from flushing where it is declared."""
        p = self.precision
        if self.terms == 1 and self.n == 1:
            return self._propagate_input_loss()
        loss = p.accumulate.tiny if p.flushes else p.accumulate.smallest / 2
        return self.terms * loss + self._propagate_input_loss() + self._intermediate_underflow()

    def _input_loss(self, i: int) -> Float64:
        """Absolute error of operand `i` from flushing as it is read and from underflow as it is converted."""
        p, magnitude = self.precision, self.magnitudes[i]
        if not p.flushes and not self.is_rounded_on_entry[i]:
            return np.zeros(())
        loss = np.where(magnitude < flush_threshold(self.operands[i], p), magnitude, 0.0)
        if self.is_rounded_on_entry[i]:
            below = np.where(magnitude < p.storage.tiny, p.storage.smallest, 0.0)
            loss = np.maximum(loss, np.minimum(magnitude, below))
        return loss

    def _propagate_input_loss(self) -> Float64 | float:
        """The error of the result from the input loss of each operand."""
        total: Float64 | float = 0.0
        for i in range(self.n):
            loss = self._input_loss(i)
            if np.any(loss):
                total = total + contract(self.contraction, [*self.magnitudes[:i], loss, *self.magnitudes[i + 1 :]])
        return total[..., None] if self.complex and isinstance(total, np.ndarray) else total

    def _intermediate_underflow(self) -> Float64 | float:
        """Error from stored intermediates: half the smallest subnormal each; if flushed, the smallest normal number."""
        p = self.precision
        loss = p.intermediate.tiny if p.flushes else p.intermediate.smallest / 2
        smallest = math.prod(min(1.0, _smallest_nonzero(m)) for m in self.magnitudes)
        if not self.stages or smallest > p.intermediate.tiny / p.intermediate.unit_roundoff:
            return 0.0
        total: Float64 | float = 0.0
        for group, part in self.intermediates():
            # Each of its elements is lost alike, so it is a number: how often the others are repeated in one sum
            others = [i for i in range(self.n) if i not in group]
            varying = set(self.contraction.output).union(*(self.varying_labels[i] for i in others))
            count = math.prod(part.sizes[label] for label in part.output if label not in varying)
            terms = ((), *(self.contraction.operands[i] for i in others))
            rest = Contraction(terms, self.contraction.output, self.contraction.sizes)
            total = total + contract(rest, [np.full((), float(count)), *(self.magnitudes[i] for i in others)])
        total = loss * total
        return total[..., None] if self.complex and isinstance(total, np.ndarray) else total


def _quantum_exponent(values: Array) -> int:
    """The largest e such that every value (of a complex one, both parts) is a multiple of 2**e; 0 for zeros alone."""
    parts = components(values)
    fraction, exponent = np.frexp(parts[parts != 0])
    if not fraction.size:
        return 0
    digits = np.ldexp(fraction, 53).astype(np.int64)
    trailing = np.frexp((digits & -digits).astype(np.float64))[1] - 1
    return int(np.min(exponent - 53 + trailing))


def _smallest_nonzero(magnitude: Float64) -> float:
    return float(np.min(magnitude, initial=1.0, where=magnitude > 0))
