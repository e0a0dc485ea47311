"""The uncertainty of a computed tensor, and how operations propagate it.

Each step X of a derivation has an uncertainty e_X: its largest error and, for random data, a variance and a shared
error.  Each operation propagates all three, with x the exact value, e its largest error, s^2 its variance:

    sum         e_x + e_y                      s_x^2 + s_y^2
    rounding    e_x + c u |x|                  s_x^2 + c u^2 x^2 / 4           c times, with the unit roundoff u
    factor f    |f| e_x                        f^2 s_x^2
    product     e_x (|y| + e_y) + |x| e_y      s_x^2 y^2 + x^2 s_y^2           x and y being independent

A shared error propagates as the largest error does, in first order.  Where largest error and variance of a step are
derived separately (as for a long sum: `specs.bound.rounding`), `enlarge` adds both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from specs.arithmetic.formats import Float64
from specs.bound.rounding import ROUNDING_DEVIATION, Size, max_deviations, relative_variance

ZERO: Float64 = np.zeros(())


@dataclass(frozen=True)
class Uncertainty:
    """The error of a computed tensor, per element.

    error     largest error, for any data
    variance  for random operands: variance of the part that is independent per element
    shared    for random operands: largest error of the part that does not average out (a rounded scale, underflow)
    """

    error: Float64
    variance: Float64 = field(default_factory=lambda: ZERO)
    shared: Float64 = field(default_factory=lambda: ZERO)

    @property
    def is_exact(self) -> bool:
        """Whether there is no error, as in an operand."""
        return not np.any(self.error)

    @property
    def deviation(self) -> Float64:
        return np.asarray(np.sqrt(self.variance))

    def random_data_limit(self) -> Float64:
        """The largest error for random operands: about one result in a million has an element beyond it."""
        probable = max_deviations(self.variance.size) * self.deviation + self.shared
        return np.where(np.isinf(self.error), self.error, np.minimum(self.error, probable))

    def add(self, other: Uncertainty) -> Uncertainty:
        """The uncertainty of a sum."""
        return self.enlarge(other.error, other.variance, other.shared)

    def enlarge(self, error: Size, variance: Size = 0.0, shared: Size = 0.0) -> Uncertainty:
        """Add to each part; largest error and variance may be derived separately."""
        return Uncertainty(
            np.asarray(self.error + error), np.asarray(self.variance + variance), np.asarray(self.shared + shared)
        )

    def add_roundings(self, value: Float64, *roundings: tuple[float, float]) -> Uncertainty:
        """Add (count, unit roundoff) roundings of `value`."""
        size = np.abs(value)
        return self.enlarge(
            sum(count * unit for count, unit in roundings) * size, relative_variance(*roundings) * size**2
        )

    def add_independent(self, *errors: Size) -> Uncertainty:
        """Add independent errors of at most these sizes, each distributed like one rounding."""
        error = self.error
        for bound in errors:
            error = error + bound
        return Uncertainty(
            error, self.variance + ROUNDING_DEVIATION**2 * sum(bound**2 for bound in errors), self.shared
        )

    def scale_by(self, factor: Size) -> Uncertainty:
        """The uncertainty of the product with an exact factor, elementwise."""
        size = np.abs(factor)
        return Uncertainty(size * self.error, factor**2 * self.variance, size * self.shared)

    def clip(self, limit: Float64, deviation: Float64) -> Uncertainty:
        """Limit error and shared error to `limit`, the standard deviation to `deviation`."""
        return Uncertainty(
            np.minimum(self.error, limit), np.minimum(self.variance, deviation**2), np.minimum(self.shared, limit)
        )

    def maximum(self, other: Uncertainty) -> Uncertainty:
        """The larger of both, elementwise: for a tensor that may be computed in two ways."""
        return Uncertainty(
            np.maximum(self.error, other.error),
            np.maximum(self.variance, other.variance),
            np.maximum(self.shared, other.shared),
        )

    def map(self, function: Callable[[Float64], Float64]) -> Uncertainty:
        """Apply a function that moves, repeats or leaves out elements to each part."""
        return Uncertainty(*(function(part) if part.ndim else part for part in vars(self).values()))


EXACT = Uncertainty(ZERO)


def propagate_product(
    product: Callable[[Float64, Float64], Float64],
    x: Float64,
    e_x: Uncertainty,
    y: Float64,
    e_y: Uncertainty,
    growth: float = 0.0,
) -> Uncertainty:
    """The uncertainty of a product of two tensors, or of a sum of products; `product` computes it from magnitudes.

    `growth` is the largest relative error of a term from the roundings within; the caller adds their variance.
    """

    def multiply(a: Float64, b: Float64) -> Float64:
        return product(a, b) if a.ndim and b.ndim else ZERO

    sizes, enlarged_y = np.abs(x), np.abs(y) + e_y.error
    error = multiply(e_x.error, enlarged_y) + multiply(sizes, e_y.error)
    return Uncertainty(
        np.asarray(error + growth * multiply(sizes + e_x.error, enlarged_y) if growth else error),
        np.asarray(multiply(e_x.variance, y**2) + multiply(x**2, e_y.variance)),
        np.asarray(multiply(e_x.shared, np.abs(y)) + multiply(sizes, e_y.shared)),
    )
