"""The functions that replace the scores of an attention, in their order, before masks are added.

A function changes each score by itself, y = f(x).  Everything that is particular to it stands here: the reference, the
formulations of every framework, the gradient, both bounds and the page's formula follow from it.

A function may have a parameter for each head, an operand of its own name (`specs.case.operands`): y = f(x, a), for
which `parameter_slope` and `cross_slope` are defined too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np

from specs.arithmetic.double_double import absolute
from specs.arithmetic.elementary import exp
from specs.arithmetic.formats import Float64
from specs.arithmetic.precision import Precision
from specs.case.attention import AttentionConfig

Tensor = Any  # an array of NumPy, a DoubleDouble, a tensor of a framework, or a symbol
Real = Any  # float64 array or DoubleDouble


class ScoreFunction(ABC):
    """One function; derivatives are in the precision of their arguments.

    The bounds rely on |x f'(x)| <= |f(x)|: then an error of the scale, which all scores share, changes none of them by
    more than its own share.

    field      the field by which a config has it, also the name of its parameter
    saturates  whether f is bounded, so that a score that overflows before it gives the limit, which is right
    largest    the largest |f'|
    """

    field: ClassVar[str]
    saturates: ClassVar[bool] = False
    largest: ClassVar[float] = np.inf

    @abstractmethod
    def value(self, c: AttentionConfig, x: Tensor, parameter: Tensor | None, math: Any) -> Tensor:
        """f(x), by operators and by functions of `math` that are named as in the Python array API."""

    @abstractmethod
    def slope(self, c: AttentionConfig, x: Real, parameter: Real | None) -> Real:
        """f'(x)."""

    @abstractmethod
    def relative_curvature(self, c: AttentionConfig) -> float:
        """A number k such that |f''| <= k |f'| everywhere; 0 if f is linear."""

    def steepest(self, x: Float64, error: Float64) -> Float64:
        """The argument within `error` of x for which |f'| is largest; by default that nearest to 0."""
        return np.maximum(np.abs(x) - error, 0.0)

    def largest_slope(self, c: AttentionConfig, x: Float64, error: Float64, parameter: Float64 | None) -> Float64:
        """The largest |f'| within `error` of x."""
        return np.abs(self.slope(c, self.steepest(x, error), parameter))

    def parameter_slope(self, c: AttentionConfig, x: Real, parameter: Real) -> Real:
        """The derivative of f by the parameter."""
        raise NotImplementedError(f"{self.field} has no parameter")

    def cross_slope(self, c: AttentionConfig, x: Float64, parameter: Float64) -> Float64:
        """The largest derivative of `parameter_slope` by the score."""
        raise NotImplementedError(f"{self.field} has no parameter")

    # Roundings --------------------------------------------------------------------------------------------------------

    @abstractmethod
    def argument_rounding(self, p: Precision) -> float:
        """The relative error of what f is applied to, from operations on x."""

    @abstractmethod
    def value_rounding(self, p: Precision) -> float:
        """The relative error of f(x) as it is computed and stored."""

    @abstractmethod
    def slope_rounding(self, p: Precision, slope: Float64) -> Float64 | float:
        """The absolute error of f'(x), whose value is `slope`, as it is computed and stored."""


class Softcap(ScoreFunction):
    """cap tanh(x / cap): the quotient is rounded and stored, then tanh, then the product.

    Its slope is 1 - tanh^2, a difference of numbers up to 1, and its curvature -2 / cap tanh (1 - tanh^2).
    """

    field = "softcap"
    saturates = True
    largest = 1.0
    tanh_ulps = 8.0  # error of tanh in ulps of its format, with a margin

    def value(self, c: AttentionConfig, x: Tensor, parameter: Tensor | None, math: Any) -> Tensor:
        return c.softcap * math.tanh(x / c.softcap)

    def slope(self, c: AttentionConfig, x: Real, parameter: Real | None) -> Real:
        """1 - tanh^2(x / cap) = 4 e^-2|x| / (1 + e^-2|x|)^2 of x / cap, without cancellation."""
        small = exp(absolute(x) * (-2.0 / self._cap(c)))
        return small * 4.0 / ((small + 1.0) * (small + 1.0))

    def relative_curvature(self, c: AttentionConfig) -> float:
        return 2 / self._cap(c)

    def largest_slope(self, c: AttentionConfig, x: Float64, error: Float64, parameter: Float64 | None) -> Float64:
        """The same in float64: sech^2(x / cap)."""
        return np.asarray(np.cosh(np.minimum(self.steepest(x, error) / self._cap(c), 300.0)) ** -2)

    def argument_rounding(self, p: Precision) -> float:
        return 2 * p.u_a + p.u_s

    def value_rounding(self, p: Precision) -> float:
        return self.tanh_ulps * p.u_a + 2 * p.u_s + 2 * p.u_a

    def slope_rounding(self, p: Precision, slope: Float64) -> Float64 | float:
        """tanh and its square are stored, then the difference, which is as far from 1 as the square from 0."""
        square = np.maximum(1.0 - np.abs(slope), 0.0)
        before = (2 * self.tanh_ulps + 2) * p.u_a + 3 * p.u_s * square
        return before + np.minimum(p.u_s, square + before)

    def _cap(self, c: AttentionConfig) -> float:
        assert c.softcap is not None
        return c.softcap


FUNCTIONS = (Softcap(),)
FUNCTION_FIELDS = frozenset(function.field for function in FUNCTIONS)


def functions_of(config: AttentionConfig) -> list[ScoreFunction]:
    """The functions that a config has, in the order in which they are applied."""
    stated = ((function, getattr(config, function.field)) for function in FUNCTIONS)
    return [function for function, value in stated if value is not None and value is not False]
