"""Random numbers that are the same on every machine and with every version of NumPy.

Only counter-based random bits and exact or single IEEE operations are used, because `Generator.normal` may change
between versions of NumPy and `np.log` between processors.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
import numpy.typing as npt
from numpy.random.bit_generator import ISeedSequence

from specs.arithmetic.formats import Float64
from specs.case.equation import Shape


class _Key(ISeedSequence):
    """The key of a Philox generator, in place of a seed; with its argument `key` it gathers entropy all the same."""

    def __init__(self, words: npt.NDArray[np.uint64]) -> None:
        self.words = words

    def generate_state(self, n_words: int, dtype: npt.DTypeLike = np.uint64) -> npt.NDArray[np.uint64]:
        return self.words


class Stream:
    """Reproducible random numbers of one operand: Philox bits with a hashed key."""

    def __init__(self, *names: str) -> None:
        key = hashlib.sha256("/".join(names).encode()).digest()[:16]
        self._bits = np.random.Philox(_Key(np.frombuffer(key, "<u8").astype(np.uint64)))  # type: ignore[arg-type]

    def raw(self, shape: Shape) -> npt.NDArray[np.uint64]:
        return self._bits.random_raw(math.prod(shape)).reshape(shape)

    def uniform(self, shape: Shape) -> Float64:
        """Uniform on [0, 1), all 53 bits."""
        bits = self.raw(shape)
        bits >>= np.uint64(11)
        numbers = bits.astype(np.float64)
        numbers *= 2.0**-53
        return numbers

    def normal(self, shape: Shape) -> Float64:
        """Nearly normal, mean 0 and variance 1: twelve uniform numbers summed exactly in integers, less 6."""
        twelve = self.raw((12, *shape))
        twelve >>= np.uint64(12)
        return (twelve.sum(axis=0).astype(np.int64) - 6 * 2**52).astype(np.float64) * 2.0**-52

    def integers(self, low: int, high: int, shape: Shape) -> Float64:
        """Uniform integers of [low, high]."""
        numbers = self.uniform(shape)
        numbers *= high - low + 1
        np.floor(numbers, out=numbers)
        numbers += low
        return numbers

    def draw_true(self, probability: float, shape: Shape) -> npt.NDArray[np.bool_]:
        return self.uniform(shape) < probability
