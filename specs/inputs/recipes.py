"""The recipes that draw the values of an operand: the field `data` of a case names one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
from cachetools import LRUCache, cached

from specs.arithmetic.formats import Array, DType, Float64
from specs.case.case import Case
from specs.case.common import Recipe
from specs.case.equation import Shape
from specs.inputs.random_numbers import Stream

KEPT_BYTES = 32 * 2**20  # of values that were drawn: the dtypes of a case follow each other
Range = Literal["real", "integer", "natural", "boolean"]  # of the numbers that a kind of dtype holds


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
    """Values of one operand before rounding, drawn by a recipe (by default the case's) for this kind of dtype.

    They are shared by all dtypes of a kind, and read-only.
    """
    chosen = recipe or case.config.data
    if dtype.kind != "complex":
        return _drawn(case.rng_key, name, "real", shape, _range_of(dtype), chosen)
    both = np.empty(shape, np.complex128)
    # real + 1j * imag makes NaN of an infinite part
    both.real, both.imag = (_drawn(case.rng_key, name, part, shape, "real", chosen) for part in ("real", "imag"))
    return both


def _range_of(dtype: DType) -> Range:
    if dtype.kind == "integer":
        return "natural" if dtype.name.startswith("u") else "integer"
    return "boolean" if dtype.kind == "boolean" else "real"


@cached(LRUCache(KEPT_BYTES, getsizeof=lambda values: values.nbytes + 512))
def _drawn(key: str, name: str, part: str, shape: Shape, numbers: Range, recipe: Recipe) -> Float64:
    stream = Stream(key, name, part)
    if numbers == "boolean":
        values = stream.draw_true(0.5, shape).astype(np.float64)
    elif numbers == "real":
        values = RECIPES.get(recipe, Stream.normal)(stream, shape)
    else:
        values = stream.integers(0 if numbers == "natural" else -8, 8, shape)
    values.setflags(write=False)
    return values
