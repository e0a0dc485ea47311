"""The recipes that draw the values of an operand: the field `data` of a case names one."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from specs.arithmetic.formats import Array, DType, Float64
from specs.case.case import Case
from specs.case.common import Recipe
from specs.case.equation import Shape
from specs.inputs.random_numbers import Stream


def _wide(stream: Stream, shape: Shape) -> Float64:
    """Magnitudes over twelve binary orders; float16 still holds products of two."""
    return stream.normal(shape) * 2.0 ** stream.integers(-6, 6, shape)


def _sparse(stream: Stream, shape: Shape) -> Float64:
    """Nine in ten are zeros, of either sign."""
    return stream.normal(shape) * np.where(stream.draw_true(0.9, shape), 0.0, 1.0)


def _nonfinite(stream: Stream, shape: Shape) -> Float64:
    """About one in sixteen is an infinity or NaN, and the first element is +inf."""
    values = stream.normal(shape)
    special = np.array([np.inf, -np.inf, np.nan])[stream.integers(0, 2, shape).astype(int)]
    values = np.where(stream.draw_true(1 / 16, shape), special, values)
    if values.size:
        values.flat[0] = np.inf
    return values


RECIPES: Mapping[str, Callable[[Stream, Shape], Float64]] = {
    "normal": Stream.normal,
    "uniform": Stream.uniform,
    "integers": lambda stream, shape: (2 * stream.integers(0, 1, shape) - 1) * stream.integers(1, 4, shape),
    "wide": _wide,
    "cancelling": Stream.normal,  # then paired off along a summed label: see _cancel
    "large": lambda stream, shape: stream.normal(shape) * 32.0,
    "sparse": _sparse,
    "nonfinite": _nonfinite,
}


def draw(case: Case, name: str, shape: Shape, dtype: DType, recipe: Recipe | None = None) -> Array:
    """Values of one operand before rounding, drawn by a recipe (by default the case's) for this kind of dtype."""

    def component(part: str) -> Float64:
        stream = Stream(case.rng_key, name, part)
        if dtype.kind == "boolean":
            return stream.draw_true(0.5, shape).astype(np.float64)
        if dtype.kind == "integer":
            return stream.integers(0 if dtype.name.startswith("u") else -8, 8, shape)
        return RECIPES.get(recipe or case.config.data, Stream.normal)(stream, shape)

    if dtype.kind != "complex":
        return component("real")
    both = np.empty(shape, np.complex128)
    both.real, both.imag = component("real"), component("imag")  # real + 1j * imag makes NaN of an infinite part
    return both
