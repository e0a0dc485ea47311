"""What a program expects of a result: its dtype, its shape, and the numbers that lie worst with what is right there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from backends.base import Backend
from specs.arithmetic.double_double import rounded
from specs.arithmetic.formats import DTYPES, Array, components, round_to, spacing
from specs.bound.bound import reference
from specs.inputs import inputs
from specs.reference.reference import Reference
from specs.verdict.check import Check
from specs.verdict.comparison import error_ratio

SHOWN = 12  # numbers of a result, the worst first


def expected(check: Check, backend: Backend, name: str, got: Array) -> str:
    """The entry of one result in the program's table; `got` is what the backend computed, and tells which lie worst."""
    precision = None
    if DTYPES[check.dtype].inexact:  # the dtype of the result, whatever the operands have
        precision = backend.precision(check)
    operands = inputs.operands(check.case, check.dtype)
    of = None if check.direction == "forward" else name
    right = reference(check.case, check.dtype, operands, precision, None, of)
    rows = list(_numbers(right, got, conjugate=of is not None and backend.conjugates))
    numbers = "".join(f"\n        ({', '.join(map(repr, row))})," for row in rows)
    return f'    "{name}": ("{right.dtype.name}", {right.shape}, [{numbers}\n    ]),'


def _numbers(right: Reference, got: Array, conjugate: bool) -> Iterator[tuple[Any, ...]]:
    """Rows of the numbers that lie worst."""
    comparable = tuple(got.shape) == right.shape and got.dtype == right.dtype.numpy
    if right.error is None or right.precision is None:
        value = np.asarray(right.value)
        order = np.argsort(value == got if comparable else np.zeros(value.shape), axis=None, kind="stable")
        for index in _indices(order, value.shape):
            yield index, "", int(value[index]), int(value[index]), int(value[index])
        return
    value, low, high = rounded(right.value), *_accepted(right)
    ratio = np.zeros(value.shape)
    if comparable:
        ratio = error_ratio(components(got), right.value, np.broadcast_to(right.error, value.shape), right.precision)
    for index in _indices(np.argsort(-np.nan_to_num(ratio, posinf=1e308), axis=None, kind="stable"), value.shape):
        numbers = [float(each[index]) for each in (value, low, high)]
        part = ""
        place = index
        if right.dtype.kind == "complex":
            place, part = index[:-1], ("real", "imag")[index[-1]]
            if part == "imag" and conjugate:
                numbers = [-numbers[0], -numbers[2], -numbers[1]]
        yield place, part, *numbers


def _indices(order: Sequence[Any] | Array, shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    for flat in order[:SHOWN]:
        yield tuple(int(i) for i in np.unravel_index(flat, shape))


def _accepted(right: Reference) -> tuple[Array, Array]:
    """The lowest and the highest result that an error within the bound explains (`specs.verdict.comparison`)."""
    assert right.error is not None
    assert right.precision is not None
    format, value = right.precision.storage, rounded(right.value)
    error = np.broadcast_to(right.error, value.shape)
    with np.errstate(all="ignore"):
        low, high = (round_to(value + sign * error, format) for sign in (-1, 1))
        if right.precision.truncates:
            low, high = low - spacing(low, format), high + spacing(high, format)
        if right.precision.flushes:
            low = np.where((low > 0) & (value - error <= format.tiny), 0.0, low)
            high = np.where((high < 0) & (value + error >= -format.tiny), 0.0, high)
    exact = ~np.isfinite(value)
    return np.where(exact, value, low), np.where(exact, value, high)
