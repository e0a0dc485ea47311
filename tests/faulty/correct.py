"""Correct backends that compute differently: other orders, blocks, operands and kernels.  None may be refused."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np

from backends.attention.by_hand import ByHand
from backends.base import Declaration
from backends.numpy import Numpy
from backends.parts.primitives import Operands, Tensor
from specs.arithmetic.formats import Array
from tests.faulty.wrong import CustomEinsum, Einsum, LongestSum, format_equation, make_backend, make_explicit

CORRECT: list[type[Numpy]] = []


def correct(cls: type[Any]) -> type[Any]:
    """Register the decorated class; one with a step of attention as a backend that uses it in both formulations."""
    CORRECT.append(
        cls if issubclass(cls, Numpy) else make_backend(cls, getattr(cls, "declarations", Numpy.declarations))
    )
    return cls


def widen(x: Array) -> Array:
    """Convert to the accumulator's dtype: float32 for float16, else unchanged."""
    return x.astype(np.float32) if x.dtype == np.float16 else x


@correct
class LoopsOfNumpy(Numpy):
    """NumPy as it is."""


class Blocks(CustomEinsum):
    """Partial sums of blocks, added in the accumulator."""

    block: int

    def contract(self, einsum: Einsum, equation: str, *operands: Array) -> Array:
        longest_sum = LongestSum(equation, operands)
        if longest_sum.length <= self.block:
            return einsum(equation, *operands)
        total: Any = sum(einsum(equation, *map(widen, part)) for part in longest_sum.blocks(self.block))
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
class LastTermFirst(CustomEinsum):
    """The longest sum is computed from its last term to its first."""

    def contract(self, einsum: Einsum, equation: str, *operands: Array) -> Array:
        longest_sum = LongestSum(equation, operands)
        return (
            einsum(equation, *longest_sum.part(None, None, -1))
            if longest_sum.length > 1
            else einsum(equation, *operands)
        )


@correct
class EvenAndOddTerms(CustomEinsum):
    """Two accumulators, for even and odd terms, as vector units have several."""

    def contract(self, einsum: Einsum, equation: str, *operands: Array) -> Array:
        longest_sum = LongestSum(equation, operands)
        if longest_sum.length < 2:
            return einsum(equation, *operands)
        halves: Iterator[Any] = (einsum(equation, *map(widen, longest_sum.part(start, None, 2))) for start in (0, 1))
        return np.asarray(sum(halves)).astype(operands[0].dtype)


@correct
class LastOperandFirst(CustomEinsum):
    """Operands in reverse order, which changes the order of a contraction of three and more."""

    def contract(self, einsum: Einsum, equation: str, *operands: Array) -> Array:
        terms, output, _ = make_explicit(equation, operands)
        return einsum(format_equation(terms[::-1], output), *operands[::-1])


@correct
class TransposedOperands(CustomEinsum):
    """The same numbers in column-major memory, so that other kernels are chosen."""

    def contract(self, einsum: Einsum, equation: str, *operands: Array) -> Array:
        return einsum(equation, *map(np.asfortranarray, operands))


@correct
class RoundedOnce(CustomEinsum):
    """Everything in the accumulator's precision, with one rounding at the end, as in a fused kernel."""

    def contract(self, einsum: Einsum, equation: str, *operands: Array) -> Array:
        return np.asarray(einsum(equation, *map(widen, operands))).astype(operands[0].dtype)


# Attention ------------------------------------------------------------------------------------------------------------


@correct
class Fused(ByHand):
    """Everything between the operands and the output stays in the accumulator's precision."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, operands: Operands) -> Tensor:
        wide_operands = {name: widen(x) for name, x in operands.items()}
        return super().attend(widen(query), widen(key), widen(value), wide_operands).astype(query.dtype)


@correct
class ScaledQuery(ByHand):
    """The query is scaled before the product, and rounded: which is declared."""

    declarations = (
        *Numpy.declarations,
        Declaration({"scaled": "float16"}, kind="attention", dtype="float16", reason="the query is scaled beforehand"),
    )

    def attend(self, query: Tensor, key: Tensor, value: Tensor, operands: Operands) -> Tensor:
        c, unscaled = self.config, copy(self)
        if c.scale_at == c.bias_at == "scores":  # a bias of the products is scaled with them
            query = query * query.dtype.type(c.score_scale)
            unscaled.config = c.model_copy(update={"scale": 1.0})
        return super(ScaledQuery, unscaled).attend(query, key, value, operands)


class CustomSoftmax(Numpy):
    """NumPy with `softmax` in place of its own."""

    def __init__(self) -> None:
        self.primitives = replace(Numpy.primitives, softmax=self.softmax)

    @staticmethod
    def softmax(x: Array, axis: int) -> Array:
        raise NotImplementedError


@correct
class PowersOfTwo(CustomSoftmax):
    """exp(x) as 2 ** (x log2 e), as kernels of GPUs compute it."""

    @staticmethod
    def softmax(x: Array, axis: int) -> Array:
        wide = widen(x)
        numerator = np.exp2(
            (wide - wide.max(axis=axis, keepdims=True, initial=-np.inf)) * wide.dtype.type(np.log2(np.e))
        )
        return (numerator / numerator.sum(axis=axis, keepdims=True)).astype(x.dtype)


@correct
class ReciprocalOfSum(CustomSoftmax):
    """Weights are multiplied by the reciprocal of their sum, which is computed from its last term."""

    @staticmethod
    def softmax(x: Array, axis: int) -> Array:
        numerator = np.exp(x - x.max(axis=axis, keepdims=True, initial=-np.inf))
        return numerator * (x.dtype.type(1) / np.flip(numerator, axis).sum(axis=axis, keepdims=True))


@correct
class OnlineSoftmax(CustomSoftmax):
    """Maximum and sum are updated for each block of eight keys, and the sum is rescaled at each new maximum."""

    @staticmethod
    def softmax(x: Array, axis: int) -> Array:
        keys = np.moveaxis(widen(x), axis, -1)
        largest = np.full(keys.shape[:-1], -np.inf, keys.dtype)
        total = np.zeros(keys.shape[:-1], keys.dtype)
        for start in range(0, keys.shape[-1], 8):
            block = keys[..., start : start + 8]
            new_largest = np.maximum(largest, block.max(axis=-1))
            shift = np.where(np.isneginf(new_largest), keys.dtype.type(0), new_largest)
            total = total * np.exp(largest - shift) + np.exp(block - shift[..., None]).sum(axis=-1)
            largest = new_largest
        weights = np.exp(keys - largest[..., None]) / total[..., None]
        return np.moveaxis(weights, -1, axis).astype(x.dtype)
