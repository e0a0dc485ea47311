"""The recipes by which the values of an operand are drawn: what `data` of a case names."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from specs.arithmetic.formats import Array, DType, Float64
from specs.case.case import Case
from specs.case.common import Recipe
from specs.case.equation import Shape
from specs.inputs.random_numbers import Stream


def _wide(stream: Stream, shape: Shape) -> Float64:
    """Magnitudes over twelve binary orders, few enough for float16 to hold products of two."""
    return stream.normal(shape) * 2.0 ** stream.integers(-6, 6, shape)


def _sparse(stream: Stream, shape: Shape) -> Float64:
    """Nine in ten are zero, with either sign."""
    return stream.normal(shape) * np.where(stream.chosen(0.9, shape), 0.0, 1.0)


def _nonfinite(stream: Stream, shape: Shape) -> Float64:
    """About one in sixteen is an infinity or NaN, and the first element is +inf."""
    values = stream.normal(shape)
    special = np.array([np.inf, -np.inf, np.nan])[stream.integers(0, 2, shape).astype(int)]
    values = np.where(stream.chosen(1 / 16, shape), special, values)
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
    """Values of one operand before rounding, as a recipe (the case's own) makes them for this kind of dtype."""

    def component(part: str) -> Float64:
        stream = Stream(case.rng_key, name, part)
        if dtype.kind == "boolean":
            return stream.chosen(0.5, shape).astype(np.float64)
        if dtype.kind == "integer":
            return stream.integers(0 if dtype.name.startswith("u") else -8, 8, shape)
        return RECIPES.get(recipe or case.config.data, Stream.normal)(stream, shape)

    if dtype.kind != "complex":
        return component("real")
    both = np.empty(shape, np.complex128)
    both.real, both.imag = component("real"), component("imag")  # real + 1j * imag makes NaN of an infinite part
    return both
