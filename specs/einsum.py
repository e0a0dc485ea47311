"""Reference einsum: its value in higher precision, and the error bound that holds for any order of contraction.

Symbols, per output element, as in the derivation:
    K   number of terms summed (product of the sizes of all summed labels)      n   number of operands
    y   exact result      S   einsum of absolute values      T2   einsum of squares
    u_a, u_m, u_s   unit roundoffs of accumulator, multiplied operand and stored intermediate (`specs.precision`)

Any data (Higham, ch. 3): every term passes at most K + n - 2 additions and multiplications, 2n - 2 roundings of
operands on their way into a product, and as many stored intermediates as the contraction can have; hence
    E = gamma((K + n - 2) u_a, (2n - 2) u_m, stages * u_s) * S + underflow + the reference's own error
with one rounding fewer where accumulator and output share a format (the comparison rounds to the output itself).

Independent random terms (Higham & Mary 2019): rounding errors average out, and eight standard deviations are
    E = 8 * 0.5 * sqrt(u_a^2 (K + n - 2) (y^2/3 + T2/6) + 2n u_a^2 T2 + (2n - 2) u_m^2 T2 + stages u_s^2 (T2 + y^2))
which is never used for literal or structured data, nor below a float32 accumulator, where sums can stagnate.

Where operands are multiples of a power of two so large that no partial sum needs more digits than every format in
the computation has, every order is exact and E = 0: the result must be the correctly rounded one, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from specs.bound import DEVIATIONS, ROUNDING_DEVIATION, U_REFERENCE, Float64, Reference, gamma, high, rounded
from specs.bound import uses_double_double as wide_reference
from specs.case import EinsumConfig
from specs.contraction import contract
from specs.double_double import DoubleDouble, concatenate
from specs.equation import Contraction, Term, bind
from specs.formats import FLOAT16, FLOAT32, Array, DType, round_to
from specs.precision import Precision


def reference(
    config: EinsumConfig, dtype: DType, operands: Sequence[Array], precision: Precision | None, random: bool
) -> Reference:
    """Reference of a case on operands of `dtype`; raises CaseError where the equation has no meaning for them.

    `random` says that operands hold independent random numbers.
    """
    contraction = bind(config.equation, [operand.shape for operand in operands])
    if precision is None:
        return Reference(dtype, _exact_value(contraction, operands, dtype))
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
    """Reference of a contraction of floating or complex operands.

    Correct arithmetic may also store what it has before it sums over the labels `late`, as a gradient does of what was
    broadcast along them.
    """
    problem = _Problem(contraction, operands, dtype, precision, late)
    error, how = problem.error(random)
    facts = {"terms": contraction.length, "operands": len(operands), "form": how}
    return Reference(dtype, problem.value, error, precision, facts)


def value(contraction: Contraction, operands: Sequence[Array], dtype: DType) -> Array | DoubleDouble:
    """The exact result as closely as the reference knows it (complex: real and imaginary part in a last axis)."""
    if dtype.kind != "complex":
        return contract(contraction, [high(operand, dtype) for operand in operands])
    parts = _complex_parts(contraction, [(high(x.real, dtype), high(x.imag, dtype)) for x in operands])
    return concatenate([part.reshape((*part.shape, 1)) for part in parts], axis=-1)


def _exact_value(contraction: Contraction, operands: Sequence[Array], dtype: DType) -> Array:
    """Integers modulo 2**bits; for bool, whether any term has all its factors true."""
    wide = np.uint64 if dtype.name.startswith("u") else np.int64
    total = contract(contraction, [operand.astype(wide) for operand in operands])
    return (total != 0) if dtype.kind == "boolean" else total.astype(dtype.numpy)


def _complex_parts(contraction: Contraction, operands: list[Any]) -> tuple[Any, Any]:
    """Real and imaginary part: a contraction is linear in each operand, so each pair is split in turn."""
    split = next((i for i, operand in enumerate(operands) if isinstance(operand, tuple)), None)
    if split is None:
        return contract(contraction, operands), None
    x, y = operands[split]
    real_x, imaginary_x = _complex_parts(contraction, [*operands[:split], x, *operands[split + 1 :]])
    real_y, imaginary_y = _complex_parts(contraction, [*operands[:split], y, *operands[split + 1 :]])
    if imaginary_x is None:
        return real_x, real_y
    return real_x - imaginary_y, imaginary_x + real_y


Bools = npt.NDArray[np.bool_]


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

    def error(self, random: bool) -> tuple[Float64, str]:
        """The bound E per element (a trailing axis of 1 for complex values), and which form of it holds."""
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
            growth = gamma((additions, p.u_a), (products, p.u_m), (self.stages, p.u_s))
            slack = self._underflow() + self._reference_error() * s
            error, how = growth * s + slack, "any data"
            if random and p.accumulate.precision >= FLOAT32.precision and not p.truncates:
                t2 = contract(self.contraction, [m * m for m in self.magnitudes])
                t2 = t2[..., None] if self.complex else t2
                variance = p.u_a**2 * (additions * (y**2 / 3 + t2 / 6) + (2 * self.n * t2 if additions else 0.0))
                variance = variance + products * p.u_m**2 * t2 + self.stages * p.u_s**2 * (t2 + y**2)
                typical = DEVIATIONS * ROUNDING_DEVIATION * np.sqrt(variance) + slack
                error, how = np.minimum(error, typical), "random data"
            exact = self._exact(s)
            if np.any(exact):
                error = np.where(exact, 0.0, error)
                how = "exact" if np.all(exact) else how
            error = np.where(self._may_overflow(s * (1 + growth)), np.inf, error)
            if not self.finite:
                error = np.where(np.isfinite(y), error, 0.0)
                if self.stages:
                    error = np.where(self._meets_infinity(), np.inf, error)
        return np.asarray(error, np.float64), how

    def _reference_error(self) -> float:
        """The reference's own error over S; none where float64 holds every product of narrower operands."""
        storage = self.precision.storage.precision
        if not wide_reference(self.dtype) and self.terms == 1 and self.n * storage <= 53:
            return 0.0
        if self.terms == 1 and self.n == 1:
            return 0.0
        return (self.terms + 2 * self.n) * U_REFERENCE[wide_reference(self.dtype)]

    # Exactness ----------------------------------------------------------------------------------------------------

    def _exact(self, s: Float64) -> Bools | bool:
        """Where no partial result of any order can need rounding, in units of the operands' common quantum."""
        p = self.precision
        if self.terms == 1 and self.n == 1:
            return not p.flushes
        if not self.finite or any(map(np.any, map(self._flushed, self.magnitudes))):
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
        overflows = largest_sum >= p.accumulate.max
        ceiling = self.terms * math.prod(max(1.0, float(np.max(m, initial=0.0))) for m in self.magnitudes)
        if self.stages and not ceiling < p.intermediate.max:
            for group, part in self._intermediates():
                stored = contract(part, [self.magnitudes[i] for i in group])
                if np.max(stored, initial=0.0) >= p.intermediate.max:
                    return True
        return overflows

    def _meets_infinity(self) -> Bools:
        """Elements that an infinite operand reaches, and no NaN: with partial results the order decides their pattern.

        Of inf * b1 * c1 + inf * b2 * c2 the sum of b * c may be taken first, which makes an infinity of inf - inf.
        """
        wide = [operand.astype(np.complex128) for operand in self.operands]
        ones = [np.ones(operand.shape) for operand in self.operands]

        def reached(special: list[Float64]) -> Float64:
            parts = (contract(self.contraction, [*ones[:i], one, *ones[i + 1 :]]) for i, one in enumerate(special))
            return sum(parts, np.zeros(self.contraction.output_shape))

        infinite = reached([(np.isinf(x) & ~np.isnan(x)).astype(np.float64) for x in wide])
        nan = reached([np.isnan(x).astype(np.float64) for x in wide])
        meets = np.asarray((infinite > 0) & (nan == 0))
        return meets[..., None] if self.complex else meets

    def _underflow(self) -> Float64 | float:
        """What gradual underflow, or flushing where it is declared, can take from one element."""
        p = self.precision
        if self.terms == 1 and self.n == 1:
            return self._flushed_inputs()
        lost = p.accumulate.tiny if p.flushes else p.accumulate.smallest / 2
        return self.terms * lost + self._flushed_inputs() + self._flushed_intermediates()

    def _flushed(self, magnitude: Float64) -> Float64:
        """Of an operand, what may be read as zero; zero elsewhere."""
        p = self.precision
        tiny = (FLOAT32 if p.storage is FLOAT16 else p.storage).tiny if p.flushes else 0.0
        return np.where(magnitude < tiny, magnitude, 0.0)

    def _flushed_inputs(self) -> Float64 | float:
        """A subnormal operand read as zero takes its products along (float16 is converted, so it keeps them)."""
        p = self.precision
        total: Float64 | float = 0.0
        if not p.flushes:
            return total
        for i, magnitude in enumerate(self.magnitudes):
            subnormal = self._flushed(magnitude)
            if np.any(subnormal):
                total = total + contract(self.contraction, [*self.magnitudes[:i], subnormal, *self.magnitudes[i + 1 :]])
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
