"""The quantities of the error bound of einsum, for one contraction of inexact operands.

Symbols as in `specs.bound.einsum`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from specs.arithmetic.conversion import converts_exactly
from specs.arithmetic.double_double import DoubleDouble
from specs.arithmetic.formats import Array, DType, Float64
from specs.arithmetic.precision import Precision
from specs.bound.rounding import gamma
from specs.case.equation import Contraction, Term
from specs.reference.contraction import contract
from specs.reference.einsum import evaluate


@dataclass(frozen=True)
class Problem:
    """One contraction of inexact operands; every quantity of the derivation is a property of it."""

    contraction: Contraction
    operands: Sequence[Array]
    dtype: DType
    precision: Precision
    deferred: Term = ()

    @cached_property
    def value(self) -> Array | DoubleDouble:
        return evaluate(self.contraction, self.operands, self.dtype)

    @cached_property
    def _wide_operands(self) -> list[Array]:
        return [operand.astype(np.complex128 if self.complex else np.float64) for operand in self.operands]

    @cached_property
    def magnitudes(self) -> list[Float64]:
        """Absolute values, with 0 for infinities and NaN: what they enter is compared exactly, without a bound."""
        wide = [np.asarray(np.abs(operand)) for operand in self._wide_operands]
        return [x if np.isfinite(x).all() else np.where(np.isfinite(x), x, 0.0) for x in wide]

    @cached_property
    def is_finite(self) -> bool:
        return all(bool(np.isfinite(operand).all()) for operand in self._wide_operands)

    @cached_property
    def is_rounded_on_entry(self) -> list[bool]:
        """For each operand, whether conversion to the result's dtype rounds any of its values."""
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
        """Real terms of one component: K, times the number of real products in a complex product."""
        return self.contraction.length * (2 ** (self.n - 1) if self.complex else 1)

    @cached_property
    def stages(self) -> int:
        """Number of stored intermediates that can round one term.

        n - 2 partial products, one for each operand that may be summed before it is multiplied, and one for a product
        that may be stored before a deferred sum.
        """
        summed_first = sum(map(bool, self.lone_labels)) if self.n > 1 else 0
        return max(self.n - 2, 0) + summed_first + bool(self.deferred)

    @cached_property
    def lone_labels(self) -> list[set[str]]:
        """For each operand, the summed labels that vary in no other operand, over which it may be summed first."""
        varying, summed = self.varying_labels, set(self.contraction.summed_labels)
        return [(summed & labels).difference(*varying[:i], *varying[i + 1 :]) for i, labels in enumerate(varying)]

    @cached_property
    def varying_labels(self) -> list[set[str]]:
        """For each operand, the labels that it does not broadcast."""
        sizes = self.contraction.sizes
        return [{label for label, size in own.items() if size == sizes[label]} for own in self._own_sizes]

    @cached_property
    def additions(self) -> int:
        """Additions and multiplications per term; one fewer where the comparison rounds to the accumulator's format."""
        more = self.n - 1 if self.complex else 0
        less = 1 if self.precision.accumulate == self.precision.storage and not self.complex else 0
        return max(self.terms + self.n - 2 + more - less, 0)

    @property
    def conversions(self) -> tuple[int, float]:
        """(count, unit roundoff) of the roundings of operands to the result's dtype."""
        p = self.precision
        return sum(self.is_rounded_on_entry), p.storage.unit_roundoff * (2 if p.truncates else 1)

    @cached_property
    def growth(self) -> float:
        """The largest relative error of a term."""
        p = self.precision
        return gamma((self.additions, p.u_a), (2 * self.n - 2, p.u_m), (self.stages, p.u_s), self.conversions)

    @cached_property
    def sum_of_magnitudes(self) -> Float64:
        """S, with a trailing axis of 1 for complex values."""
        return self._contract_magnitudes(self.magnitudes)

    @cached_property
    def sum_of_squares(self) -> Float64:
        """T2, with the same shape."""
        return self._contract_magnitudes([magnitude * magnitude for magnitude in self.magnitudes])

    def _contract_magnitudes(self, magnitudes: list[Float64]) -> Float64:
        total: Float64 = contract(self.contraction, magnitudes)
        return total[..., None] if self.complex else total

    @cached_property
    def correlated_elements(self) -> float:
        """Number of output elements that share one rounding: of an element of an intermediate, or of a rounded operand.

        The shared error is summed alike in all of them, for example where the other operands are positive.
        """
        output = self.contraction.output
        parts = [part for group, part in self.intermediates() if len(group) < self.n]
        if self.precision.u_m:
            parts += [Contraction((term,), term, self.contraction.sizes) for term in self.contraction.operands]
        rows = (math.prod(part.sizes[label] for label in part.output if label in output) for part in parts)
        return math.prod(self.contraction.output_shape) / max(min(rows, default=math.inf), 1) if parts else 1.0

    def intermediates(self) -> Iterator[tuple[tuple[int, ...], Contraction]]:
        """(operand indices, contraction) of each group of operands whose partial contraction may be stored."""
        c = self.contraction
        for size in range(1, self.n + bool(self.deferred)):
            for group in combinations(range(self.n), size):
                if size == 1 and not self.lone_labels[group[0]]:
                    continue
                terms = tuple(c.operands[i] for i in group)
                rest = {label for i, term in enumerate(c.operands) if i not in group for label in term}
                labels = dict.fromkeys(label for term in terms for label in term)
                sizes = {label: self.size_in(group, label) for label in labels}
                immediate = tuple(label for label in labels if label in rest or label in c.output)
                with_deferred = tuple(label for label in labels if label in immediate or label in self.deferred)
                for kept_labels in dict.fromkeys((immediate, with_deferred) if size < self.n else (with_deferred,)):
                    yield group, Contraction(terms, kept_labels, sizes)

    def size_in(self, group: tuple[int, ...], label: str) -> int:
        """Size of a label within a group of operands: 1 where all of them broadcast it."""
        sizes = [own[label] for own in map(self._own_sizes.__getitem__, group) if label in own]
        return max(sizes) if 0 not in sizes else 0

    @cached_property
    def _own_sizes(self) -> list[dict[str, int]]:
        """For each operand, the size of each of its labels."""
        return [
            dict(zip(term, operand.shape, strict=True))
            for term, operand in zip(self.contraction.operands, self.operands, strict=True)
        ]
