"""Reference einsum: its value in higher precision, and the error bound that holds for any order of contraction.

Symbols, per output element, as in the derivation:
    K   number of terms summed (product of the sizes of all summed labels)      n   number of operands
    y   exact result      S   einsum of absolute values      T2   einsum of squares
    u_a, u_m, u_s   unit roundoffs of accumulator, multiplied operand and stored intermediate (`specs.precision`)

Any data (Higham, ch. 3): every term passes at most K + n - 2 additions and multiplications, 2n - 2 roundings of
operands on their way into a product, and as many stored intermediates as the contraction can have; hence
    E = gamma((K + n - 2) u_a, (2n - 2) u_m, stages * u_s) * S + underflow + the reference's own error
with one rounding fewer where accumulator and output share a format (the comparison rounds to the output itself).

Independent random terms (Higham & Mary 2019): rounding errors average out, and of `count` output elements
    E = (8 + ln(count) / 1.5) * 0.5
        * sqrt(u_a^2 (K + n - 2) (y^2/3 + T2/6) + 2n u_a^2 T2 + (2n - 2) u_m^2 T2 + stages u_s^2 (T2 + y^2))
which is never used for literal or structured data, nor below a float32 accumulator, where sums can stagnate.

Operands whose dtype is not the result's are converted to it, exactly where the result's dtype holds their values.
Where it does not (`asks_for_dtype`), a conversion rounds once: gamma has (c, u) more, with c the number of operands of
which a value is rounded and u the unit roundoff of the result's dtype, in both forms, since the rounding of one value
enters many terms alike.  Below the normal range a conversion loses up to half the smallest subnormal number, counted
whole so that the other factors' errors are covered; beyond the largest number there is no bound.

Where operands are multiples of a power of two so large that no partial sum needs more digits than every format in
the computation has, every order is exact and E = 0: the result must be the correctly rounded one, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

import numpy as np
import numpy.typing as npt

from specs.bound import ROUNDING_DEVIATION, U_REFERENCE, Float64, Reference, deviations, gamma, rounded
from specs.bound import uses_double_double as wide_reference
from specs.case import EinsumConfig
from specs.contraction import contract
from specs.conversion import converts_exactly, digits, smallest_read
from specs.double_double import DoubleDouble
from specs.einsum_value import exact_value, value
from specs.equation import Contraction, Term, bind
from specs.formats import FLOAT32, Array, DType, round_to
from specs.precision import Precision


def reference(
    config: EinsumConfig, dtype: DType, operands: Sequence[Array], precision: Precision | None, random: bool
) -> Reference:
    """Reference of a case whose result has `dtype`; raises CaseError where the operands give its equation no meaning.

    `random` says that operands hold independent random numbers.
    """
    contraction = bind(config.equation, [operand.shape for operand in operands])
    if precision is None:
        return Reference(dtype, exact_value(contraction, operands, dtype), facts={"terms": contraction.length})
    found = inexact_reference(contraction, operands, dtype, precision, random)
    return replace(found, signed=len(operands) == 1 and not contraction.summed)


def inexact_reference(
    contraction: Contraction,
    operands: Sequence[Array],
    dtype: DType,
    precision: Precision,
    random: bool,
    late: Term = (),
) -> Reference:
    """Reference of a contraction whose result has a floating or complex `dtype`.

    Correct arithmetic may also store what it has before it sums over the labels `late`, as a gradient does of what was
    broadcast along them.
    """
    problem = _Problem(contraction, operands, dtype, precision, late)
    error, how, likely = problem.error(random)
    facts = {"terms": contraction.length, "operands": len(operands), "form": how}
    found = Reference(dtype, problem.value, error, precision, facts)
    if likely is None or len(operands) > MOST_OPERANDS:
        return found
    return replace(found, deviation=likely[0], shared=likely[1], coherent=problem.coherent)


Bools = npt.NDArray[np.bool_]
MOST_OPERANDS = 8  # of which all partial contractions are looked at, to see which elements share a rounding


@dataclass(frozen=True)
class _Problem:
    """One contraction of inexact operands; every quantity of the derivation is a property of it."""

    contraction: Contraction
    operands: Sequence[Array]
    dtype: DType
    precision: Precision
    late: Term = ()

    @cached_property
    def value(self) -> Array | DoubleDouble:
        return value(self.contraction, self.operands, self.dtype)

    @cached_property
    def magnitudes(self) -> list[Float64]:
        """Of finite entries; the others make a value that is compared as it is, without a bound."""
        wide = [np.abs(operand.astype(np.complex128 if self.complex else np.float64)) for operand in self.operands]
        return [np.where(np.isfinite(magnitude), magnitude, 0.0) for magnitude in wide]

    @cached_property
    def finite(self) -> bool:
        return all(bool(np.all(np.isfinite(operand.astype(np.complex128)))) for operand in self.operands)

    @cached_property
    def narrowed(self) -> list[bool]:
        """For each operand, whether a value of it is rounded when it is converted to the result's dtype."""
        storage = self.precision.storage
        return [x.dtype != self.dtype.numpy and not converts_exactly(x, storage) for x in self.operands]

    @property
    def complex(self) -> bool:
        return self.dtype.kind == "complex"

    @cached_property
    def n(self) -> int:
        return len(self.operands)

    @cached_property
    def terms(self) -> int:
        """Real terms of one component: K, times the products that a complex product expands to."""
        return self.contraction.length * (2 ** (self.n - 1) if self.complex else 1)

    @cached_property
    def stages(self) -> int:
        """Intermediates that a term can pass.

        They are n - 2 partial products, each operand that may be summed beforehand, and one product more where it may
        be stored before it is summed.
        """
        beforehand = sum(map(bool, self._lone_labels)) if self.n > 1 else 0
        return max(self.n - 2, 0) + beforehand + bool(self.late)

    @cached_property
    def _lone_labels(self) -> list[set[str]]:
        """For each operand, the summed labels that vary in no other operand: it may be summed over them beforehand."""
        sizes = self.contraction.sizes
        varying = [
            {label for label, size in zip(term, operand.shape, strict=True) if size == sizes[label]}
            for term, operand in zip(self.contraction.operands, self.operands, strict=True)
        ]
        summed = set(self.contraction.summed)
        return [(summed & labels).difference(*varying[:i], *varying[i + 1 :]) for i, labels in enumerate(varying)]

    @cached_property
    def sum_of_magnitudes(self) -> Float64:
        return contract(self.contraction, self.magnitudes)

    @cached_property
    def coherent(self) -> float:
        """Elements that one rounding may enter: those that share an index of an intermediate, or of a rounded operand.

        What is summed afterwards may add up in the same way in all of them, as it does where operands are positive.
        """
        output = self.contraction.output
        parts = [part for group, part in self._intermediates() if len(group) < self.n]
        if self.precision.u_m:
            parts += [Contraction((term,), term, self.contraction.sizes) for term in self.contraction.operands]
        rows = (math.prod(part.sizes[label] for label in part.output if label in output) for part in parts)
        return math.prod(self.contraction.output_shape) / max(min(rows, default=math.inf), 1) if parts else 1.0

    def error(self, random: bool) -> tuple[Float64, str, tuple[Float64, Float64] | None]:
        """The bound E per element (a trailing axis of 1 for complex values), and which form of it holds.

        For random data also the standard deviation, and the error that does not average out.
        """
        p, s = self.precision, self.sum_of_magnitudes
        y = np.abs(rounded(self.value))
        if self.complex:
            s = s[..., None]
        with np.errstate(all="ignore"):
            additions = self.terms + self.n - 2 + (self.n - 1 if self.complex else 0)
            if p.accumulate == p.storage and not self.complex:
                additions -= 1
            additions = max(additions, 0)
            products = 2 * self.n - 2
            conversions = (sum(self.narrowed), p.storage.unit_roundoff * (2 if p.truncates else 1))
            growth = gamma((additions, p.u_a), (products, p.u_m), (self.stages, p.u_s), conversions)
            slack = self._underflow() + self._reference_error() * s
            error, how, likely = growth * s + slack, "any data", None
            if random and p.accumulate.precision >= FLOAT32.precision and not p.truncates:
                t2 = contract(self.contraction, [m * m for m in self.magnitudes])
                t2 = t2[..., None] if self.complex else t2
                variance = p.u_a**2 * (additions * (y**2 / 3 + t2 / 6) + (2 * self.n * t2 if additions else 0.0))
                variance = variance + products * p.u_m**2 * t2 + self.stages * p.u_s**2 * (t2 + y**2)
                deviation = np.asarray(ROUNDING_DEVIATION * np.sqrt(variance))
                shared = np.asarray(gamma(conversions) * s + slack)
                error, how = np.minimum(error, deviations(deviation.size) * deviation + shared), "random data"
                likely = deviation, shared
            exact = self._exact(s)
            if np.any(exact):
                error = np.where(exact, 0.0, error)
                how = "exact" if np.all(exact) else how
            error = np.where(self._may_overflow(s * (1 + growth)), np.inf, error)
            if not self.finite:
                error = np.where(np.isfinite(y), error, 0.0)
                if self.stages:
                    error = np.where(self._meets_infinity(), np.inf, error)
        return np.asarray(error, np.float64), how, likely

    def _reference_error(self) -> float:
        """The reference's own error over S; none where float64 holds every product of narrower operands."""
        copies = self.n == 1 and wide_reference(self.dtype)
        if self.terms == 1 and (copies or sum(map(digits, self.operands)) <= 53):
            return 0.0
        return (self.terms + 2 * self.n) * U_REFERENCE[wide_reference(self.dtype)]

    # Exactness ----------------------------------------------------------------------------------------------------

    def _exact(self, s: Float64) -> Bools | bool:
        """Where no partial result of any order can need rounding, in units of the operands' common quantum."""
        p = self.precision
        if self.terms == 1 and self.n == 1:
            return not p.flushes and self._reference_error() == 0.0
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

    def _intermediates(self) -> Iterator[tuple[tuple[int, ...], Contraction]]:
        """Every group of operands whose partial contraction may be stored, as a contraction of its own."""
        c = self.contraction
        for size in range(1, self.n + bool(self.late)):
            for group in combinations(range(self.n), size):
                if size == 1 and not self._lone_labels[group[0]]:
                    continue
                terms = tuple(c.operands[i] for i in group)
                rest = {label for i, term in enumerate(c.operands) if i not in group for label in term}
                labels = dict.fromkeys(label for term in terms for label in term)
                sizes = {label: self._size(group, label) for label in labels}
                soon = tuple(label for label in labels if label in rest or label in c.output)
                late = tuple(label for label in labels if label in soon or label in self.late)
                for visible in dict.fromkeys((soon, late) if size < self.n else (late,)):
                    yield group, Contraction(terms, visible, sizes)

    def _size(self, group: tuple[int, ...], label: str) -> int:
        """Size of a label within a group of operands: 1 where all of them broadcast it."""
        sizes = {
            size
            for i in group
            for other, size in zip(self.contraction.operands[i], self.operands[i].shape, strict=True)
            if other == label
        }
        return max(sizes) if 0 not in sizes else 0

    def _may_overflow(self, largest_sum: Float64) -> Bools | bool:
        """Where a partial sum, or anywhere a stored intermediate, may exceed its format: accuracy has no limit."""
        p = self.precision
        overflows = (largest_sum >= p.accumulate.max) | self._converted_to_infinity()
        ceiling = self.terms * math.prod(max(1.0, float(np.max(m, initial=0.0))) for m in self.magnitudes)
        if self.stages and not ceiling < p.intermediate.max:
            for group, part in self._intermediates():
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

    def _meets_infinity(self) -> Bools:
        """Elements that an infinite operand reaches, and no NaN: with partial results the order decides their pattern.

        Of inf * b1 * c1 + inf * b2 * c2 the sum of b * c may be taken first, which makes an infinity of inf - inf.
        """
        wide = [operand.astype(np.complex128) for operand in self.operands]
        infinite = self._reached([(np.isinf(x) & ~np.isnan(x)).astype(np.float64) for x in wide])
        nan = self._reached([np.isnan(x).astype(np.float64) for x in wide])
        meets = np.asarray((infinite > 0) & (nan == 0))
        return meets[..., None] if self.complex else meets

    def _underflow(self) -> Float64 | float:
        """What gradual underflow, or flushing where it is declared, can take from one element."""
        p = self.precision
        if self.terms == 1 and self.n == 1:
            return self._vanished()
        lost = p.accumulate.tiny if p.flushes else p.accumulate.smallest / 2
        return self.terms * lost + self._vanished() + self._flushed_intermediates()

    def _vanishing(self, i: int) -> Float64:
        """Of an operand's magnitudes, what may be lost as it is read and converted."""
        p, magnitude = self.precision, self.magnitudes[i]
        lost = np.where(magnitude < smallest_read(self.operands[i], p), magnitude, 0.0)
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
        for group, part in self._intermediates():
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
