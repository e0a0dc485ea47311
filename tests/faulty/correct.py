"""Backends that are right in another way: other orders, blocks, operands and kernels, none of which may be refused."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np

from backends.attention.by_hand import ByHand
from backends.numpy import Numpy
from backends.parts.primitives import Operands, Tensor
from specs.arithmetic.formats import Array
from tests.faulty.wrong import AnotherEinsum, Einsum, LongestSum, explicit, formulated, spelled

CORRECT: list[type[Numpy]] = []


def correct(right: type[Any]) -> type[Any]:
    """Record the decorated class; of a step of attention, the backend that has it in both formulations."""
    CORRECT.append(right if issubclass(right, Numpy) else formulated(right))
    return right


def widened(x: Array) -> Array:
    """As the accumulator is: float32 for 16 bits, else the dtype itself."""
    return x.astype(np.float32) if x.dtype == np.float16 else x


@correct
class LoopsOfNumpy(Numpy):
    """NumPy as it is."""


class Blocks(AnotherEinsum):
    """Partial sums of blocks, added in the accumulator."""

    block: int

    def contract(self, einsum: Einsum, equation: str, *operands: Array) -> Array:
        cut = LongestSum(equation, operands)
        if cut.length <= self.block:
            return einsum(equation, *operands)
        total: Any = sum(einsum(equation, *map(widened, part)) for part in cut.blocks(self.block))
        return np.asarray(total).astype(operands[0].dtype)


@correct
class BlocksOf8(Blocks):
    """Partial sums of blocks of 8."""

    block = 8


@correct
class BlocksOf64(Blocks):
    """Partial sums of blocks of 64."""

    block = 64


@correct
class LastTermFirst(AnotherEinsum):
    """The longest sum is taken from its end."""

    def contract(self, einsum: Einsum, equation: str, *operands: Array) -> Array:
        cut = LongestSum(equation, operands)
        return einsum(equation, *cut.part(None, None, -1)) if cut.length > 1 else einsum(equation, *operands)


@correct
class EvenAndOddTerms(AnotherEinsum):
    """Two accumulators, as vector units have several."""

    def contract(self, einsum: Einsum, equation: str, *operands: Array) -> Array:
        cut = LongestSum(equation, operands)
        if cut.length < 2:
            return einsum(equation, *operands)
        halves: Iterator[Any] = (einsum(equation, *map(widened, cut.part(start, None, 2))) for start in (0, 1))
        return np.asarray(sum(halves)).astype(operands[0].dtype)


@correct
class LastOperandFirst(AnotherEinsum):
    """Operands change places, which changes the order of a contraction of three and more."""

    def contract(self, einsum: Einsum, equation: str, *operands: Array) -> Array:
        terms, output, _ = explicit(equation, operands)
        return einsum(spelled(terms[::-1], output), *operands[::-1])


@correct
class TransposedOperands(AnotherEinsum):
    """The same numbers in memory the other way round, so that other kernels are chosen."""

    def contract(self, einsum: Einsum, equation: str, *operands: Array) -> Array:
        return einsum(equation, *map(np.asfortranarray, operands))


@correct
class RoundedOnce(AnotherEinsum):
    """In the accumulator from end to end, with one rounding at the end: what a fused kernel does."""

    def contract(self, einsum: Einsum, equation: str, *operands: Array) -> Array:
        return np.asarray(einsum(equation, *map(widened, operands))).astype(operands[0].dtype)


# Attention ------------------------------------------------------------------------------------------------------------


@correct
class Fused(ByHand):
    """Everything between the operands and the output stays in the accumulator's precision."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, operands: Operands) -> Tensor:
        wide = {name: widened(x) for name, x in operands.items()}
        return super().attend(widened(query), widened(key), widened(value), wide).astype(query.dtype)


@correct
class ScaledQuery(ByHand):
    """The query is scaled before the product, and stored so."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, operands: Operands) -> Tensor:
        c, unscaled = self.config, copy(self)
        if c.scale_at == c.bias_at == "scores":  # a bias of the products is scaled with them
            query = query * query.dtype.type(c.score_scale)
            unscaled.config = c.model_copy(update={"scale": 1.0})
        return super(ScaledQuery, unscaled).attend(query, key, value, operands)


class OtherSoftmax(Numpy):
    """NumPy with `softmax` for its own."""

    def __init__(self) -> None:
        self.primitives = replace(Numpy.primitives, softmax=self.softmax)

    @staticmethod
    def softmax(x: Array, axis: int) -> Array:
        raise NotImplementedError


@correct
class PowersOfTwo(OtherSoftmax):
    """exp(x) as 2 ** (x log2 e), as kernels of GPUs compute it."""

    @staticmethod
    def softmax(x: Array, axis: int) -> Array:
        wide = widened(x)
        numerator = np.exp2(
            (wide - wide.max(axis=axis, keepdims=True, initial=-np.inf)) * wide.dtype.type(np.log2(np.e))
        )
        return (numerator / numerator.sum(axis=axis, keepdims=True)).astype(x.dtype)


@correct
class ReciprocalOfSum(OtherSoftmax):
    """Weights multiplied by one over their sum, which is taken from its end."""

    @staticmethod
    def softmax(x: Array, axis: int) -> Array:
        numerator = np.exp(x - x.max(axis=axis, keepdims=True, initial=-np.inf))
        return numerator * (x.dtype.type(1) / np.flip(numerator, axis).sum(axis=axis, keepdims=True))


@correct
class OnlineSoftmax(OtherSoftmax):
    """The maximum and the sum are kept while blocks of eight keys pass, and rescaled at each new maximum."""

    @staticmethod
    def softmax(x: Array, axis: int) -> Array:
        keys = np.moveaxis(widened(x), axis, -1)
        largest = np.full(keys.shape[:-1], -np.inf, keys.dtype)
        total = np.zeros(keys.shape[:-1], keys.dtype)
        for start in range(0, keys.shape[-1], 8):
            block = keys[..., start : start + 8]
            now = np.maximum(largest, block.max(axis=-1))
            shift = np.where(np.isneginf(now), keys.dtype.type(0), now)
            total = total * np.exp(largest - shift) + np.exp(block - shift[..., None]).sum(axis=-1)
            largest = now
        weights = np.exp(keys - largest[..., None]) / total[..., None]
        return np.moveaxis(weights, -1, axis).astype(x.dtype)
