"""Contractions as they are computed wrongly: precision, values, axes, and what should have been refused."""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from ml_dtypes import bfloat16

from backends.numpy import Numpy
from specs.equation import ELLIPSIS, Term, bind, parse
from specs.formats import Array
from tests.faulty.fault import WrongEinsum, fault


class LongestSum:
    """A contraction cut along the summed label that has the most terms, as kernels with blocks cut it."""

    def __init__(self, equation: str, operands: tuple[Array, ...]) -> None:
        bound = bind(equation, [x.shape for x in operands])
        self.label = max(bound.summed, key=bound.sizes.__getitem__, default="")
        self.length = bound.sizes.get(self.label, 0)
        self.terms, self.operands = bound.operands, operands

    def part(self, start: int, stop: int) -> list[Array]:
        """The operands of these terms alone."""
        return [
            x[tuple(slice(start, stop) if label == self.label and n > 1 else slice(None) for label, n in zip(term, x.shape))]
            for term, x in zip(self.terms, self.operands, strict=True)
        ]

    def blocks(self, size: int) -> Iterator[list[Array]]:
        return (self.part(start, min(start + size, self.length)) for start in range(0, self.length, size))


def explicit(equation: str, operands: tuple[Array, ...]) -> tuple[list[Term], Term, Iterator[str]]:
    """Terms of the operands and of the output, and letters that the equation leaves free."""
    terms, output = parse(equation)
    if output is None:
        named = [label for label in bind(equation, [x.shape for x in operands]).output if ELLIPSIS not in label]
        output = (*([ELLIPSIS] if any(ELLIPSIS in term for term in terms) else []), *named)
    return list(terms), output, (letter for letter in string.ascii_letters if letter not in equation)


def spelled(terms: list[Term], output: Term) -> str:
    return ",".join(map("".join, terms)) + "->" + "".join(output)


# Precision ------------------------------------------------------------------------------------------------------------


class NarrowFloat32(WrongEinsum):
    """float32 outside, products of something narrower inside."""

    narrow: Callable[[Array], Array]

    def contract(self, equation: str, *operands: Array) -> Array:
        return np.einsum(equation, *(type(self).narrow(x) if x.dtype == np.float32 else x for x in operands))


@fault("bfloat16_behind_float32")
class Bfloat16BehindFloat32(NarrowFloat32):
    """Products in bfloat16 behind a float32 interface: TPUs by default, and fast-math settings of CPUs and GPUs."""

    narrow = staticmethod(lambda x: x.astype(bfloat16).astype(np.float32))


@fault("tf32_behind_float32")
class Tf32BehindFloat32(NarrowFloat32):
    """Operands cut to TF32's ten bits, as tensor cores do with float32 once that is allowed."""

    narrow = staticmethod(lambda x: (x.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32))


@fault("float64_through_float32")
class Float64ThroughFloat32(WrongEinsum):
    """float64 computed in float32 and cast back: JAX without x64, or a cast that nobody asked for."""

    def contract(self, equation: str, *operands: Array) -> Array:
        narrow = (x.astype(np.float32) if x.dtype == np.float64 else x for x in operands)
        return np.einsum(equation, *narrow).astype(np.result_type(*operands))


@fault("float16_sums_behind_float32")
class Float16SumsBehindFloat32(WrongEinsum):
    """Partial sums of a long contraction are exchanged in float16: split-K kernels with a small workspace."""

    def contract(self, equation: str, *operands: Array) -> Array:
        cut = LongestSum(equation, operands)
        if cut.length <= 64 or operands[0].dtype != np.float32:
            return np.einsum(equation, *operands)
        total: Any = np.float16(0)
        for block in cut.blocks(64):
            total = (total + np.einsum(equation, *block)).astype(np.float16)
        return total.astype(np.float32)


@fault("float16_sums_behind_float16")
class Float16SumsBehindFloat16(WrongEinsum):
    """float16 products summed in float16 where sums in float32 are promised: reduced-precision reduction in cuBLAS."""

    def contract(self, equation: str, *operands: Array) -> Array:
        return np.einsum(equation, *operands, optimize=False)


@fault("integers_through_float32")
class IntegersThroughFloat32(WrongEinsum):
    """Integers multiplied as float32, because the fast matrix product has no integers: odd results from 2**24 on."""

    through: type[np.floating] = np.float32

    def contract(self, equation: str, *operands: Array) -> Array:
        dtype = np.result_type(*operands)
        if dtype.kind not in "iu":
            return np.einsum(equation, *operands)
        return np.einsum(equation, *(x.astype(self.through) for x in operands)).astype(dtype)


@fault("integers_through_float64")
class IntegersThroughFloat64(IntegersThroughFloat32):
    """The same with float64, which hides it until results pass 2**53."""

    through = np.float64


@fault("subnormals_flushed")
class SubnormalsFlushed(WrongEinsum):
    """Subnormal results are zero although nothing declares it: flush-to-zero left on by a library built for speed."""

    def contract(self, equation: str, *operands: Array) -> Array:
        result = np.asarray(np.einsum(equation, *operands))
        if result.dtype.kind != "f":
            return result
        return np.where(np.abs(result) < np.finfo(result.dtype).tiny, result.dtype.type(0), result)


# Values ---------------------------------------------------------------------------------------------------------------


@fault("term_dropped_from_sum")
class TermDroppedFromSum(WrongEinsum):
    """The loop over a summed label ends one term early."""

    def contract(self, equation: str, *operands: Array) -> Array:
        cut = LongestSum(equation, operands)
        return np.einsum(equation, *(cut.part(0, cut.length - 1) if cut.length > 1 else operands))


@fault("tail_of_blocks_dropped")
class TailOfBlocksDropped(WrongEinsum):
    """A kernel for blocks of 128 terms forgets those that do not fill a block; shorter sums take another way."""

    def contract(self, equation: str, *operands: Array) -> Array:
        cut = LongestSum(equation, operands)
        return np.einsum(equation, *(cut.part(0, cut.length // 128 * 128) if cut.length > 128 else operands))


@fault("nan_replaced_by_zero")
class NanReplacedByZero(Numpy):
    """nan_to_num on the result, to get rid of a NaN whose cause was never found."""

    def to_numpy(self, tensor: Array) -> Array:
        return np.nan_to_num(super().to_numpy(tensor))


@fault("zeros_skipped")
class ZerosSkipped(WrongEinsum):
    """Terms whose right factor is zero are skipped, so 0 * inf adds 0: the reference BLAS did, sparse kernels do."""

    def contract(self, equation: str, *operands: Array) -> Array:
        if len(operands) != 2 or ELLIPSIS in equation:
            return np.einsum(equation, *operands)
        (left, right), output, _ = explicit(equation, operands)
        every = "".join(dict.fromkeys(left + right))
        terms = np.einsum(f"{spelled([left, right], every)}", *operands)
        used = np.einsum(f"{spelled([left, right], every)}", np.ones_like(operands[0]), operands[1] != 0)
        return np.einsum(f"{every}->{''.join(output)}", np.where(used != 0, terms, terms.dtype.type(0)))


@fault("empty_sum_not_written")
class EmptySumNotWritten(WrongEinsum):
    """A kernel that returns at once where there is nothing to add, and leaves the result as it was allocated."""

    def contract(self, equation: str, *operands: Array) -> Array:
        result = np.asarray(np.einsum(equation, *operands))
        return np.full_like(result, np.nan) if bind(equation, [x.shape for x in operands]).length == 0 else result


@fault("left_factor_conjugated")
class LeftFactorConjugated(WrongEinsum):
    """The inner product of BLAS's zdotc and of vdot, which conjugate, where einsum only multiplies."""

    def contract(self, equation: str, *operands: Array) -> Array:
        return np.einsum(equation, operands[0].conj() if len(operands) > 1 else operands[0], *operands[1:])


# Axes -----------------------------------------------------------------------------------------------------------------


@fault("output_dtype_widened")
class OutputDtypeWidened(WrongEinsum):
    """The wider type in which sums are held is returned, as np.sum does with small integers."""

    wider = {"float16": np.float32, "float32": np.float64, "int32": np.int64}

    def contract(self, equation: str, *operands: Array) -> Array:
        result = np.einsum(equation, *operands)
        return result.astype(self.wider.get(result.dtype.name, result.dtype))


@fault("output_transposed")
class OutputTransposed(WrongEinsum):
    """The product is computed as its transpose, B'A', and the transposition of the result is forgotten."""

    def contract(self, equation: str, *operands: Array) -> Array:
        result = np.asarray(np.einsum(equation, *operands))
        return result.swapaxes(-1, -2) if result.ndim > 1 and len(operands) > 1 else result


@fault("column_major_read_as_row_major")
class ColumnMajorReadAsRowMajor(WrongEinsum):
    """The buffer that a Fortran routine filled by columns is read by rows: the right shape, and other elements."""

    def contract(self, equation: str, *operands: Array) -> Array:
        result = np.asarray(np.einsum(equation, *operands))
        return result.ravel(order="F").reshape(result.shape)


@fault("scalar_with_an_axis")
class ScalarWithAnAxis(WrongEinsum):
    """A full contraction has shape (1,), as a kernel that writes into a buffer leaves it."""

    def contract(self, equation: str, *operands: Array) -> Array:
        return np.atleast_1d(np.einsum(equation, *operands))


@fault("diagonal_as_outer_product")
class DiagonalAsOuterProduct(WrongEinsum):
    """`ij,ij->i` computed as A B', of which it is the diagonal: a label that is kept and repeated is taken for two."""

    def contract(self, equation: str, *operands: Array) -> Array:
        terms, output, free = explicit(equation, operands)
        seen: set[str] = set()
        added: list[str] = []
        for at, term in enumerate(terms):
            labels = list(term)
            for axis, label in enumerate(term):
                if label in seen and label in output and label != ELLIPSIS:
                    added.append(labels.__setitem__(axis, letter := next(free)) or letter)
                seen.add(label)
            terms[at] = tuple(labels)
        return np.einsum(spelled(terms, (*output, *added)), *operands)


@fault("repeated_label_summed")
class RepeatedLabelSummed(WrongEinsum):
    """`ii->i` computed as `ij->i`: in an operand that repeats a label, its second axis is summed on its own."""

    def contract(self, equation: str, *operands: Array) -> Array:
        terms, output, free = explicit(equation, operands)
        apart = [tuple(next(free) if label in term[:axis] else label for axis, label in enumerate(term)) for term in terms]
        return np.einsum(spelled(apart, output), *operands)


@fault("ellipsis_aligned_from_the_left")
class EllipsisAlignedFromTheLeft(WrongEinsum):
    """Unnamed axes are matched from the first one, where broadcasting matches them from the last."""

    def contract(self, equation: str, *operands: Array) -> Array:
        terms, _ = parse(equation)
        unnamed = [x.ndim - len(term) + 1 if ELLIPSIS in term else 0 for term, x in zip(terms, operands, strict=True)]
        aligned = [
            x if ELLIPSIS not in term else np.expand_dims(x, tuple(term.index(ELLIPSIS) + n for n in range(own, max(unnamed))))
            for term, x, own in zip(terms, operands, unnamed, strict=True)
        ]
        return np.einsum(equation, *aligned)


@fault("implicit_output_by_appearance")
class ImplicitOutputByAppearance(WrongEinsum):
    """Without an arrow, labels come out in the order in which they appear, not in that of the alphabet."""

    def contract(self, equation: str, *operands: Array) -> Array:
        terms, output = parse(equation)
        labels = [label for term in terms for label in term]
        kept = tuple(label for label in dict.fromkeys(labels) if label == ELLIPSIS or labels.count(label) == 1)
        return np.einsum(spelled(list(terms), kept if output is None else output), *operands)


# What should have been refused ----------------------------------------------------------------------------------------


@fault("mismatched_sizes_truncated")
class MismatchedSizesTruncated(WrongEinsum):
    """A label's loop runs to the smallest of its sizes, as zip and np.diagonal do; seed 001 takes one label for two."""

    def contract(self, equation: str, *operands: Array) -> Array:
        terms, _ = parse(equation)
        if ELLIPSIS in equation or [len(term) for term in terms] != [x.ndim for x in operands]:
            return np.einsum(equation, *operands)
        pairs = [pair for term, x in zip(terms, operands, strict=True) for pair in zip(term, x.shape, strict=True)]
        least = {label: min((n for other, n in pairs if other == label and n != 1), default=1) for label, _ in pairs}
        cut = [x[tuple(slice(least[label]) for label in term)] for term, x in zip(terms, operands, strict=True)]
        return np.einsum(equation, *cut)


@fault("size_one_in_diagonal_broadcast")
class SizeOneInDiagonalBroadcast(WrongEinsum):
    """An axis of size 1 broadcasts against the other axis of a diagonal, as it would against another operand."""

    def contract(self, equation: str, *operands: Array) -> Array:
        terms, _ = parse(equation)
        if len(operands) == 1 == len(terms) and operands[0].ndim == len(terms[0]) == 2 and len(set(terms[0])) == 1:
            operands = (np.broadcast_to(operands[0], (max(operands[0].shape),) * 2),)
        return np.einsum(equation, *operands)


@fault("last_output_label_wins")
class UnknownOutputLabelIgnored(WrongEinsum):
    """Labels of the output that no operand has, or that it repeats, are left out without a word."""

    def contract(self, equation: str, *operands: Array) -> Array:
        terms, output = parse(equation)
        known = {label for term in terms for label in term}
        if output is not None:
            output = tuple(label for label in dict.fromkeys(output) if label in known)
            equation = spelled(list(terms), output)
        return np.einsum(equation, *operands)
