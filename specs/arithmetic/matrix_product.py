"""The matrix product of `DoubleDouble` arrays, computed exactly and rounded once; of float64 arrays by NumPy.

Sources: Ozaki, Ogita, Oishi & Rump 2012, "Error-free transformations of matrix multiplication"; Ogita, Rump & Oishi
2005, "Accurate sum and dot product".
"""

from __future__ import annotations

from typing import overload

import numpy as np
import numpy.typing as npt

from specs.arithmetic.double_double import (
    Array,
    DoubleDouble,
    ignore_float_errors,
    ldexp,
    lift,
    two_sum_in_range,
    where,
)

# Rows and columns are scaled to this largest exponent: products are then far from overflow, and
# entries keep all bits down to 2**-1574 times the largest of their row or column.
_TOP = 500
# Number of slice products that are added inside one float64 matrix product.
_GROUP = 4


@overload
def matmul(a: DoubleDouble, b: Array | DoubleDouble) -> DoubleDouble: ...
@overload
def matmul(a: Array, b: DoubleDouble) -> DoubleDouble: ...
@overload
def matmul(a: Array, b: Array) -> Array: ...
@ignore_float_errors
def matmul(a: Array | DoubleDouble, b: Array | DoubleDouble) -> Array | DoubleDouble:
    """Matrix product, batched like `numpy.matmul`, of two operands with at least two axes; else ValueError.

    Two float64 operands give NumPy's product. Otherwise the result is the exact product of the
    `hi + lo`, rounded: its relative error is at most 2**-105 regardless of cancellation, and zero
    where the exact result is a double-double number. Products of entries that are below 2**-1500
    of (the row's largest) * (the column's largest) may be lost.

    Ozaki et al. 2012: operands are split into slices narrow enough that float64 products of slices
    are exact in any order of summation; those products are then added exactly. The time grows with
    the square of the bits that a row spans, from its largest entry to the last bit of its smallest.
    """
    if not isinstance(a, DoubleDouble) and not isinstance(b, DoubleDouble):
        product64: Array = np.matmul(a, b)
        return product64
    a, b = lift(a), lift(b)
    if a.ndim < 2 or b.ndim < 2:
        raise ValueError(f"matmul needs two axes or more, got shapes {a.shape} and {b.shape}")
    length = a.shape[-1]
    # _GROUP * length products of integers up to 2**(width - 1) are at most 2**53 in all.
    width = (53 - max(length - 1, 0).bit_length()) // 2
    a_slices, a_exponent = _slices(a, width, axis=-1)
    b_slices, b_exponent = _slices(b, width, axis=-2)
    rows = np.concatenate(a_slices, axis=-1)
    # In reverse order, so that slices whose products share a unit are adjacent in both operands.
    columns = np.concatenate(b_slices[::-1], axis=-2)
    terms: list[Array] = []
    for order in reversed(range(len(a_slices) + len(b_slices) - 1)):  # from small to large
        shift = len(b_slices) - 1 - order
        first, end = max(0, -shift), min(len(a_slices), order + 1)
        for start in range(first, end, _GROUP):
            stop = min(start + _GROUP, end)
            left = rows[..., start * length : stop * length]
            right = columns[..., (start + shift) * length : (stop + shift) * length, :]
            terms.append(np.matmul(left, right))
    product = ldexp(_exact_sum(terms), a_exponent + b_exponent)
    if np.isfinite(a.hi).all() and np.isfinite(b.hi).all():
        return product
    # The signs determine where the sum of products is infinite or NaN. No BLAS: it may skip zeros.
    left, right = _signs(a.hi), _signs(b.hi)
    pattern = sum((left[..., :, k, None] * right[..., None, k, :] for k in range(length)), start=np.zeros(()))
    return where(np.isfinite(pattern), product, pattern)


def _signs(values: Array) -> Array:
    return np.where(np.isfinite(values), np.sign(values), values)


def _slices(value: DoubleDouble, width: int, axis: int) -> tuple[list[Array], npt.NDArray[np.intc]]:
    """Split the finite entries into slices, with one scaling exponent e for each row or column along `axis`.

    The sum of the slices is value * 2**-e. Slice s = 0, 1, ... holds integer multiples, of magnitude
    at most 2**(width - 1), of the unit 2**(_TOP + 1 - (s + 1) * width); there are as many slices as needed.
    """
    finite = where(np.isfinite(value.hi), value, 0.0)
    largest = np.abs(finite.hi).max(axis=axis, keepdims=True, initial=0.0)
    exponent = np.frexp(largest)[1] - np.intc(_TOP)
    scaled = ldexp(finite, -exponent)
    hi, lo = scaled.hi, scaled.lo
    is_float64 = not lo.any()
    slices: list[Array] = []
    while not slices or hi.any():
        # Adding this rounds to a multiple of the slice's unit, its last bit.
        rounder = 1.5 * 2.0 ** (52 + _TOP + 1 - (len(slices) + 1) * width)
        slices.append((hi + rounder) - rounder)
        hi = hi - slices[-1]
        if not is_float64:
            hi, lo = two_sum_in_range(hi, lo)  # so that the next slice is rounded from the whole remainder
    return slices, exponent


def _exact_sum(terms: list[Array]) -> DoubleDouble:
    """The sum of arrays ordered from small to large, rounded once (Ogita, Rump & Oishi 2005, VecSum).

    Each sweep preserves the sum and moves it towards the end; once nothing changes, no two neighbours
    overlap and the last two are the rounded sum. Two sweeps are often enough; terms of hundreds of
    binary orders may need twenty.
    """
    words = np.stack([np.zeros_like(terms[0]), *terms])
    words += 0.0  # no -0.0: a sum of zeros is 0.0
    done = 0
    while done < len(words) and not (words[1:] + words[:-1] == words[1:]).all():
        sweeps = min(max(done, 2), len(words) - done)  # as many again as so far
        _sweep(words, sweeps)
        done += sweeps
    return DoubleDouble(words[-1], words[-2])


def _sweep(words: Array, sweeps: int) -> None:
    """Replace each pair of neighbours by its sum and the error of that, from the first pair to the last, some times.

    A pair can be added again once the next pair has been added. So the sweeps follow each other at a
    distance of two pairs, and what they do at the same time is one operation on arrays.
    """
    last = len(words) - 2
    for step in range(last + 2 * sweeps - 1):
        lowest = step - 2 * min(step // 2, sweeps - 1)  # pair of the latest sweep that has begun
        highest = step - 2 * max((step - last + 1) // 2, 0)  # of the first that has not ended
        tails, leads = slice(lowest, highest + 1, 2), slice(lowest + 1, highest + 2, 2)
        words[leads], words[tails] = two_sum_in_range(words[leads], words[tails])
