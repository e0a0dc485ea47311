"""How far a computed tensor may be off, and what becomes of that from step to step.

Every step of a derivation has one such e_X: its largest error, and for random data its variance and what is shared.
Each operation here says what all three become, with x the exact value, e its largest error, s^2 the variance:

    sum         e_x + e_y                      s_x^2 + s_y^2
    rounding    e_x + c u |x|                  s_x^2 + c u^2 x^2 / 4           c times, with the unit roundoff u
    factor f    |f| e_x                        f^2 s_x^2
    product     e_x (|y| + e_y) + |x| e_y      s_x^2 y^2 + x^2 s_y^2           x and y being independent

What is shared goes the way of the largest error, in first order.  Where the largest error and the variance of a step
count different things (of a long sum: `specs.bound.rounding`), both are given side by side (`more`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from specs.arithmetic.formats import Float64
from specs.bound.rounding import ROUNDING_DEVIATION, Size, deviations, scatter

NOTHING: Float64 = np.zeros(())


@dataclass(frozen=True)
class Uncertainty:
    """Per element, how far a computed tensor may be off.

    error     at most, for any data
    variance  where operands are random: of what is independent from element to element
    shared    where operands are random: at most, of what does not average out (a rounded scale, underflow)
    """

    error: Float64
    variance: Float64 = field(default_factory=lambda: NOTHING)
    shared: Float64 = field(default_factory=lambda: NOTHING)

    @property
    def exact(self) -> bool:
        """Whether nothing is uncertain: of an operand."""
        return not np.any(self.error)

    @property
    def deviation(self) -> Float64:
        return np.asarray(np.sqrt(self.variance))

    def of_random_data(self) -> Float64:
        """The largest error where operands are random: hardly one result in a million has an element beyond it."""
        likely = deviations(self.variance.size) * self.deviation + self.shared
        return np.where(np.isinf(self.error), self.error, np.minimum(self.error, likely))

    def plus(self, other: Uncertainty) -> Uncertainty:
        """Of a sum."""
        return self.more(other.error, other.variance, other.shared)

    def more(self, error: Size, variance: Size = 0.0, shared: Size = 0.0) -> Uncertainty:
        """By so much, in which the largest error and the variance may count different things."""
        return Uncertainty(
            np.asarray(self.error + error), np.asarray(self.variance + variance), np.asarray(self.shared + shared)
        )

    def rounded(self, value: Float64, *roundings: tuple[float, float]) -> Uncertainty:
        """After (count, unit roundoff) roundings of `value`."""
        size = np.abs(value)
        return self.more(sum(count * unit for count, unit in roundings) * size, scatter(*roundings) * size**2)

    def blurred(self, *errors: Size) -> Uncertainty:
        """By independent errors of at most these, each as random as one rounding."""
        error = self.error
        for each in errors:
            error = error + each
        return Uncertainty(error, self.variance + ROUNDING_DEVIATION**2 * sum(each**2 for each in errors), self.shared)

    def scaled(self, factor: Size) -> Uncertainty:
        """Times an exact factor, element by element."""
        size = np.abs(factor)
        return Uncertainty(size * self.error, factor**2 * self.variance, size * self.shared)

    def capped(self, most: Float64, deviation: Float64) -> Uncertainty:
        """No larger than `most` can be; the deviation no larger than `deviation`."""
        return Uncertainty(
            np.minimum(self.error, most), np.minimum(self.variance, deviation**2), np.minimum(self.shared, most)
        )

    def either(self, other: Uncertainty) -> Uncertainty:
        """Of a tensor that may be computed in two ways."""
        return Uncertainty(
            np.maximum(self.error, other.error),
            np.maximum(self.variance, other.variance),
            np.maximum(self.shared, other.shared),
        )

    def mapped(self, move: Callable[[Float64], Float64]) -> Uncertainty:
        """Of the tensor whose elements are moved, repeated or left out like this."""
        return Uncertainty(*(move(part) if part.ndim else part for part in vars(self).values()))


EXACT = Uncertainty(NOTHING)


def through(
    product: Callable[[Float64, Float64], Float64],
    x: Float64,
    e_x: Uncertainty,
    y: Float64,
    e_y: Uncertainty,
    growth: float = 0.0,
) -> Uncertainty:
    """Of a product of two tensors, or a sum of products, of which `product` makes the one of magnitudes.

    `growth` is the largest relative error of each term within.  What its roundings add to the variance is to be added.
    """

    def of(a: Float64, b: Float64) -> Float64:
        return product(a, b) if a.ndim and b.ndim else NOTHING

    sizes, both = np.abs(x), np.abs(y) + e_y.error
    error = of(e_x.error, both) + of(sizes, e_y.error)
    return Uncertainty(
        np.asarray(error + growth * of(sizes + e_x.error, both) if growth else error),
        np.asarray(of(e_x.variance, y**2) + of(x**2, e_y.variance)),
        np.asarray(of(e_x.shared, np.abs(y)) + of(sizes, e_y.shared)),
    )
